# SPDX-License-Identifier: Apache-2.0
"""What a model answered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from numpy.typing import NDArray

from repo_client._errors import Facts, UnknownOutputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer(Mapping[str, NDArray[Any]]):
    """Output arrays by name. They are read-only views of the answer; BYTES are object arrays of ``bytes``."""

    model_name: str
    model_version: str  # the version that answered
    request_id: str
    outputs: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The output of that name.

        Raises:
            UnknownOutputError: the answer has none, or it was not asked for; also a ``KeyError``, as of any mapping.
        """
        try:
            return self.outputs[name]
        except KeyError as error:
            raise _unknown(self, name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


def _unknown(answer: Answer, name: object) -> UnknownOutputError:
    nearest = get_close_matches(str(name), list(answer.outputs), n=1)
    names = ", ".join(f"'{known}'" for known in answer.outputs) or "none"
    return UnknownOutputError(
        f"the answer of model '{answer.model_name}' has no output '{name}'",
        hint=f"did you mean '{nearest[0]}'?" if nearest else f"its outputs are {names}",
        facts=Facts(
            model=answer.model_name,
            version=answer.model_version,
            tensor=str(name),
            expected=names,
            received=str(name),
            request_id=answer.request_id,
        ),
    )
