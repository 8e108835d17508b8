# SPDX-License-Identifier: Apache-2.0
"""Validation: one function with a stable code per check, and what it finds."""
