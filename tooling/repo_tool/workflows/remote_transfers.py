# SPDX-License-Identifier: Apache-2.0
"""What becomes of each model that goes to another repository, or comes from there."""

__all__ = ["ModelTransfer", "TransferState", "Transfers", "held_config", "members_first"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from repo_tool.config import pbtxt
from repo_tool.config.edit import set_field
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError

TransferState = Literal["new", "changed", "unchanged", "ahead", "removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTransfer:
    """One model: what was sent, fetched or removed of it, or would be."""

    model: str
    state: TransferState  # "ahead": there is a newer version at the target, which stays
    versions: tuple[int, ...] = ()  # those that the target did not have, or loses
    files: int = 0
    bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {**asdict(self), "versions": list(self.versions)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfers:
    """What became of all models that were asked for, or would."""

    remote: str
    models: tuple[ModelTransfer, ...]


def members_first(called: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The models in an order in which each comes after those that it calls; ``called`` are those by model."""
    ordered: dict[str, None] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        if name in ordered or name not in called or name in above:  # a circle is for the validator to tell
            return
        for member in called[name]:
            visit(member, above | {name})
        ordered[name] = None

    for name in sorted(called):
        visit(name, frozenset())
    return tuple(ordered)


def held_config(text: str, versions: Iterable[int]) -> str | None:
    """``text`` that serves on what it serves of ``versions``, whichever versions come; None where it does already."""
    try:
        policy = pbtxt.parse(text).version_policy
        if policy is not None and policy.specific is not None:
            return None
        served = served_versions(policy, tuple(sorted(versions)))
        return set_field(text, "version_policy", f"{{ specific {{ versions: [{', '.join(map(str, served))}] }} }}")
    except ConfigError:  # nobody loads it as it is
        return None
