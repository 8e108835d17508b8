# SPDX-License-Identifier: Apache-2.0
"""What a person asked for beyond the defaults, in the form that the provenance keeps and a plan compares."""

__all__ = ["OPTION_DEFAULTS", "given_options"]

from collections.abc import Mapping
from enum import Enum
from typing import Any

# Every option of add-model that changes what is published; files are recorded by digest, the release by its own name.
OPTION_DEFAULTS: Mapping[str, Any] = {
    "framework": None,
    "backend": None,
    "method": None,
    "signature": None,
    "task": None,
    "trusted_types": (),
    "trusted_source": False,
    "weights_inside": False,
    "max_batch_size": None,
    "instances": 1,
    "cores": None,
    "precision": None,
    "optimize": False,
    "tolerance": None,
    "unverified": False,
    "variants": False,
}


def given_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that are options and not the default, as plain JSON values."""
    given = {name: values[name] for name, default in OPTION_DEFAULTS.items() if values.get(name, default) != default}
    return {name: _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list | set | frozenset):
        return sorted(map(str, value))
    return value
