# SPDX-License-Identifier: Apache-2.0
"""All that an object holds, however it holds it: what must not be in there may hide nowhere."""

__all__ = ["everything_in"]

from collections import deque
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

_CONTAINERS = (list, tuple, set, frozenset, deque)


def everything_in(value: Any) -> Iterator[Any]:
    """``value``, its attributes and elements, theirs, and so on; each once."""
    waiting: list[Any] = [value]
    seen: dict[int, Any] = {}  # the objects too: an attribute made on the fly must not free its number for another
    while waiting:
        found = waiting.pop()
        if id(found) not in seen:
            seen[id(found)] = found
            yield found
            waiting.extend(_directly_in(found))


def _directly_in(value: Any) -> list[Any]:
    if isinstance(value, str | bytes | type | ModuleType):
        return []
    if isinstance(value, np.ndarray):
        return list(value.ravel()) if value.dtype == object else []
    attributes = list(getattr(value, "__dict__", {}).values())
    if isinstance(value, dict):
        return [*value.keys(), *value.values(), *attributes]
    return [*value, *attributes] if isinstance(value, _CONTAINERS) else attributes
