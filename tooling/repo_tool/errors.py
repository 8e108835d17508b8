# SPDX-License-Identifier: Apache-2.0
"""Every failure repo-tool raises on purpose, as one tree split by who can mend it.

::

    RepoToolError
    ├── UserMistakeError               the person who typed the command
    │   ├── SourceError                the model file: missing, empty, of another kind, not loadable
    │   ├── MissingExtraError          a framework that is not installed
    │   ├── ModelNameError             not a name that Triton's shell may see
    │   ├── VersionExistsError         the version is taken
    │   ├── SampleError                sample rows whose columns or types do not fit
    │   ├── BatchingError              a model without a batch dimension asked to batch
    │   ├── ReleaseError               more than the Triton release can load
    │   ├── BackendUnprovenError       a backend that the embedded server has not, so that nothing can be proven
    │   ├── ConfigError                a model configuration that does not parse or contradicts itself
    │   │   └── UnknownValueError      a number that names nothing, which Triton's parser takes
    │   ├── PipelineError              a pipeline.yaml that cannot work
    │   ├── SpecificationError         a repo-tool.yaml that does not describe a repository
    │   ├── RepositoryError            a folder that is not a model repository, or lacks the model
    │   ├── EnvironmentUnfitError      this machine lacks something Triton needs, or has too new a numpy
    │   ├── PortInUseError             another process listens there
    │   ├── NoSpaceError               the disk is full
    │   └── ServerUnreachableError     no Triton answers at the address
    ├── BenchmarkError                 perf_analyzer failed, or wrote what it should not
    ├── ParityError                    served outputs differ from the framework's
    ├── RollOutError                   a server that goes on with what it served, for the new was not good
    └── TritonError                    the server
        ├── ServerStartError           it did not become ready
        └── LoadRefusedError           it refused a model, in its own words
            └── LoadTimeoutError       it did not come to an end with it

Findings of the validator are values (``repo_tool.rules``), not exceptions.
"""

__all__ = [
    "BackendUnprovenError",
    "BatchingError",
    "BenchmarkError",
    "ConfigError",
    "EnvironmentUnfitError",
    "LoadRefusedError",
    "LoadTimeoutError",
    "MissingExtraError",
    "ModelNameError",
    "NoSpaceError",
    "ParityError",
    "PipelineError",
    "PortInUseError",
    "ReleaseError",
    "RepoToolError",
    "RepositoryError",
    "RollOutError",
    "RollOutUnderWayError",
    "SampleError",
    "ServerStartError",
    "ServerUnreachableError",
    "SourceError",
    "SpecificationError",
    "TritonError",
    "UnknownValueError",
    "UserMistakeError",
    "VersionExistsError",
    "error_from_dict",
    "needs_extra",
]

from collections.abc import Iterator
from contextlib import contextmanager


