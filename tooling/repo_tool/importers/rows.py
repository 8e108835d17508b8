# SPDX-License-Identifier: Apache-2.0
"""The rows that a model is answered with: a person's sample bound to its inputs, or generated ones."""

__all__ = ["Rows", "rows_for"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repo_tool.samples import RawSample, Tensors, bind, generate
from repo_tool.signature import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Values for every input; ``generated`` when nobody gave a sample."""

    inputs: Tensors
    generated: bool


def rows_for(
    sample: RawSample | None, inputs: Sequence[TensorSpec], *, columns: Mapping[str, Sequence[str]] | None = None
) -> Rows:
    """Bind the sample, or make rows up.

    Raises:
        SampleError: the sample does not fit.
    """
    if sample is None:
        return Rows(inputs=generate(inputs), generated=True)
    return Rows(inputs=bind(sample, inputs, columns=columns), generated=False)
