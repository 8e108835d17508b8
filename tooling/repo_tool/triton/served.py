# SPDX-License-Identifier: Apache-2.0
"""A model as the server serves it at a moment: enough to load it the same way once more; and all that are wanted."""

__all__ = ["ServedModel", "WantedModels"]

import json
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
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
        return sum(_instances_of(group) for group in self._groups)

    @property
    def _groups(self) -> Sequence[Mapping[str, Any]]:
        groups: Sequence[Mapping[str, Any]] = self.config.get("instance_group", ())
        return groups

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
        config = {**self.config, "version_policy": policy}
        if self.has_stubs:  # it finds that by itself, and would take it for a change of a file that leaves it out
            config.pop("runtime", None)
        return json.dumps(config)

    @property
    def tells_instances_apart(self) -> bool:
        """Whether each has a group of its own that is like no other, so that a load may replace it alone."""
        marks = [_mark_of(group) for group in self._groups]
        return all(marks) and len(set(marks)) == len(marks) and all(group["count"] == 1 for group in self._groups)

    def with_new_instances(self, living: Mapping[str, int]) -> Self:
        """The same with other groups for the instances that died, or for all while it cannot tell them apart.

        Triton then replaces just these within the model that it has. It would not let go of a model once it has
        answered for a dead stub of it: nobody deletes the ``TRITONBACKEND_ResponseFactory`` of such a request
        (``ModelInstanceState::ProcessRequests`` of its Python backend), which holds the model, and that its instances.

        Args:
            living: how many live of each name.
        """
        marks = count(max(map(_mark_of, self._groups), default=0) + 1)
        if self.tells_instances_apart:
            groups = [
                group if living.get(f"{group['name']}_0", 0) >= _instances_of(group) else _marked(group, next(marks))
                for group in self._groups
            ]
        else:
            alone = (group for group in self._groups for _ in range(int(group["count"])))
            groups = [
                _marked({**group, "name": f"{self.name}_{index}", "count": 1}, next(marks))
                for index, group in enumerate(alone)
            ]
        return replace(self, config={**self.config, "instance_group": groups})

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

    @property
    def is_given_up(self) -> bool:
        """Whether it is what Triton refuses."""
        return self.config.get("backend") == _GIVEN_UP

    def without(self, version: str) -> Self:
        """The same without one version."""
        return replace(self, versions=tuple(each for each in self.versions if each != version))


def _instances_of(group: Mapping[str, Any]) -> int:
    return int(group["count"]) * max(1, len(group.get("gpus", ())))


def _mark_of(group: Mapping[str, Any]) -> int:
    return int(group.get("rate_limiter", {}).get("priority", 0))


def _marked(group: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
    """Like no other to Triton, which leaves the priority alone while ``--rate-limit`` is off, as it is with us."""
    return {**group, "rate_limiter": {**group.get("rate_limiter", {}), "priority": mark}}


class WantedModels:
    """What is to be there again after the server's restart, noted by whoever loads and unloads, in that step.

    A model that was loaded from the repository and not looked at since, or that is still loading or was refused, is
    wanted as it lies there; any other as it was last found to serve.
    """

    def __init__(self) -> None:
        self._models: dict[str, ServedModel | None] = {}
        self._lock = threading.Lock()
        self.change = 0  # counts them

    def all(self) -> dict[str, ServedModel | None]:
        """Each model; None: as it lies in the repository."""
        with self._lock:
            return dict(self._models)

    def add(self, names: Iterable[str], served: ServedModel | None = None) -> None:
        """They are about to be loaded; those that serve are wanted as they do until that has come off."""
        with self._lock:
            for name in names:
                self._models.setdefault(name, served)
            self.change += 1

    def as_published(self, names: Iterable[str]) -> None:
        """They were loaded from the repository."""
        with self._lock:
            self._models |= dict.fromkeys(names)
            self.change += 1

    def put(self, served: ServedModel) -> None:
        """It was loaded so."""
        with self._lock:
            self._models[served.name] = served
            self.change += 1

    def drop(self, name: str) -> None:
        """It was unloaded."""
        with self._lock:
            self._models.pop(name, None)
            self.change += 1

    def found(self, served: Mapping[str, ServedModel], *, unloaded: Collection[str], at: int) -> None:
        """What the server said after change number ``at``; of no interest when another came since."""
        with self._lock:
            if self.change == at:
                self._models = {name: model for name, model in self._models.items() if name not in unloaded}
                self._models |= served
