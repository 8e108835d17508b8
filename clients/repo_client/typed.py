# SPDX-License-Identifier: Apache-2.0
"""What the clients that ``repo-tool client generate`` writes are made of. Their users need none of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._async.typed import AsyncTypedModel, AsyncTypedSequence
from repo_client._contract import Contract, PredictOptions, Shape, Tensor
from repo_client._sync.typed import TypedModel, TypedSequence
from repo_client._task_window import Source as AsyncSource

TextArray = NDArray[np.object_] | NDArray[np.str_] | NDArray[np.bytes_]
Texts = TextArray | Sequence[str] | Sequence[bytes]  # BYTES of one dimension
NestedTexts = TextArray | Sequence[Sequence[Any]]  # of several

__all__ = [
    "AsyncSource",
    "AsyncTypedModel",
    "AsyncTypedSequence",
    "Contract",
    "NestedTexts",
    "PredictOptions",
    "Shape",
    "Tensor",
    "Texts",
    "TypedModel",
    "TypedSequence",
]
