# SPDX-License-Identifier: Apache-2.0
"""What somebody who mistyped a name may have meant."""

__all__ = ["did_you_mean"]

import difflib
from collections.abc import Iterable

_SHOWN = 3
_ALIKE = 0.6


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'iris' or 'iris_2'?``, or "" where nothing known is near; capitals do not count."""
    by_folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=_SHOWN, cutoff=_ALIKE)
    words = [f"'{by_folded[each]}'" for each in near]
    return f"did you mean {' or '.join(words)}?" if words else ""
