# SPDX-License-Identifier: Apache-2.0
"""Recognised, not yet brought in."""

__all__ = ["PytorchImporter"]


class PytorchImporter:
    """Being written."""

    framework = "pytorch"
    extra = "pytorch"

    def recognises(self, source: str) -> bool:
        """None yet."""
        return False
