# SPDX-License-Identifier: Apache-2.0
"""A model as the server serves it at a moment: enough to load it the same way once more."""

__all__ = ["ServedModel"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

_RESTARTS = "repo-tool.restarts"
_GIVEN_UP = "given-up-by-repo-tool"  # there is no such backend


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """The versions that are ready, and the configuration in Triton's JSON, as ``GET /v2/models/<name>/config`` has it.

    Versions that the repository holds and the server does not serve stay out when it is loaded again.
    """

    name: str
    versions: tuple[str, ...]
    config: Mapping[str, Any]

    @property
    def instances(self) -> int:
        """How many instances each version has."""
        groups: Sequence[Mapping[str, Any]] = self.config.get("instance_group", ())
        return sum(int(group["count"]) * max(1, len(group.get("gpus", ()))) for group in groups)

    @property
    def is_ensemble(self) -> bool:
        """Whether it calls others and has no instance of its own."""
        return "ensemble_scheduling" in self.config

    @property
    def has_stubs(self) -> bool:
        """Whether Python serves it."""
        return self.config.get("backend") == "python" or str(self.config.get("runtime", "")).endswith(".py")

    @property
    def keeps_sequences(self) -> bool:
        """Whether its requests may wait for the end of others' sequences."""
        return "sequence_batching" in self.config

    @property
    def members(self) -> frozenset[str]:
        """The models that an ensemble calls."""
        steps = self.config.get("ensemble_scheduling", {}).get("step", ())
        return frozenset(str(step["model_name"]) for step in steps)

    @property
    def config_json(self) -> str:
        """What a load takes in place of the file: just these versions."""
        policy = {"specific": {"versions": [int(version) for version in self.versions]}}
        return json.dumps({**self.config, "version_policy": policy})

    def renewed(self) -> Self:
        """The same with a parameter that makes Triton start every instance anew before it lets go of the old ones."""
        parameters = dict(self.config.get("parameters", {}))
        before = int(parameters.get(_RESTARTS, {}).get("string_value", 0))
        parameters[_RESTARTS] = {"string_value": str(before + 1)}
        return replace(self, config={**self.config, "parameters": parameters})

    def given_up(self) -> Self:
        """What Triton refuses, so that the server does not say that all is ready."""
        config = {key: value for key, value in self.config.items() if key not in ("platform", "runtime")}
        return replace(self, config={**config, "backend": _GIVEN_UP})

    def without(self, version: str) -> Self:
        """The same without one version."""
        return replace(self, versions=tuple(each for each in self.versions if each != version))
