# SPDX-License-Identifier: Apache-2.0
"""What the rules look at: a repository and its models, each file read at most once."""

__all__ = ["ModelSubject", "RepositorySubject", "entries_of", "files_within"]

import copy
import errno
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError
from repo_tool.releases import Release
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.rules.artifacts import (
    DEFAULT_FILENAMES,
    FIRST_WITH_TORCH_AOTI,
    PLATFORM_FILENAMES,
    backend_of_file,
    backend_of_platform,
    fits_guess,
)
from repo_tool.rules.circles import Circles
from repo_tool.rules.file_kinds import exists, is_file, is_folder
from repo_tool.rules.model_files import asked_of_file, has_reader, read_model_file
from repo_tool.rules.model_signatures import ModelFileError, ModelFileSignature
from repo_tool.rules.onnx_file import OnnxFileError, OnnxModel, is_onnx_installed, read_onnx

_MAX_CONFIG_BYTES = 4 * 1024 * 1024  # the largest real ones have some thousand lines; parsing 50 MB takes minutes
_NOT_VERSIONS = ("warmup", "initial_state", "configs")  # sub-folders that Triton skips
_BEYOND_COUNTING = 2**63  # where Triton 2.51 ends instead
_LEADING_INTEGER = re.compile(r"\s*[+-]?[0-9]+")  # what C's stoll reads


def _is_onnx_file_or_folder(path: Path) -> bool:
    return is_file(path) or is_file(path / "model.onnx")


# What a backend can open; any file or folder of the name where it is not said here.
_OPENED_AS: Mapping[str, Callable[[Path], bool]] = {
    "onnxruntime": _is_onnx_file_or_folder,
    "python": is_file,  # it is imported, and a folder is no module
}


class RepositorySubject:
    """A repository under validation, and what its models may also refer to."""

    def __init__(self, repository: ModelRepository, release: Release, beside: ModelRepository | None = None) -> None:
        self.repository = repository
        self.release = release
        self.variant = ""  # what a server is started with as --model-config-name
        own = tuple(repository.models())
        others = tuple(beside.models()) if beside is not None else ()
        # One's own model hides the neighbour of the same name.
        self.models = {directory.name: ModelSubject(directory, self) for directory in (*others, *own)}
        self.own_names = tuple(directory.name for directory in own)
        self._views: dict[tuple[str, str], RepositorySubject] = {}

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.repository.path.name

    def suppose(self, *, texts: Mapping[str, str], folders: Collection[str]) -> None:
        """Look at the repository as if its files said ``texts`` and it had ``folders``, both by path in it."""
        for model in self.models.values():
            model.suppose(texts=texts, folders=folders)

    @cached_property
    def circles(self) -> Circles:
        """Which ensembles contain themselves, and which have a decoupled model in them."""
        return Circles(self._steps, self._is_decoupled)

    def _usable(self, name: str) -> ModelConfig | None:
        model = self.models.get(name)
        return model.config if model is not None and model.config_error is None else None

    def _steps(self, name: str) -> tuple[str, ...]:
        config = self._usable(name)
        return tuple(dict.fromkeys(step.model_name for step in config.ensemble_steps)) if config is not None else ()

    def _is_decoupled(self, name: str) -> bool:
        config = self._usable(name)
        return config is not None and bool(config.decoupled) and not config.is_ensemble

    def own_models(self) -> Iterator["ModelSubject"]:
        """The models of the repository itself, by name."""
        return (self.models[name] for name in self.own_names)

    def for_release(self, release: Release) -> "RepositorySubject":
        """The same repository for another release; what was read of its files is not read again."""
        return self._view(self.variant, release)

    def with_variant(self, variant: str) -> "RepositorySubject":
        """The repository as a server with ``--model-config-name`` sees it: a model without that file keeps its own."""
        return self._view(variant, self.release)

    def _view(self, variant: str, release: Release) -> "RepositorySubject":
        view = self._views.get((variant, release.name))
        if view is None:
            view = self._views[variant, release.name] = copy.copy(self)
            view.variant, view.release = variant, release
            view.__dict__.pop("circles", None)  # a variant's ensembles may have other steps
            view.models = {name: model.seen_in(view) for name, model in self.models.items()}
        return view


