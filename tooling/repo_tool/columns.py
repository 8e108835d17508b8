# SPDX-License-Identifier: Apache-2.0
"""The names of a table's columns, published with a model whose one input takes them in the order of its training.

They travel as the parameter ``columns`` of ``config.pbtxt``, which Triton tells its clients and C++ backends pass over:
``{"features": ["age", "income"]}``. So whoever reaches the server can order a table, also without the repository.
"""

__all__ = ["COLUMNS_PARAMETER", "columns_parameters", "read_columns"]

import json
from collections.abc import Mapping, Sequence

COLUMNS_PARAMETER = "columns"


def columns_parameters(columns: Mapping[str, Sequence[str]] | None) -> dict[str, str]:
    """The parameter that tells the names of each input's columns; none where no input has any."""
    named = {name: list(names) for name, names in (columns or {}).items() if names}
    return {COLUMNS_PARAMETER: json.dumps(named, ensure_ascii=False)} if named else {}


def read_columns(parameters: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What ``columns_parameters`` wrote; nothing where somebody else uses a parameter of that name."""
    try:
        named = json.loads(parameters.get(COLUMNS_PARAMETER, "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(named, dict):
        return {}
    return {name: tuple(names) for name, names in named.items() if _is_list_of_names(names)}


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
