# SPDX-License-Identifier: Apache-2.0
"""What a command found in a repository when it began, so that it can see later whether that still holds."""

__all__ = ["FoundModel", "FoundModels"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelDirectory, ModelRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model's versions, and its configurations by variant: ``config.pbtxt`` has the name ""."""

    versions: tuple[int, ...] = ()
    configs: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ModelDirectory) -> Self:
        """As it is now; of one that is not there or cannot be read, nothing."""
        try:
            there = [name for name in ("", *model.variants()) if model.served_config_path(name).is_file()]
            configs = {name: model.served_config_path(name).read_bytes() for name in there}
            return cls(versions=model.versions(), configs=configs)
        except OSError:  # whoever needs it is told why
            return cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModels:
    """All models of a repository at one moment."""

    repository: ModelRepository
    models: Mapping[str, FoundModel]

    @classmethod
    def of(cls, repository: ModelRepository) -> Self:
        """As they are now."""
        models = repository.models() if repository.path.is_dir() else ()
        return cls(repository=repository, models={model.name: FoundModel.of(model) for model in models})

    def require_unchanged(self, names: Iterable[str]) -> None:
        """See that these have the versions and configurations that they had.

        Raises:
            RepositoryError: somebody has published, changed or removed one.
        """
        for name in sorted(set(names)):
            if FoundModel.of(self.repository.model(name)) != self.models.get(name, FoundModel()):
                raise RepositoryError(
                    f"'{name}' has been changed meanwhile",
                    cause="its versions or configurations are not those with which the pipeline has answered",
                    next_step="run the command again",
                )
