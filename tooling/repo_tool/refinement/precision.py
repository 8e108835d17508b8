# SPDX-License-Identifier: Apache-2.0
"""The word for ``--precision``, in a module that the command line may import without numpy."""

__all__ = ["Precision"]

from enum import Enum


class Precision(Enum):
    """What the weights, and where the operators allow it the arithmetic, become; inputs and outputs stay."""

    FP16 = "fp16"
    INT8 = "int8"
