# SPDX-License-Identifier: Apache-2.0
"""What a source must show before an importer opens it: data, or a person's word for its code."""

__all__ = ["admit"]

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.first_bytes import Kind, is_factory, kind_of
from repo_tool.importers.foreign import refusing
from repo_tool.importers.guards.archives import check_archive


def admit(request: ImportRequest) -> tuple[str, ...]:
    """What of the source is code and was trusted by a person's word, for the provenance; () for data only.

    Pickles are not read here but where they are loaded, by ``guards.pickles.load_pickle``: both ask the same names.

    Raises:
        SourceError: it is code that nobody vouched for, or data that reaches outside itself.
    """
    _check_sample(request.sample)
    path = Path(request.source)
    if is_factory(request.source) or not path.exists():
        return ()  # a person's own code, named by that person
    check = _archive if path.suffix.lower() == ".skops" and path.is_file() else _CHECKS.get(kind_of(path))
    code = check(path) if check else ""
    if not code:
        return ()
    if request.trusted_source:
        return (f"{path.name}: {code}",)
    raise SourceError(
        f"'{path.name}' is code, and loading it runs that code with your rights",
        cause=code,
        next_step="if you trust where it comes from, pass --trust-source",
    )


def _check_sample(sample: Path | None) -> None:
    if sample is not None and sample.is_file() and zipfile.is_zipfile(sample):
        check_archive(sample)


# --- one check per kind: what is code in it, in words; "" for data only ----------------------------------------------


def _archive(path: Path) -> str:
    check_archive(path)
    return ""


def _script(path: Path) -> str:
    check_archive(path)
    return "TorchScript is a program in a language of its own, which reads and writes files as well"


def _program(path: Path) -> str:
    from repo_tool.importers.guards.exported_programs import code_in_program

    check_archive(path)
    return code_in_program(path)


def _keras(path: Path) -> str:
    from repo_tool.importers.guards.keras import check_keras

    check_keras(path)
    return ""


def _saved_model(path: Path) -> str:
    from repo_tool.importers.guards.saved_models import code_in_saved_model

    return code_in_saved_model(path)


def _folder(path: Path) -> str:
    """Hugging Face: an index says in which files the weights lie, and transformers opens them wherever they are."""
    for index in sorted(path.glob("*.index.json")):
        with refusing(f"'{index.name}' does not read as an index of weights", next_step="save the model again"):
            places = set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = sorted(place for place in places if Path(place).name != place)
        if outside:
            raise SourceError(
                f"'{path.name}' points to '{outside[0]}', outside of itself",
                cause=f"its {index.name} names that file as one with weights",
                next_step="save the model again: model.save_pretrained(folder)",
            )
    return ""


_CHECKS: dict[Kind, Callable[[Path], str]] = {
    Kind.SKOPS: _archive,
    Kind.TORCH_SAVE: _archive,
    Kind.TORCHSCRIPT: _script,
    Kind.EXPORTED_PROGRAM: _program,
    Kind.KERAS: _keras,
    Kind.SAVED_MODEL: _saved_model,
    Kind.OTHER_FOLDER: _folder,
}
