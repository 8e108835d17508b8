# SPDX-License-Identifier: Apache-2.0
"""Mounts of a test's own, which only it sees."""

import subprocess

import pytest


def require_own_mounts():
    """Skip where a process may not mount anything for itself: containers and hardened kernels forbid it."""
    if subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine allows no mount namespace, and a file system of another kind cannot be had otherwise")
