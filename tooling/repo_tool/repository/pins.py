# SPDX-License-Identifier: Apache-2.0
"""Versions that must stay loaded because a pipeline was proven with them and asks for them by number."""

__all__ = ["PINS_PARAMETER", "called_by", "pinned_versions", "pins_of"]

import json
from collections.abc import Iterator, Mapping

from repo_tool.config.model import ModelConfig
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.layout import ModelRepository

PINS_PARAMETER = "pins"  # of a model that calls others itself: a JSON object of versions by model name
_LONGEST = 1 << 20  # thousands of models; read for every look at any model that it names


def pins_of(config: ModelConfig) -> Mapping[str, int]:
    """The versions that a configuration asks for by number, by model; the latest (-1) is no pin."""
    steps = {step.model_name: step.model_version for step in config.ensemble_steps}
    return {name: version for name, version in (*steps.items(), *_called(config)) if version > 0}


def called_by(config: ModelConfig) -> tuple[str, ...]:
    """The models that a model is made of, as an ensemble, or calls itself."""
    return tuple(dict.fromkeys([*(step.model_name for step in config.ensemble_steps), *pins_of(config)]))


def pinned_versions(repository: ModelRepository, name: str) -> Mapping[int, tuple[str, ...]]:
    """Who asks for which version of the model ``name``, by version; configurations that do not parse ask for none."""
    asked: dict[int, tuple[str, ...]] = {}
    for asking, version in _asking(repository, name):
        asked[version] = (*asked.get(version, ()), asking)
    return dict(sorted(asked.items()))


def _asking(repository: ModelRepository, name: str) -> Iterator[tuple[str, int]]:
    if not repository.path.is_dir():
        return
    for model in repository.models():
        try:
            if name in model.config_path.read_text(encoding="utf-8"):  # saves reading all configurations closely
                version = pins_of(model.read_config()).get(name)
                if version is not None and model.name != name:
                    yield model.name, version
        except (OSError, UnicodeDecodeError, ConfigError, RepositoryError):
            continue


def _called(config: ModelConfig) -> Iterator[tuple[str, int]]:
    """What a generated model says of the models that it calls; what it does not say so counts for nothing."""
    text = config.parameters.get(PINS_PARAMETER, "{}")
    try:
        pins = json.loads(text) if len(text) <= _LONGEST else None
    except (ValueError, RecursionError):
        return
    if isinstance(pins, dict):
        yield from ((name, version) for name, version in pins.items() if type(version) is int)
