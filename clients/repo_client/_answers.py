# SPDX-License-Identifier: Apache-2.0
"""What a model answered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from reprlib import repr as short_repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._errors import DatatypeError, Facts, UnexpectedAnswerError, UnknownOutputError
from repo_client._names import name_hint, quoted

_LONGEST_LINE = 100  # characters of values in the printed form of an answer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer(Mapping[str, NDArray[Any]]):
    """Output arrays by name. They are read-only views of the answer; BYTES are object arrays of ``bytes``.

    ``print(answer)`` shows each output with its type, its shape and its first and last values.
    """

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

    # An answer is itself: two dictionaries of arrays have no equality.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def text(self, name: str) -> NDArray[Any]:
        """The BYTES output of that name, decoded: an object array of ``str``.

        Raises:
            UnknownOutputError: the answer has none.
            DatatypeError: the output holds numbers.
            UnexpectedAnswerError: it is no UTF-8; ``answer[name]`` has the bytes.
        """
        array = self[name]
        facts = self._facts(name)
        if array.dtype != np.object_:
            fact = f"output '{name}' of model '{self.model_name}' is no text but {array.dtype}"
            raise DatatypeError(fact, hint=f"its numbers are answer['{name}']", facts=facts)
        decoded = np.empty(array.size, dtype=object)
        try:
            decoded[:] = [*map(bytes.decode, array.ravel().tolist())]
        except UnicodeDecodeError as error:
            fact = f"output '{name}' of model '{self.model_name}' is no UTF-8: {short_repr(error.object)}"
            raise UnexpectedAnswerError(fact, hint=f"its bytes are answer['{name}']", facts=facts) from error
        return decoded.reshape(array.shape)

    def _facts(self, name: str) -> Facts:
        return Facts(model=self.model_name, version=self.model_version, tensor=name, request_id=self.request_id)

    def __repr__(self) -> str:
        width = max((len(name) for name in self.outputs), default=0)
        lines = [f"\n  {name:{width}}  {_shown(array)}" for name, array in self.outputs.items()]
        version = f", version {self.model_version}" if self.model_version else ""
        return f"<Answer of model '{self.model_name}'{version}{''.join(lines)}>"


def _shown(array: NDArray[Any]) -> str:
    kind = "BYTES" if array.dtype == np.object_ else array.dtype.name
    values = np.array2string(
        array, threshold=8, edgeitems=2, precision=4, separator=", ", formatter={"object": short_repr}
    )
    line = " ".join(values.split()) if array.dtype != np.object_ else values.replace("\n", "")
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE - 4]} ..."
    return f"{kind}{list(array.shape)}  {line}"


def _unknown(answer: Answer, name: object) -> UnknownOutputError:
    return UnknownOutputError(
        f"the answer of model '{answer.model_name}' has no output '{name}'",
        hint=name_hint(str(name), answer.outputs, all_are="its outputs are"),
        facts=Facts(
            model=answer.model_name,
            version=answer.model_version,
            tensor=str(name),
            expected=quoted(answer.outputs),
            received=str(name),
            request_id=answer.request_id,
        ),
    )
