# SPDX-License-Identifier: Apache-2.0
"""What the rules look at: a repository and its models, each file read at most once."""

__all__ = ["ModelSubject", "RepositorySubject"]

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.errors import ConfigError
from repo_tool.releases import Release
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.rules.artifacts import DEFAULT_FILENAMES, backend_of_file, backend_of_platform
from repo_tool.rules.onnx_file import OnnxFileError, OnnxModel, is_onnx_installed, read_onnx

_MAX_CONFIG_BYTES = 4 * 1024 * 1024  # the largest real ones have some thousand lines; parsing 50 MB takes minutes
_NOT_VERSIONS = ("warmup", "initial_state", "configs")  # sub-folders that Triton skips
_LEADING_INTEGER = re.compile(r"\s*[+-]?[0-9]+")  # what C's stoll reads


class RepositorySubject:
    """A repository under validation, and what its models may also refer to."""

    def __init__(self, repository: ModelRepository, release: Release, beside: ModelRepository | None = None) -> None:
        self.repository = repository
        self.release = release
        self.models = {
            directory.name: ModelSubject(directory, self)
            for source in (beside, repository)  # one's own model hides the neighbour of the same name
            if source is not None
            for directory in source.models()
        }
        self.own_names = tuple(directory.name for directory in repository.models())

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.repository.path.name

    def own_models(self) -> Iterator["ModelSubject"]:
        """The models of the repository itself, by name."""
        return (self.models[name] for name in self.own_names)


class ModelSubject:
    """One model under validation. Broken files become values here, so that rules never see an exception."""

    def __init__(self, directory: ModelDirectory, repository: RepositorySubject) -> None:
        self.directory = directory
        self.repository = repository

    @property
    def name(self) -> str:
        """The directory's name, which must be the model's."""
        return self.directory.name

    @property
    def release(self) -> Release:
        """The release that must load it."""
        return self.repository.release

    @cached_property
    def config_text(self) -> str | ConfigError:
        """The text of ``config.pbtxt``, or why there is none."""
        path = self.directory.config_path
        try:
            if not path.is_file():  # a folder, or a pipe that would never end
                return ConfigError("there is no file config.pbtxt")
            if path.stat().st_size > _MAX_CONFIG_BYTES:
                return ConfigError(
                    "config.pbtxt is too large to be a model configuration",
                    cause=f"it has {path.stat().st_size:,} bytes, and repo-tool reads up to {_MAX_CONFIG_BYTES:,}",
                    next_step="write a configuration by hand, or let repo-tool add-model write it",
                )
            return path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            return ConfigError(
                "config.pbtxt is not UTF-8 text", cause=str(error), next_step="save it as UTF-8 protobuf text"
            )
        except OSError as error:
            return ConfigError("config.pbtxt cannot be read", cause=error.strerror or str(error))

    @cached_property
    def _parsed(self) -> ModelConfig | ConfigError:
        if isinstance(self.config_text, ConfigError):
            return self.config_text
        try:
            return pbtxt.parse(self.config_text)
        except ConfigError as error:
            return error
        except (RecursionError, ValueError) as error:  # nested without end; an enum by a number that names nothing
            return ConfigError("the model configuration does not parse", cause=str(error) or type(error).__name__)

    @property
    def config_error(self) -> ConfigError | None:
        """Why the configuration cannot be used; None when it can."""
        return self._parsed if isinstance(self._parsed, ConfigError) else None

    @property
    def config(self) -> ModelConfig:
        """The configuration.

        Raises:
            ConfigError: it cannot be used; rules of scope CONFIG only run when it can.
        """
        if isinstance(self._parsed, ConfigError):
            raise self._parsed
        return self._parsed

    @cached_property
    def version_names(self) -> tuple[str, ...]:
        """The sub-folders that Triton takes for versions, as they are called."""
        try:
            folders = sorted(entry.name for entry in self.directory.path.iterdir() if entry.is_dir())
        except OSError:
            return ()
        return tuple(name for name in folders if name not in _NOT_VERSIONS and _LEADING_INTEGER.match(name))

    @cached_property
    def versions(self) -> tuple[int, ...]:
        """The versions as Triton counts them, ascending: it skips leading zeros and reads ``1abc`` as 1."""
        kept = (name for name in self.version_names if name == "0" or not name.startswith("0"))
        numbers = (_LEADING_INTEGER.match(name) for name in kept)
        return tuple(sorted({int(number.group()) for number in numbers if number}))

    @cached_property
    def served_versions(self) -> tuple[int, ...]:
        """The versions that the version policy loads; without one, the newest."""
        policy = self.config.version_policy
        if policy is None or (policy.latest is None and policy.specific is None and not policy.all_versions):
            return self.versions[-1:]
        if policy.all_versions:
            return self.versions
        if policy.latest is not None:
            return self.versions[-policy.latest :] if policy.latest > 0 else ()
        return tuple(version for version in self.versions if version in (policy.specific or ()))

    @cached_property
    def backend(self) -> str:
        """The backend that Triton will use: written, implied by the platform, or guessed from a file; "" if none."""
        config = self.config
        if config.is_ensemble:
            return ""
        return config.backend or backend_of_platform(config.platform) or self.guessed_backend or ""

    @cached_property
    def guessed_backend(self) -> str | None:
        """The backend that a file in a version directory gives away."""
        for version in self.versions:
            try:
                names = sorted(entry.name for entry in self.directory.version_path(version).iterdir())
            except OSError:
                continue
            if found := next(filter(None, map(backend_of_file, names)), None):
                return found
        return None

    def mentions(self, field: str) -> bool:
        """Whether the text of the configuration has ``field``, one of those that ModelConfig leaves out."""
        text = self.config_text if isinstance(self.config_text, str) else ""
        return re.search(rf"\b{field}\b", re.sub(r"#.*", "", text)) is not None

    def expected_files(self) -> tuple[str, ...]:
        """The names of which one must be in each version directory; empty for backends that we do not know."""
        if self.config.default_model_filename:
            return (self.config.default_model_filename,)
        return DEFAULT_FILENAMES.get(self.backend, ())

    def artifact(self, version: int) -> Path | None:
        """The model file or folder of a version; None when it is missing."""
        folder = self.directory.version_path(version)
        return next((folder / name for name in self.expected_files() if (folder / name).exists()), None)

    @cached_property
    def _onnx_reads(self) -> dict[int, OnnxModel | OnnxFileError]:
        if self.backend != "onnxruntime" or not is_onnx_installed():
            return {}
        found = ((version, self.artifact(version)) for version in self.served_versions)
        return {version: _read_onnx(path) for version, path in found if path is not None}

    def onnx_models(self) -> Iterator[tuple[str, OnnxModel]]:
        """The ONNX files of the served versions, each with its path relative to the model directory."""
        for version, model in self._onnx_reads.items():
            if isinstance(model, OnnxModel):
                yield self._relative_artifact(version), model

    def onnx_errors(self) -> Iterator[tuple[str, OnnxFileError]]:
        """The files of served versions that should be ONNX and are not."""
        for version, error in self._onnx_reads.items():
            if isinstance(error, OnnxFileError):
                yield self._relative_artifact(version), error

    def _relative_artifact(self, version: int) -> str:
        path = self.artifact(version)
        return path.relative_to(self.directory.path).as_posix() if path else str(version)


def _read_onnx(path: Path) -> OnnxModel | OnnxFileError:
    # The C++ backend takes a folder of that name that holds model.onnx, beside its external data.
    file = path / "model.onnx" if path.is_dir() else path
    try:
        return read_onnx(file)
    except OnnxFileError as error:
        return error