class ModelSubject:
    """One model under validation. Broken files become values here, so that rules never see an exception."""

    def __init__(self, directory: ModelDirectory, repository: RepositorySubject, *, variant: str = "") -> None:
        self.directory = directory
        self.name = directory.name  # which must be the model's
        self.repository = repository
        self.variant = variant  # "" for config.pbtxt itself
        self._supposed_folders: frozenset[str] = frozenset()
        self._onnx_files: dict[Path, OnnxModel | OnnxFileError] = {}
        self._model_files: dict[tuple[object, ...], ModelFileSignature | ModelFileError | None] = {}

    @property
    def release(self) -> Release:
        """The release that must load it."""
        return self.repository.release

    @property
    def config_file(self) -> str:
        """The configuration, relative to the model directory: config.pbtxt or one in configs/."""
        return f"configs/{self.variant}.pbtxt" if self.variant else "config.pbtxt"

    @property
    def config_path(self) -> Path:
        """Where the configuration is."""
        return self.directory.path / self.config_file

    def suppose(self, *, texts: Mapping[str, str], folders: Collection[str]) -> None:
        """Look at the model as if its files said ``texts`` and it had ``folders``, both by path in the repository."""
        text = texts.get(f"{self.name}/{self.config_file}")
        if text is not None:
            self._config_bytes = text.encode()
        added = (path.removeprefix(f"{self.name}/") for path in folders if path.startswith(f"{self.name}/"))
        self._supposed_folders = frozenset(added)
        self.version_names = tuple(sorted({*self.version_names, *self._supposed_folders}))
        for variant in self._variants.values():
            variant.suppose(texts=texts, folders=folders)

    def is_supposed(self, folder: str) -> bool:
        """Whether the model is looked at as if it had ``folder``, with a file in it."""
        return folder in self._supposed_folders

    def variants(self) -> Iterator["ModelSubject"]:
        """The model with each of the configurations in ``configs/``, all models beside it with theirs of that name."""
        for name in self._variants:
            yield self.repository.with_variant(name).models[self.name]

    @property
    def variant_names(self) -> tuple[str, ...]:
        """What ``variants`` are called; for this none is read."""
        return tuple(self._variants)

    def seen_in(self, repository: RepositorySubject) -> "ModelSubject":
        """The model in a view of its repository: with the view's variant where it has one; its reads are shared."""
        seen = copy.copy(self._variants.get(repository.variant, self))
        seen.repository = repository
        return seen

    @cached_property
    def _variants(self) -> Mapping[str, "ModelSubject"]:
        """A subject for each variant, so that each is read once, whatever views there are."""
        if self.variant:
            return {}
        names = (entry.name.removesuffix(".pbtxt") for entry in self.config_entries if entry.name.endswith(".pbtxt"))
        return {name: self._as_variant(name) for name in names if name}

    def _as_variant(self, name: str) -> "ModelSubject":
        made = ModelSubject(self.directory, self.repository, variant=name)
        made.entries, made.config_entries = self.entries, self.config_entries
        made._onnx_files, made._model_files = self._onnx_files, self._model_files
        return made

    @cached_property
    def entries(self) -> tuple[os.DirEntry[str], ...]:
        """What lies in the model directory, by name."""
        return entries_of(self.directory.path)

    @cached_property
    def config_entries(self) -> tuple[os.DirEntry[str], ...]:
        """What lies in ``configs/``, by name."""
        has_configs = any(entry.name == "configs" for entry in self.entries)
        return entries_of(self.directory.path / "configs") if has_configs else ()

    @cached_property
    def _config_bytes(self) -> bytes | ConfigError:
        """What is in the configuration's file, or why there is nothing to read."""
        file = self.config_file
        try:
            with _opened(self.config_path) as stream:
                size = os.fstat(stream.fileno()).st_size
                content = stream.read(_MAX_CONFIG_BYTES + 1)
        except IsADirectoryError:
            return ConfigError(f"there is no file {file}")
        except OSError as error:
            return ConfigError(f"{file} cannot be read", cause=error.strerror or str(error))
        if len(content) <= _MAX_CONFIG_BYTES:
            return content
        return ConfigError(
            f"{file} is too large to be a model configuration",
            cause=f"it has {max(size, len(content)):,} bytes, and repo-tool reads up to {_MAX_CONFIG_BYTES:,}",
            next_step="write a configuration by hand, or let repo-tool add-model write it",
        )

    @cached_property
    def config_text(self) -> str | ConfigError:
        """The text of the configuration, or why there is none; bytes that are no UTF-8 are U+FFFD in it."""
        content = self._config_bytes
        return content if isinstance(content, ConfigError) else content.decode("utf-8", "replace")

    @property
    def is_utf8(self) -> bool:
        """Whether the configuration's file is UTF-8, which Triton does not ask for."""
        try:
            return isinstance(self._config_bytes, ConfigError) or bool(self._config_bytes.decode("utf-8") or True)
        except UnicodeDecodeError:
            return False

    @cached_property
    def _parsed(self) -> ModelConfig | ConfigError:
        if isinstance(self.config_text, ConfigError):
            return self.config_text
        try:
            return pbtxt.parse(self.config_text)
        except ConfigError as error:
            return error

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
        folders = (entry.name for entry in self.entries if entry.name not in _NOT_VERSIONS and _is_folder(entry))
        return tuple(name for name in folders if _LEADING_INTEGER.match(name))

    @cached_property
    def versions(self) -> tuple[int, ...]:
        """The versions as Triton counts them, ascending: it skips leading zeros and reads ``1abc`` as 1."""
        kept = (name for name in self.version_names if name == "0" or not name.startswith("0"))
        numbers = (_LEADING_INTEGER.match(name) for name in kept)
        counted = {int(number.group()) for number in numbers if number}
        return tuple(sorted(number for number in counted if number < _BEYOND_COUNTING))  # of the others REP119 speaks

    @cached_property
    def served_versions(self) -> tuple[int, ...]:
        """The versions that the version policy loads; without one, the newest."""
        return served_versions(self.config.version_policy, self.versions)

    @cached_property
    def backend(self) -> str:
        """The backend that Triton will use: written, implied by the platform, or guessed from a file; "" if none."""
        config = self.config
        if config.is_ensemble:
            return ""
        return config.backend or backend_of_platform(config.platform) or self.guessed_backend or ""

    @cached_property
    def guessed_backend(self) -> str | None:
        """The backend that default_model_filename gives away, or else a file in the first sub-folder.

        Triton takes no second look (model_config_utils.cc, AutoCompleteBackendFields).
        """
        filename = self.config.default_model_filename
        if filename:
            return self._guess(filename)
        first = next((entry for entry in self.entries if _is_folder(entry)), None)
        found = entries_of(self.directory.path / first.name) if first else ()
        names = (entry.name for entry in found if fits_guess(entry.name, is_folder=_is_folder(entry)))
        return next(filter(None, map(self._guess, names)), None)

    def _guess(self, filename: str) -> str | None:
        is_known = filename != "model.pt2" or self.release.name >= FIRST_WITH_TORCH_AOTI
        return backend_of_file(filename) if is_known else None

    def expected_files(self) -> tuple[str, ...]:
        """The names of which one must be in each version directory; empty for backends that we do not know."""
        if self.backend not in DEFAULT_FILENAMES:
            return ()
        if self.config.default_model_filename:
            return (self.config.default_model_filename,)
        if self.backend == "pytorch" and self.config.runtime.endswith(".py"):
            return ("model.py",)  # pytorch_backend: the module's code; weights are as it likes
        return PLATFORM_FILENAMES.get(self.config.platform) or DEFAULT_FILENAMES.get(self.backend, ())

    def artifact(self, version: int) -> Path | None:
        """The model file or folder of a version; None when it is missing."""
        folder = self.directory.version_path(version % 2**64)  # Triton gives backends the number without its sign
        is_there = _OPENED_AS.get(self.backend, exists)
        return next((folder / name for name in self.expected_files() if is_there(folder / name)), None)

    @cached_property
    def _own_artifacts(self) -> tuple[Path, ...]:
        """The model files of the served versions; none where their name leads elsewhere, where nothing is looked at."""
        if self.config.is_ensemble or _leads_out(self.config.default_model_filename):
            return ()
        return tuple(path for version in self.served_versions if (path := self.artifact(version)) is not None)

    @cached_property
    def _onnx_reads(self) -> dict[str, OnnxModel | OnnxFileError]:
        if self.backend != "onnxruntime" or not is_onnx_installed():
            return {}
        return {self.relative(path): self._onnx_file(path) for path in self._own_artifacts}

    def _onnx_file(self, path: Path) -> OnnxModel | OnnxFileError:
        if path not in self._onnx_files:
            self._onnx_files[path] = _read_onnx(path)
        return self._onnx_files[path]

    def onnx_models(self) -> Iterator[tuple[str, OnnxModel]]:
        """The ONNX files of the served versions, each with its path relative to the model directory."""
        return ((path, found) for path, found in self._onnx_reads.items() if isinstance(found, OnnxModel))

    def onnx_errors(self) -> Iterator[tuple[str, OnnxFileError]]:
        """The files of served versions that should be ONNX and are not."""
        return ((path, found) for path, found in self._onnx_reads.items() if isinstance(found, OnnxFileError))

    def file_signatures(self) -> Iterator[tuple[str, ModelFileSignature]]:
        """What the model files of served versions say of themselves, those of other frameworks than ONNX."""
        return ((path, found) for path, found in self._file_reads.items() if isinstance(found, ModelFileSignature))

    def file_errors(self) -> Iterator[tuple[str, ModelFileError]]:
        """The files of served versions that their backend cannot open, or not as the configuration wants it."""
        return ((path, found) for path, found in self._file_reads.items() if isinstance(found, ModelFileError))

    @cached_property
    def _file_reads(self) -> dict[str, ModelFileSignature | ModelFileError | None]:
        if not has_reader(self.backend):
            return {}
        return {self.relative(path): self._model_file(path) for path in self._own_artifacts}

    def _model_file(self, path: Path) -> ModelFileSignature | ModelFileError | None:
        key = (path, *asked_of_file(self.config))
        if key not in self._model_files:
            self._model_files[key] = read_model_file(self.config, self.backend, path)
        return self._model_files[key]

    def relative(self, path: Path) -> str:
        """A path as findings name it: relative to the model directory, where it lies in it."""
        return path.relative_to(self.directory.path).as_posix() if path.is_relative_to(self.directory.path) else ""


def _leads_out(filename: str) -> bool:
    return filename.startswith("/") or ".." in filename.split("/")


def _read_onnx(path: Path) -> OnnxModel | OnnxFileError:
    # The C++ backend takes a folder of that name that holds model.onnx, beside its external data.
    file = path / "model.onnx" if is_folder(path) else path
    try:
        return read_onnx(file)
    except OnnxFileError as error:
        return error


def entries_of(folder: Path) -> tuple[os.DirEntry[str], ...]:
    """What lies in a folder, by name; nothing where it is none or cannot be read."""
    try:
        with os.scandir(folder) as found:
            return tuple(sorted(found, key=lambda entry: entry.name))
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return ()


def files_within(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder, however deep, without following links; by name within each folder."""
    waiting = [folder]
    while waiting:
        entries = entries_of(waiting.pop())
        yield from entries
        waiting += [Path(entry.path) for entry in reversed(entries) if _is_own_folder(entry)]


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links
        return False


def _opened(path: Path) -> BinaryIO:
    """A plain file for reading, never a pipe or a device, at which one could wait without end.

    Raises:
        OSError: there is none, or it may not be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, "it is no file", str(path))
    return os.fdopen(descriptor, "rb")
