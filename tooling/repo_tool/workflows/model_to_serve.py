# SPDX-License-Identifier: Apache-2.0
"""What the repository says that a server is to serve of a model, and of the models that it needs."""

__all__ = ["ModelToServe", "models_to_serve"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from repo_tool.config.document import as_document
from repo_tool.config.model import ModelConfig
from repo_tool.config.served_versions import served_versions
from repo_tool.config.shell import unsafe_shell_words
from repo_tool.errors import RepositoryError
from repo_tool.repository.integrity import require_intact
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.needed_models import needed_models
from repo_tool.repository.pins import called_by, pins_of
from repo_tool.repository.stamps import is_stamp, provenance_digest, stamps_of


@dataclass(frozen=True, kw_only=True)
class ModelToServe:
    """One model as its directory and the configuration that the server reads have it."""

    directory: ModelDirectory
    config: ModelConfig

    @property
    def name(self) -> str:
        """The model's."""
        return self.directory.name

    @cached_property
    def versions(self) -> tuple[int, ...]:
        """Those that the configuration loads, ascending."""
        there = self.directory.versions()
        return tuple(version for version in served_versions(self.config.version_policy, there) if version in there)

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """The configuration as a load request takes it."""
        return as_document(self.config)

    @cached_property
    def stamps(self) -> dict[str, str]:
        """What the configuration says of the bytes that it is meant for, by parameter."""
        return {key: value for key, value in self.config.parameters.items() if is_stamp(key)}

    @property
    def is_ensemble(self) -> bool:
        """Whether it has no file of its own that is loaded."""
        return self.config.is_ensemble

    @property
    def is_one_at_a_time(self) -> bool:
        """Whether its configuration is that of one version alone, for it says which versions of others are called."""
        return self.is_ensemble or bool(pins_of(self.config))

    def require_as_published(self) -> None:
        """See that the files of each version are those that were published, and that the configuration means them.

        Raises:
            RepositoryError: they are not, there is no version to serve, or the configuration is another model's or
                one that Triton must not be given.
        """
        if self.config.name not in ("", self.name):
            raise RepositoryError(
                f"the configuration of '{self.name}' is that of '{self.config.name}'",
                cause=f"'{self.directory.config_path}' says so, and Triton takes a model by its folder's name",
                next_step="give it the folder's name, or none",
            )
        if words := unsafe_shell_words(self.config):
            raise RepositoryError(
                f"'{self.name}' is not loaded: its configuration would put {words[0]!r} into a shell command",
                cause="Triton starts the processes of Python models through a shell",
                next_step="use letters, digits, '_', '.', '/' and '-' only in an instance group's name, "
                "EXECUTION_ENV_PATH and default_model_filename",
            )
        if not self.versions:
            raise RepositoryError(
                f"'{self.name}' has no version to serve",
                cause=f"its versions are {', '.join(map(str, self.directory.versions())) or 'none'}, and its "
                "version_policy loads none of them",
                next_step=f"see what there is: repo-tool versions {self.name}",
            )
        for version in self.versions:
            require_intact(self.directory, version)
            self._require_stamp(version)

    def _require_stamp(self, version: int) -> None:
        meant, found = stamps_of(self.config).get(version), provenance_digest(self.directory, version)
        if meant is not None and meant != found:
            raise RepositoryError(
                f"the configuration of '{self.name}' is meant for another version {version}",
                cause=f"it names {meant}, and the digest of '{self.directory.provenance_path(version)}' is {found}",
                next_step="look at all that is wrong with repo-tool fsck",
            )


def models_to_serve(repository: ModelRepository, name: str, *, variant: str = "") -> tuple[ModelToServe, ...]:
    """The model and those that it needs, each after all that it calls; the model itself is the last.

    Raises:
        RepositoryError: one has no configuration, or it cannot be read.
        ConfigError: one does not parse.
    """
    try:
        found = {
            each: ModelToServe(directory=(directory := repository.model(each)), config=directory.read_config(variant))
            for each in needed_models(repository, [name])
        }
    except OSError as error:
        raise RepositoryError(
            f"'{name}' cannot be read",
            cause=f"'{error.filename}': {error.strerror}",
            next_step="see that the configuration is a file, and that this user may read it",
        ) from error
    return tuple(found[each] for each in _callees_first(found, name, set()))


def _callees_first(models: Mapping[str, ModelToServe], name: str, told: set[str]) -> Iterator[str]:
    if name in told or name not in models:
        return
    told.add(name)
    for called in called_by(models[name].config):
        yield from _callees_first(models, called, told)
    yield name
