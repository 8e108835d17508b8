# SPDX-License-Identifier: Apache-2.0
"""Two answers to the same rows, by the rules of the check that follows on the server."""

__all__ = ["disagreement"]

import numpy as np

from repo_tool.samples import Array, Tensors

_CLOSE = 1e-4  # absolute, and relative to the reference: of an estimator against itself


def disagreement(found: Tensors, wanted: Tensors, *, tolerance: float = _CLOSE) -> str:
    """How ``found`` is not ``wanted``, in the first output that differs; empty when they agree.

    Where the best two classes are equally good, either label is right.
    """
    tied = _tied_rows(wanted, tolerance)
    for name, reference in wanted.items():
        complaint = _difference(found[name], reference, tied, tolerance)
        if complaint:
            return f"'{name}' {complaint}"
    return ""


def _tied_rows(wanted: Tensors, tolerance: float) -> Array:
    count = len(next(iter(wanted.values())))
    tied = np.zeros(count, dtype=bool)
    for values in wanted.values():
        if values.dtype.kind == "f" and values.ndim == 2 and values.shape[1] > 1 and len(values) == count:
            best = np.sort(values.astype(np.float64), axis=1)[:, -2:]
            with np.errstate(invalid="ignore"):
                tied |= best[:, 1] - best[:, 0] <= tolerance + tolerance * np.abs(best[:, 1])
    return tied


def _difference(found: Array, wanted: Array, tied: Array, tolerance: float) -> str:
    if found.shape != wanted.shape:
        return f"has the shape {list(found.shape)} instead of {list(wanted.shape)}"
    if wanted.dtype.kind == "f":
        return _distance(found.astype(np.float64), wanted.astype(np.float64), tolerance)
    differs = np.asarray(found != wanted).reshape(len(wanted), -1).any(axis=1) & ~tied
    return f"is another in {int(differs.sum())} of {len(wanted)} rows" if differs.any() else ""


def _distance(found: Array, wanted: Array, tolerance: float) -> str:
    if np.allclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True):
        return ""
    with np.errstate(invalid="ignore"):
        distance = np.abs(found - wanted)
    if np.isfinite(distance).any():
        return f"by up to {np.nanmax(distance[np.isfinite(distance)]):.3g}"
    return "in what is no number"
