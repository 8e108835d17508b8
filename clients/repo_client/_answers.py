# SPDX-License-Identifier: Apache-2.0
"""What a model answered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer(Mapping[str, NDArray[Any]]):
    """Output arrays by name. They are read-only views of the answer; BYTES are object arrays of ``bytes``."""

    model_name: str
    model_version: str  # the version that answered
    request_id: str
    outputs: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)
