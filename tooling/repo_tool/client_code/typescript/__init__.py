# SPDX-License-Identifier: Apache-2.0
"""Clients in TypeScript: one file that needs nothing but ``fetch``."""

__all__ = ["render_typescript"]

from repo_tool.client_code.typescript.renderer import render_typescript
