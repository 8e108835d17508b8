# SPDX-License-Identifier: Apache-2.0
"""Clients in Python, in the layout that ``ruff format`` keeps at any line length from 88."""
