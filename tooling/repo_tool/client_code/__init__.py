# SPDX-License-Identifier: Apache-2.0
"""Typed clients as source code: models described once, rendered in each language."""
