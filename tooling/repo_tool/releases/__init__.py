# SPDX-License-Identifier: Apache-2.0
"""What each Triton release can load."""

from repo_tool.releases.table import (
    DEFAULT_RELEASE,
    Release,
    Vulnerability,
    first_release_with_all_fixes,
    first_release_with_field,
    first_release_with_variants,
    known_releases,
    last_release_with_backend,
    release,
)

__all__ = [
    "DEFAULT_RELEASE",
    "Release",
    "Vulnerability",
    "first_release_with_all_fixes",
    "first_release_with_field",
    "first_release_with_variants",
    "known_releases",
    "last_release_with_backend",
    "release",
]
