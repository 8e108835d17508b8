# SPDX-License-Identifier: Apache-2.0
"""What a real Triton says to each model of a repository, alone and beside the others, and what the rules had said."""

__all__ = ["LiveVerdict", "live_verdicts", "verdicts_together", "write_disagreement"]

import json
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repo_tool.errors import (
    ConfigError,
    LoadRefusedError,
    LoadTimeoutError,
    ModelNameError,
    RepositoryError,
    ServerStartError,
)
from repo_tool.releases import Release
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import called_by
from repo_tool.rules import RULES, Diagnostic
from repo_tool.triton import EmbeddedServer, ServerOptions

# A Python model without its file makes Triton 2.51 wait for a stub that never comes.
_LOAD_TIMEOUT_S = 60.0
_EMBEDDED_LIMITS = (
    "unable to find backend library for backend",
    "not supported by the embedded backend",
    "into a shell command",  # Triton itself runs it; SEC103 and SEC104 say so
)
_EMBEDDED_REFUSES = frozenset(rule.code for rule in RULES if rule.embedded_refuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveVerdict:
    """One model: Triton's words and the rules that had foreseen them."""

    model: str
    refusal: str  # Triton's own words when it was loaded alone; "" when it loaded
    codes: tuple[str, ...]  # rules that foresaw a refusal, those of an ensemble's models included
    backend: str = ""
    repository: str = ""  # which, where there are several
    refusal_together: str = ""  # Triton's words when all models were loaded into one server, and alone it loads

    @property
    def is_embedded_limit(self) -> bool:
        """Whether the embedded server lacks the backend or the feature, so that its refusal says nothing of others."""
        return any(words in self.refusal for words in _EMBEDDED_LIMITS)

    @property
    def is_code_failure(self) -> bool:
        """Whether the model's own Python code failed, which no look at files can foresee."""
        return self.backend == "python" and bool(self.refusal) and not self.codes

    @property
    def is_disagreement(self) -> bool:
        """Whether the rules and the server differ, which is a fault of the rules."""
        is_excused = self.is_embedded_limit or self.is_code_failure
        return not is_excused and bool(self.refusal or self.refusal_together) != bool(self.codes)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--format json``."""
        where = {"repository": self.repository} if self.repository else {}
        return where | {
            "model": self.model,
            "loads": not self.refusal,
            "refusal": self.refusal,
            "refusal_together": self.refusal_together,
            "codes": list(self.codes),
            "backend": self.backend,
            "disagreement": self.is_disagreement,
        }


def live_verdicts(
    repository: ModelRepository,
    diagnostics: Sequence[Diagnostic],
    *,
    releases: Sequence[Release],
    models: Collection[str] | None = None,
) -> Iterator[LiveVerdict]:
    """Load every model of ``repository``, or ``models``, alone in an embedded Triton.

    It takes only what all of ``releases`` take, and is given the repositories beside this one too. A model that ends
    the server counts as refused, and a new server goes on with the next.

    Raises:
        RepositoryError: the repository is no folder.
        MissingExtraError: the wheel with Triton is not installed.
        EnvironmentUnfitError: this machine or environment cannot run it.
        ServerStartError: the server does not start.
    """
    there = _directories(repository)
    with EmbeddedServer(repository.path, _options(repository, releases)) as server:
        for model in repository.models():
            if models is not None and model.name not in models:
                continue
            codes = _foreseen(there, model.name, diagnostics)
            refusal, is_final = _load(server, model.name)
            if refusal and not codes and not is_final:
                server.stop()
                server.start()
                refusal, _ = _load(server, model.name)
            _end_or_unload(server, model.name)
            yield LiveVerdict(model=model.name, refusal=refusal, codes=codes, backend=_backend(model))


def verdicts_together(
    repository: ModelRepository, verdicts: Sequence[LiveVerdict], *, releases: Sequence[Release]
) -> list[LiveVerdict]:
    """Load all models that load alone into one server, where they share names, resources and memory.

    They may be in ``repository`` or in one beside it.

    Raises:
        EnvironmentUnfitError: this machine or environment cannot run it.
        ServerStartError: the server does not start.
    """
    names = [verdict.model for verdict in verdicts if not verdict.refusal]
    with EmbeddedServer(repository.path, _options(repository, releases)) as server:
        try:
            refused = {outcome.model: outcome.reason for outcome in server.load_all(names) if not outcome.is_ready}
        except (LoadTimeoutError, ServerStartError) as error:  # which of them it was, nobody can tell
            refused = dict.fromkeys(names, f"with all models loaded, {error.fact}: {error.cause}")
    return [replace(verdict, refusal_together=refused.get(verdict.model, "")) for verdict in verdicts]


def _options(repository: ModelRepository, releases: Sequence[Release]) -> ServerOptions:
    """With the strictest limits of all ``releases``: a model must load in each of them."""
    return ServerOptions(
        beside=tuple(other.path for other in repository.beside),
        max_opset=_least(release.max_onnx_opset for release in releases),
        max_ir_version=_least(release.max_onnx_ir for release in releases),
        load_timeout_s=_LOAD_TIMEOUT_S,
        graceful_stop_s=0,
    )


def _least(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def write_disagreement(
    repository: ModelRepository,
    verdict: LiveVerdict,
    diagnostics: Sequence[Diagnostic],
    *,
    releases: Sequence[Release],
) -> Path:
    """A file to attach to a report: configurations, names and sizes of files, both verdicts; no weights and no code."""
    there = _directories(repository)
    models = sorted(_with_composing(there, verdict.model))
    found = [diagnostic.to_dict() for diagnostic in diagnostics if diagnostic.model in models]
    path = Path(tempfile.mkdtemp(prefix="repo-tool-disagreement-"), f"{verdict.model}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        names = [release.name for release in releases]
        summary = {"releases": names, "verdict": verdict.to_dict(), "diagnostics": found}
        archive.writestr("disagreement.json", json.dumps(summary, indent=2))
        for directory in map(there.__getitem__, models):
            archive.writestr(f"{directory.name}/files.txt", _listing(directory.path))
            if directory.config_path.is_file():
                archive.write(directory.config_path, f"{directory.name}/config.pbtxt")
    return path


def _listing(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{path.stat().st_size:>12} {path.relative_to(folder).as_posix()}\n" for path in files)


def _load(server: EmbeddedServer, model: str) -> tuple[str, bool]:
    """Why the model does not load, and whether asking once more is pointless.

    Triton 2.51 crashes now and then when the models before this one go, above all those of the tensorflow backend: a
    refusal that no rule foresaw is believed when a new server, which has seen no other model, repeats it.
    """
    try:
        if not server.is_running():
            server.stop()
            server.start()
        server.load(model)
    except LoadTimeoutError as error:
        server.stop()  # it is stuck in this model
        return f"it was still loading after {_LOAD_TIMEOUT_S:g} s: {error.fact}", True
    except (LoadRefusedError, ModelNameError) as error:
        return error.cause or error.fact, isinstance(error, ModelNameError)
    except ServerStartError as error:
        server.stop()
        return f"the server ended: {error.cause or error.fact}", False
    return "", True


def _end_or_unload(server: EmbeddedServer, model: str) -> None:
    """Make room for the next model; a server that does not outlive it is no fault of the model's."""
    if not server.is_running():
        return
    try:
        server.unload(model)
    except (LoadRefusedError, ModelNameError, ServerStartError):
        server.stop()


def _backend(model: ModelDirectory) -> str:
    try:
        return model.read_config().backend
    except (ConfigError, RepositoryError):
        return ""


def _foreseen(there: Mapping[str, ModelDirectory], model: str, diagnostics: Sequence[Diagnostic]) -> tuple[str, ...]:
    loaded = _with_composing(there, model)
    # A server without --model-config-name never looks into configs/.
    counted = (found for found in diagnostics if not found.path.startswith(f"{found.model}/configs/"))
    codes = (found.code for found in counted if found.model in loaded)
    return tuple(sorted(_EMBEDDED_REFUSES.intersection(codes)))


def _directories(repository: ModelRepository) -> dict[str, ModelDirectory]:
    """All models that a server of ``repository`` is given, by name; its own before those beside it."""
    places = (*reversed(repository.beside), repository)
    return {model.name: model for place in places for model in place.models()}


def _with_composing(there: Mapping[str, ModelDirectory], model: str) -> set[str]:
    """The model and, for an ensemble, every model that is loaded with it, of those that are there.

    A step may name anything, a path that leads elsewhere too.
    """
    found: set[str] = set()
    waiting = [model]
    while waiting:
        name = waiting.pop()
        if name in there and name not in found:
            found.add(name)
            waiting += _steps(there[name])
    return found


def _steps(model: ModelDirectory) -> Iterator[str]:
    try:
        config = model.read_config()
    except (ConfigError, RepositoryError):
        return
    yield from called_by(config)
