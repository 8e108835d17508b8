# SPDX-License-Identifier: Apache-2.0
"""Recognised, not yet brought in."""

__all__ = ["TensorflowImporter"]


class TensorflowImporter:
    """Being written."""

    framework = "tensorflow"
    extra = "tensorflow"

    def recognises(self, source: str) -> bool:
        """None yet."""
        return False
