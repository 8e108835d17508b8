# SPDX-License-Identifier: Apache-2.0
"""Clients written for the models of a repository or of a server."""

__all__ = ["LANGUAGES", "GenerateRequest", "check_suffix", "differences", "generate_clients", "write_clients"]

import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from repo_client import Client
from repo_tool.client_code.description import ModelDescription
from repo_tool.client_code.from_repository import describe_repository
from repo_tool.client_code.from_server import describe_served
from repo_tool.errors import RepositoryError, UserMistakeError
from repo_tool.repository.disk import replace_file
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.call_model import translating_client_errors

# Where the renderer of each language is.
LANGUAGES = {
    "python": ("repo_tool.client_code.python.renderer", "render_python"),
    "typescript": ("repo_tool.client_code.typescript", "render_typescript"),
}
_LANGUAGE_OF = {".py": "python", ".pyi": "python"} | dict.fromkeys((".ts", ".mts", ".cts", ".tsx"), "typescript")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Which models, all of them without names, and in which language."""

    models: Sequence[str] = ()
    repository: Path = Path("model_repository")
    server: str | None = None  # asked in place of the repository
    language: str = "python"
    timeout_s: float = 60.0


def generate_clients(request: GenerateRequest) -> str:
    """The source of the clients; the same for the same models.

    Raises:
        UserMistakeError: an unknown language, or a model that is not there or does not say what it takes.
        TritonError: the server failed.
    """
    if request.language not in LANGUAGES:
        raise UserMistakeError(
            f"no clients in '{request.language}'", next_step=f"--language takes {' or '.join(LANGUAGES)}"
        )
    module, name = LANGUAGES[request.language]
    render: Callable[[Sequence[ModelDescription]], str] = getattr(importlib.import_module(module), name)
    return render(_described(request))


def _described(request: GenerateRequest) -> tuple[ModelDescription, ...]:
    found = _served(request) if request.server else _published(request)
    if not found:
        raise RepositoryError(
            f"'{request.server or request.repository}' has no model",
            next_step="add one: repo-tool add-model, or load one into the server",
        )
    return found


def _published(request: GenerateRequest) -> tuple[ModelDescription, ...]:
    return describe_repository(ModelRepository(request.repository), request.models)


def _served(request: GenerateRequest) -> tuple[ModelDescription, ...]:
    with translating_client_errors(), Client(str(request.server), timeout_s=request.timeout_s) as client:
        return describe_served(client, request.models)


def differences(written: Path, text: str) -> list[str]:
    """The lines of a unified diff from the file to ``text``; none where they are equal.

    Raises:
        UserMistakeError: the file does not read.
    """
    try:
        found = written.read_bytes().decode() if written.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserMistakeError(f"'{written}' cannot be read", cause=str(error)) from error
    lines = found.splitlines(), text.splitlines()
    changed = list(difflib.unified_diff(*lines, str(written), "as generated now", lineterm="", n=1))
    return changed or ([] if found == text else ["the line endings differ"])


def check_suffix(path: Path, language: str) -> None:
    """See that a file is not named like one of another language.

    Raises:
        UserMistakeError: it is.
    """
    told = _LANGUAGE_OF.get(path.suffix.lower(), language)
    if told != language:
        raise UserMistakeError(
            f"'{path}' is no name for a file of {language}", next_step=f"pass --language {told}, or another -o"
        )


def write_clients(path: Path, text: str) -> None:
    """Replace ``path`` whole, or leave it as it was.

    Raises:
        UserMistakeError: it cannot be written, is a link or no file.
    """
    try:
        with TemporaryDirectory(prefix=".clients-", dir=path.parent) as folder:
            draft = Path(folder, path.name)
            draft.write_text(text, encoding="utf-8", newline="\n")
            replace_file(path, draft)
    except OSError as error:
        raise UserMistakeError(f"'{path}' cannot be written", cause=error.strerror or str(error)) from error
