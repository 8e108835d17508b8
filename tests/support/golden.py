# SPDX-License-Identifier: Apache-2.0
"""Whole expected files. ``UPDATE_GOLDEN=1 make test`` writes them anew; read the diff before you commit it."""

import os
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden"


def matches_golden(text: str, name: str) -> bool:
    """Whether ``text`` is the file ``tests/golden/<name>``, which is written first when asked to."""
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"no golden file {path}; write it with UPDATE_GOLDEN=1"
    expected = path.read_text(encoding="utf-8")
    assert text == expected
    return True
