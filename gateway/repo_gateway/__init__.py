# SPDX-License-Identifier: Apache-2.0
"""The public front door. The name is reserved: nothing is served from here yet."""

__all__: list[str] = []
