# SPDX-License-Identifier: Apache-2.0
"""How many rows a model may take at once: an estimate of what a batch needs in memory. Pure."""

__all__ = ["DEFAULT_MAX_BATCH_SIZE", "affordable_rows", "in_bytes"]

DEFAULT_MAX_BATCH_SIZE = 32
_MEMORY = 2 << 30  # what a small container has, or a model that shares a GPU
_LEAST_SHARE = 4  # of that memory a quarter is for the batch, however large the weights are
# How far a batch's memory outweighs its inputs and outputs. Measured with ONNX Runtime on CPUs (peak of 32 rows less
# that of one): 2.3 times for a perceptron, 2.8 for convolutions of the picture's size, 10 for ResNet-50, 26 for three
# layers of DistilBERT on 128 tokens.
_BETWEEN = 32
_MOST_ROWS = 1024  # Triton makes each row of a warm-up a request of its own
_UNITS = ("bytes", "kB", "MB", "GB")


def affordable_rows(row_bytes: int, *, weights_bytes: int = 0) -> int:
    """The largest power of two of rows that fits the memory beside the weights, at least 1 and at most 1024.

    ``row_bytes`` are those of one row's inputs and outputs, ``weights_bytes`` those of all instances.
    """
    for_the_batch = max(_MEMORY - weights_bytes, _MEMORY // _LEAST_SHARE)
    rows = for_the_batch // (_BETWEEN * max(row_bytes, 1))
    return min(1 << max(rows.bit_length() - 1, 0), _MOST_ROWS)


def in_bytes(size: float) -> str:
    """A size as people read it: ``13.4 MB``."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}"
