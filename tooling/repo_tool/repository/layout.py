# SPDX-License-Identifier: Apache-2.0
"""Where things lie in a Triton model repository; no other module joins these paths.

Every sub-folder of the repository is a model to Triton, hidden ones too, so whatever repo-tool keeps for itself lies
in a folder beside the repository.
"""

__all__ = ["ModelDirectory", "ModelRepository", "check_model_name", "check_variant_name"]

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.errors import ConfigError, ModelNameError, RepositoryError
from repo_tool.near_names import did_you_mean

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VARIANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_WHY_UNREADABLE: dict[type[OSError], str] = {
    FileNotFoundError: "there is no such folder",
    NotADirectoryError: "it is a file",
    PermissionError: "this user may not read it",
}
_SHOWN_NAMES = 12
_VERSION_NAME = re.compile(r"[1-9][0-9]*")


def check_model_name(name: str) -> str:
    """``name``, if Triton may see it: it starts its Python stub through a shell, with the name in the command.

    Raises:
        ModelNameError: it holds anything but letters, digits, ``_``, ``.`` and ``-``, or starts with one of the latter.
    """
    if _MODEL_NAME.fullmatch(name):
        return name
    raise ModelNameError(
        f"{name!r} is not a model name",
        cause="Triton passes it to a shell: letters, digits, '_', '.' and '-' may pass, a letter or digit first",
        next_step="choose another one, e.g. --name " + (re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-") or "model"),
    )


def check_variant_name(name: str) -> str:
    """``name``, if it can be that of a file in ``configs/``.

    Raises:
        ConfigError: it is empty, leads elsewhere or holds what Triton does not take.
    """
    if _VARIANT_NAME.fullmatch(name):
        return name
    raise ConfigError(
        f"{name!r} does not name a configuration",
        cause="it stands for configs/NAME.pbtxt: letters, digits, '_', '.' and '-' may be in it, and no folder",
        next_step="give the name alone, e.g. cpu for configs/cpu.pbtxt",
    )


def _is(question: Callable[[], bool]) -> bool:
    """Whether it is so; what may not be looked at is not."""
    try:
        return question()
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """One model's folder: ``config.pbtxt``, ``configs/``, numbered version folders, ``warmup/``, label files."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name, which is the model's."""
        return self.path.name

    @property
    def config_path(self) -> Path:
        """``config.pbtxt``."""
        return self.path / "config.pbtxt"

    @property
    def variants_path(self) -> Path:
        """The folder of configurations that a server started with ``--model-config-name`` reads instead."""
        return self.path / "configs"

    def variant_path(self, name: str) -> Path:
        """``configs/NAME.pbtxt``."""
        return self.variants_path / f"{name}.pbtxt"

    def variants(self) -> tuple[str, ...]:
        """The names that ``--model-config-name`` may have for this model."""
        return tuple(sorted(path.stem for path in self.variants_path.glob("*.pbtxt") if path.is_file()))

    def served_config_path(self, variant: str = "") -> Path:
        """What a server started with that ``--model-config-name`` reads; without such a file it is ``config.pbtxt``."""
        chosen = self.variant_path(variant)
        return chosen if variant and chosen.is_file() else self.config_path

    @property
    def warmup_path(self) -> Path:
        """The folder from which Triton reads warm-up data."""
        return self.path / "warmup"

    def version_path(self, version: int) -> Path:
        """The folder of one version."""
        return self.path / str(version)

    def sample_path(self, version: int) -> Path:
        """The sample rows and reference answers published with a version."""
        return self.version_path(version) / "sample.npz"

    def provenance_path(self, version: int) -> Path:
        """Where the version came from and how it was proven."""
        return self.version_path(version) / "provenance.json"

    def versions(self) -> tuple[int, ...]:
        """The versions there are, ascending; Triton skips other names and those with a leading zero."""
        if not self.path.is_dir():
            return ()
        found = (entry.name for entry in self.path.iterdir() if entry.is_dir())
        return tuple(sorted(int(name) for name in found if _VERSION_NAME.fullmatch(name)))

    def latest_version(self) -> int:
        """The highest version.

        Raises:
            RepositoryError: there is none.
        """
        versions = self.versions()
        if not versions:
            raise RepositoryError(
                f"model '{self.name}' has no version",
                cause=f"'{self.path}' holds no numbered folder",
                next_step="add one: repo-tool add-model",
            )
        return versions[-1]

    def read_config(self, variant: str = "") -> ModelConfig:
        """The parsed ``config.pbtxt``, or what a server reads that is started with ``--model-config-name``.

        Raises:
            RepositoryError: there is none.
            ConfigError: it does not parse.
        """
        path = self.served_config_path(variant)
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RepositoryError(
                f"model '{self.name}' has no config.pbtxt",
                cause=f"there is no '{self.config_path}'",
                next_step="add the model with repo-tool add-model, or write the configuration",
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"'{path}' is not UTF-8 text", cause=str(error)) from error
        return pbtxt.parse(text)


@dataclass(frozen=True, slots=True)
class ModelRepository:
    """A folder of model directories, and those that one server is given ``beside`` it."""

    path: Path
    beside: tuple["ModelRepository", ...] = ()

    @property
    def private_path(self) -> Path:
        """Our own folder beside the repository, on the same file system so that a rename publishes."""
        resolved = self.path.resolve()
        return resolved.parent / f".{resolved.name}.repo-tool"

    @property
    def journal_path(self) -> Path:
        """Who changed what and when; there once anything was published by ``repo-tool``."""
        return self.private_path / "journal.jsonl"

    def model(self, name: str) -> ModelDirectory:
        """The directory of the model called ``name``, whether it exists or not.

        Raises:
            ModelNameError: no model can be called so.
        """
        return ModelDirectory(self.path / check_model_name(name))

    def nearest(self, name: str) -> ModelDirectory:
        """The directory of a model in it or, where it has none, in one beside it; its own where nobody has one."""
        places = [ModelDirectory(each.path / name) for each in (self, *self.beside)]
        return next((place for place in places if _is(place.path.is_dir)), places[0])

    def existing_model(self, name: str) -> ModelDirectory:
        """The directory of a model that is there.

        Raises:
            RepositoryError: it is not.
        """
        model = self.model(name)
        if model.path.is_dir():
            return model
        there = [entry.name for entry in self.models()]
        shown = ", ".join(f"'{each}'" for each in there[:_SHOWN_NAMES]) or "no model"
        more = f" and {len(there) - _SHOWN_NAMES} more" if len(there) > _SHOWN_NAMES else ""
        raise RepositoryError(
            f"no model '{name}' in '{self.path}'",
            cause=f"the repository holds {shown}{more}",
            next_step=did_you_mean(name, there) or "check the name, or pass --repository",
        )

    def models(self) -> Iterator[ModelDirectory]:
        """Every sub-folder, which is what Triton takes for a model, by name.

        Raises:
            RepositoryError: the repository is no folder, or a single model's.
        """
        for entry in self.require():
            if _is(entry.is_dir):
                yield ModelDirectory(entry)

    def require(self) -> list[Path]:
        """What lies in it, by name.

        Raises:
            RepositoryError: it is no folder, cannot be read, or is a single model's.
        """
        try:
            entries = sorted(self.path.iterdir())
        except OSError as error:
            raise RepositoryError(
                f"no model repository at '{self.path}'",
                cause=_WHY_UNREADABLE.get(type(error), error.strerror or str(error)),
                next_step="pass its path, or add a first model: repo-tool add-model",
            ) from error
        if self.path / "config.pbtxt" in entries and not any(_is((entry / "config.pbtxt").exists) for entry in entries):
            raise RepositoryError(
                f"'{self.path}' is a model directory, no model repository",
                cause="it holds a config.pbtxt, and no model directory does",
                next_step=f"pass the folder that it lies in: {self.path.absolute().parent}",
            )
        return entries
