# SPDX-License-Identifier: Apache-2.0
"""Names as errors tell them."""

from collections.abc import Iterable
from difflib import get_close_matches


def quoted(names: Iterable[str]) -> str:
    """A list of names."""
    return ", ".join(f"'{name}'" for name in names) or "none"


def name_hint(name: str, known: Iterable[str], *, all_are: str) -> str:
    """The known name that is nearest to ``name``, whatever its case; all of them where none is near."""
    by_folded = {each.casefold(): each for each in known}
    nearest = get_close_matches(name.casefold(), by_folded, n=1)
    return f"did you mean '{by_folded[nearest[0]]}'?" if nearest else f"{all_are} {quoted(by_folded.values())}"
