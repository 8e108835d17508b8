# SPDX-License-Identifier: Apache-2.0
"""Names that a language takes, made of names that Triton takes: one rule, whatever clashes."""

__all__ = ["class_names", "member_name", "member_names", "words_of"]

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count

_ODD = re.compile(r"[^A-Za-z0-9]+")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def words_of(name: str) -> list[str]:
    """The words that a name is made of: ``resnet50-v1.2`` is resnet50, v1, 2 and ``digitsReader`` digits, Reader."""
    return [word for part in _ODD.split(name) for word in _HUMPS.split(part) if word]


def class_names(
    models: Iterable[str], family: Callable[[str], Iterable[str]], *, taken: Collection[str]
) -> Mapping[str, str]:
    """The class of each model, in the order of their names, none like another's or one that is ``taken``.

    A name that several models could have is none's: the second to come does not take over the class of the first.
    ``family`` are all names that a class brings with it: its result, its rows.
    """
    ordered = sorted(models)
    wanted = Counter(map(_plain, ordered))
    used, found = {*taken, *(name for name, times in wanted.items() if times > 1)}, {}
    for model in ordered:
        free = (name for name in _candidates(model) if name == _plain(model) or name not in wanted)
        chosen = next(name for name in free if used.isdisjoint(family(name)))
        used.update(family(chosen))
        found[model] = chosen
    return found


def _plain(model: str) -> str:
    stem = "".join(word[0].upper() + word[1:] for word in words_of(model))
    return stem if stem[:1].isalpha() else f"Model{stem}"


def _candidates(model: str) -> Iterable[str]:
    plain = _plain(model)
    yield plain
    yield f"{plain}Model"
    yield from (f"{plain}Model{number}" for number in count(2))


def member_names(tensors: Iterable[str], *, taken: Collection[str]) -> Mapping[str, str]:
    """The parameter or field of each tensor, in their order."""
    used, found = set(taken), {}
    for tensor in tensors:
        found[tensor] = member_name(tensor, taken=used)
        used.add(found[tensor])
    return found


def member_name(tensor: str, *, taken: Collection[str]) -> str:
    """The parameter or field of a tensor: its own name where that is one and not ``taken``."""
    plain = _ODD.sub("_", tensor).lstrip("_") if not _is_plain(tensor) else tensor
    stem = plain if plain[:1].isalpha() else f"tensor_{plain}".rstrip("_")
    candidates = (stem, f"{stem}_", *(f"{stem}_{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in candidates if name not in taken)


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not name.startswith("_")
