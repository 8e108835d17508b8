# SPDX-License-Identifier: Apache-2.0
"""Look the words of a text up in a vocabulary file: their ids, or how often each word of the file occurs."""

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
_IDS = {"INT32": (-(2**31), 2**31 - 1), "INT64": (-(2**63), 2**63 - 1), "FP32": (-(2**24), 2**24)}


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    r"""The file has one word a line; the first has the id ``first_id``.

    Words are compared as they are written: where the file has them in lower case, as CountVectorizer makes them, the
    step ``lower_case`` goes before.

    ``word`` is a regular expression that finds words (scikit-learn's CountVectorizer has ``\b\w\w+\b``); without it
    they are what white space parts. ``gives: ids`` makes ``length`` of them, cut or padded with ``pad_id``; ``counts``
    and ``presence`` make a column for each word of the file, for a linear model. A word that the file lacks becomes
    ``unknown_id``, or is skipped, or refused.

    In ``word`` nothing that repeats may hold a choice (``+``, ``?``, ``|``), unless that is possessive (``++``) or
    atomic (``(?>…)``): a text could be made for which trying all ways takes for ever. The time of what is left, as
    ``\w+x``, can grow with the square of the text, which ``most_bytes`` bounds.
    """

    vocabulary: Path
    gives: Literal["ids", "counts", "presence"] = "ids"
    word: str | None = None
    length: int | None = None
    first_id: int = 0
    pad_id: int = 0
    unknown: Literal["id", "skip", "refuse"] = "skip"
    unknown_id: int | None = None
    too_long: Literal["cut", "refuse"] = "cut"
    datatype: Literal["INT64", "INT32", "FP32"] | None = None
    empty: Literal["refuse", "keep"] = "refuse"
    most_bytes: int = 100_000

    def __post_init__(self) -> None:
        if self.gives == "ids" and (self.length is None or self.length < 1):
            raise ValueError("ids need a length of at least 1")
        if (self.unknown == "id") != (self.unknown_id is not None):
            raise ValueError("unknown_id goes with `unknown: id`, and `unknown: id` with it")
        if self.unknown == "id" and self.gives != "ids":
            raise ValueError("only ids have one for unknown words")
        if self.word is not None:
            _compiled(self.word)
            _refuse_choices(_parsed(self.word), repeated=False)
        if self.most_bytes < 1:
            raise ValueError("most_bytes is at least 1")
        least, most = _IDS[self._datatype]
        ids = {"first_id": self.first_id, "pad_id": self.pad_id, "unknown_id": self.unknown_id or 0}
        for name, number in ids.items():
            if not least <= number <= most:
                raise ValueError(f"{name} is {number}, which {self._datatype} cannot hold")

    def outputs(self, inputs: Wires) -> Wires:
        """Ids are INT64 and counts FP32, where ``datatype`` says nothing else."""
        if inputs["text"] != ("BYTES", (1,)):
            raise ValueError(f"'text' must be BYTES [1], one text a row; it is {inputs['text']}")
        return {self.gives: (self._datatype, (self._width,))}

    def run(self, text: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        dtype = {"FP32": "float32"}.get(self._datatype, self._datatype.lower())
        found = np.full((len(text), self._width), self.pad_id if self.gives == "ids" else 0, dtype=dtype)
        for row, (value,) in enumerate(text):
            ids = self._ids(row, self._words(row, value))
            if self.gives == "ids":
                found[row, : len(ids)] = ids
            else:
                np.add.at(found[row], np.asarray(ids, dtype=np.int64) - self.first_id, 1)
        return {self.gives: np.minimum(found, 1) if self.gives == "presence" else found}

    def warm(self) -> None:
        """Read the file."""
        _ = self._known

    def _words(self, row: int, value: bytes) -> list[str]:
        if len(value) > self.most_bytes:
            raise ValueError(f"row {row}: the text has {len(value)} bytes, and at most {self.most_bytes} are taken")
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"row {row}: the text is not UTF-8 (byte {error.start})") from error
        words = text.split() if self.word is None else [match[0] for match in _compiled(self.word).finditer(text)]
        if not words and self.empty == "refuse":
            raise ValueError(f"row {row}: the text has no words")
        return words

    def _ids(self, row: int, words: list[str]) -> list[int]:
        ids = [self._known.get(word, self.unknown_id) for word in words]
        if self.unknown == "refuse" and None in ids:
            raise ValueError(f"row {row}: '{words[ids.index(None)][:40]}' is not in '{self.vocabulary.name}'")
        known = [found for found in ids if found is not None]
        if self.gives == "ids" and self.too_long == "refuse" and len(known) > self._width:
            raise ValueError(f"row {row}: the text has {len(known)} words, more than {self._width}")
        return known[: self._width] if self.gives == "ids" else known

    @property
    def _datatype(self) -> str:
        return self.datatype or ("INT64" if self.gives == "ids" else "FP32")

    @property
    def _width(self) -> int:
        return self.length or 1 if self.gives == "ids" else len(self._known)

    @cached_property
    def _known(self) -> dict[str, int]:
        try:
            words = self.vocabulary.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"'{self.vocabulary.name}' cannot be read as text ({error})") from error
        known = {word: self.first_id + place for place, word in enumerate(words)}
        if len(known) < len(words) or words == [""]:
            raise ValueError(f"'{self.vocabulary.name}' must hold one word a line, each once")
        return known


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"word is no regular expression ({error})") from error


def _parsed(pattern: str) -> Iterable[tuple[Any, Any]]:
    """What the pattern is made of, as Python's own compiler reads it."""
    found: Iterable[tuple[Any, Any]] = importlib.import_module("re._parser").parse(pattern)
    return found


def _refuse_choices(items: Iterable[tuple[Any, Any]], *, repeated: bool) -> None:
    """Where they are repeated: the ways to match would multiply with each character."""
    for code, given in items:
        name = str(code)
        repeats = name in ("MAX_REPEAT", "MIN_REPEAT")
        if repeated and (name == "BRANCH" or (repeats and given[0] != given[1])):
            raise ValueError(
                "word holds a choice within what repeats, which can take for ever: make the inner one possessive, as "
                "(?:a++b)+, or the outer one, as (?:a|b)++"
            )
        alone = name in ("ATOMIC_GROUP", "POSSESSIVE_REPEAT", "ASSERT", "ASSERT_NOT")
        inside = not alone and (repeated or (repeats and given[1] > 1))
        for part in _parts(name, given):
            _refuse_choices(part, repeated=inside)


def _parts(name: str, given: Any) -> list[Any]:
    """The patterns within one."""
    if name == "BRANCH":
        return list(given[1])
    if name == "GROUPREF_EXISTS":
        return [part for part in given[1:] if part is not None]
    if name == "ATOMIC_GROUP":
        return [given]
    nested = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT", "SUBPATTERN", "ASSERT", "ASSERT_NOT")
    return [given[-1]] if name in nested else []
