# SPDX-License-Identifier: Apache-2.0
"""The blocking side, generated from ``_async`` by ``clients/generate_sync.py``."""
