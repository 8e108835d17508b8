# SPDX-License-Identifier: Apache-2.0
"""The models that a model cannot answer without."""

__all__ = ["needed_models"]

from collections.abc import Iterable, Mapping

from repo_tool.config.model import ModelConfig
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.pins import called_by


def needed_models(
    repository: ModelRepository, names: Iterable[str], *, configs: Mapping[str, ModelConfig] | None = None
) -> tuple[str, ...]:
    """``names`` and what they are made of or call themselves, also through others; without those that are not there.

    ``configs`` are what some of them are to have in place of their own.

    Raises:
        RepositoryError: one has no configuration.
        ConfigError: one does not parse.
        ModelNameError: one needs what no model can be called.
    """
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        model = repository.model(waiting.pop())
        if model.name in found or not model.path.is_dir():
            continue
        found[model.name] = None
        waiting += called_by((configs or {}).get(model.name) or model.read_config())
    return tuple(found)