class RepoToolError(Exception):
    """A failure told as fact, cause and next step; ``str()`` shows all three."""

    def __init__(self, fact: str, *, cause: str = "", next_step: str = "") -> None:
        super().__init__(fact)
        self.fact = fact
        self.cause = cause
        self.next_step = next_step

    def __str__(self) -> str:
        lines = [self.fact]
        if self.cause:
            lines.append(f"cause: {self.cause}")
        if self.next_step:
            lines.append(f"next:  {self.next_step}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, str]:
        """The error as plain values, for ``--json`` and for the pipe of a worker process."""
        return {"error": type(self).__name__, "fact": self.fact, "cause": self.cause, "next_step": self.next_step}


class UserMistakeError(RepoToolError):
    """Something the person at the keyboard can put right."""


class SourceError(UserMistakeError):
    """The model file is missing, empty, of another kind, or does not load."""


class MissingExtraError(UserMistakeError):
    """A framework is needed that is not installed."""


class ModelNameError(UserMistakeError):
    """The name is no model name; Triton starts its Python stub through a shell, so little may pass."""


class VersionExistsError(UserMistakeError):
    """The version is already in the repository."""


class SampleError(UserMistakeError):
    """Sample rows whose columns, shapes or types do not fit the model."""


class BatchingError(UserMistakeError):
    """A model whose tensors have no free first dimension was asked to batch."""


class ReleaseError(UserMistakeError):
    """The model needs more than the Triton release can load."""


class BackendUnprovenError(UserMistakeError):
    """The model asks for a backend that only a GPU server has."""


class ConfigError(UserMistakeError):
    """A model configuration that does not parse or contradicts itself."""


class UnknownValueError(ConfigError):
    """A number that names no value of its enumeration; Triton's parser takes it, and we have no word for it."""


class PipelineError(UserMistakeError):
    """A pipeline file that cannot work; ``drawing`` shows the spot, and stands between fact and cause."""

    def __init__(self, fact: str, *, cause: str = "", next_step: str = "", drawing: str = "") -> None:
        super().__init__(fact, cause=cause, next_step=next_step)
        self.drawing = drawing

    def __str__(self) -> str:
        fact, *rest = super().__str__().splitlines()
        return "\n".join([fact, *self.drawing.splitlines(), *rest])

    def to_dict(self) -> dict[str, str]:
        """With the drawing, where there is one."""
        return super().to_dict() | ({"drawing": self.drawing} if self.drawing else {})


class SpecificationError(UserMistakeError):
    """A repo-tool.yaml that does not describe a repository."""


class RepositoryError(UserMistakeError):
    """Not a model repository, or it lacks the model."""


class EnvironmentUnfitError(UserMistakeError):
    """This machine lacks something that Triton needs."""


class PortInUseError(UserMistakeError):
    """Another process listens on the port."""


class NoSpaceError(UserMistakeError):
    """The file system is full."""


class ServerUnreachableError(UserMistakeError):
    """No Triton answers at the address."""


class BenchmarkError(RepoToolError):
    """perf_analyzer failed; ``cause`` holds its last words."""


class ParityError(RepoToolError):
    """What is served differs from what was trained by more than the tolerance."""


class RollOutError(RepoToolError):
    """What the repository says of a model was not brought to a server; ``restored``: it serves as it did before."""

    def __init__(
        self, fact: str, *, cause: str = "", next_step: str = "", restored: bool = True, has_lost_server: bool = False
    ) -> None:
        super().__init__(fact, cause=cause, next_step=next_step)
        self.restored = restored
        self.has_lost_server = has_lost_server  # which ended meanwhile, of the model or for another reason


class RollOutUnderWayError(RollOutError):
    """Another roll-out of the model has not come to its end; this one has done nothing."""


class TritonError(RepoToolError):
    """The server failed."""


class ServerStartError(TritonError):
    """The embedded server did not become ready."""


class LoadRefusedError(TritonError):
    """Triton refused to load a model; ``cause`` holds its own words."""


class LoadTimeoutError(LoadRefusedError):
    """Triton has not come to an end with a model in time; it may still be at it."""


def error_from_dict(values: dict[str, str]) -> RepoToolError:
    """The error that ``RepoToolError.to_dict`` described; an unknown kind becomes the base class."""
    kinds: dict[str, type[RepoToolError]] = {kind.__name__: kind for kind in _descendants(RepoToolError)}
    kind = kinds.get(values["error"], RepoToolError)
    error = kind(values["fact"], cause=values["cause"], next_step=values["next_step"])
    if isinstance(error, PipelineError):
        error.drawing = values.get("drawing", "")
    return error


def _descendants(kind: type[RepoToolError]) -> Iterator[type[RepoToolError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _descendants(child)


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a missing module into the ``pip install`` line that brings it.

    Raises:
        MissingExtraError: an import inside the block did not find its module.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the Python package {error.name!r} is not installed",
            cause=f"it belongs to the extra '{extra}', which a light installation leaves out",
            next_step=f"pip install 'triton-repo-tool[{extra}]'",
        ) from error
