# SPDX-License-Identifier: Apache-2.0
"""The side written by hand; ``_sync`` is generated from it by ``clients/generate_sync.py``."""
