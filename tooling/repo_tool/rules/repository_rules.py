# SPDX-License-Identifier: Apache-2.0
"""REP: folders and files of the repository."""

import math
from collections.abc import Iterator
from pathlib import Path

from repo_tool.config.model import WarmupInput
from repo_tool.rules.artifacts import DEFAULT_FILENAMES
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import Scope, repository_rule, rule
from repo_tool.rules.subjects import ModelSubject, RepositorySubject


@repository_rule("REP001", severity=Severity.WARNING)
def empty_repository(repository: RepositorySubject) -> Iterator[Finding]:
    """The repository holds at least one model.

    Triton starts on an empty folder and serves nothing, which looks like success; often the path is wrong by one level.

    Wrong::

        model_repository/            (only a README.md)

    Right::

        model_repository/iris/config.pbtxt
        model_repository/iris/1/model.onnx
    """
    if not repository.own_names:
        yield Finding(
            "the repository holds no model",
            cause="every sub-folder is a model, and there is none",
            fix="check the path, or add a first model: repo-tool add-model",
        )


@rule("REP101", scope=Scope.DIRECTORY)
def missing_config(model: ModelSubject) -> Iterator[Finding]:
    """Every sub-folder of the repository has a readable config.pbtxt.

    Triton takes each sub-folder for a model, hidden ones too. Without a configuration it could only guess inputs and
    outputs, which differs between backends; the servers that repo-tool starts do not guess.

    Wrong::

        model_repository/iris/1/model.onnx

    Right::

        model_repository/iris/config.pbtxt
        model_repository/iris/1/model.onnx
    """
    path = model.directory.config_path
    if path.is_file():
        return
    hidden = model.name.startswith(".")
    yield Finding(
        "there is no config.pbtxt" if not path.exists() else "config.pbtxt is not a file",
        cause="every sub-folder of the repository is a model to Triton" + (", hidden ones too" if hidden else ""),
        fix="move the folder out of the repository"
        if hidden
        else "add the model with repo-tool add-model, or write one",
    )


@rule("REP102")
def directory_name_differs(model: ModelSubject) -> Iterator[Finding]:
    """The directory has the model's name.

    A configuration without a name takes the directory's.

    Wrong::

        model_repository/iris_v2/config.pbtxt:  name: "iris"

    Right::

        model_repository/iris/config.pbtxt:  name: "iris"
    """
    if model.config.name not in ("", model.name):
        yield Finding(
            f"the directory is called '{model.name}' and the model '{model.config.name}'",
            cause="Triton: directory name must equal model name",
            fix=f'write name: "{model.name}", or rename the directory',
            field="name",
        )


@rule("REP103")
def no_version_to_load(model: ModelSubject) -> Iterator[Finding]:
    """The version policy leaves at least one version to load.

    Versions are sub-folders named by whole numbers without a leading zero. An ensemble needs one as well, though it is
    empty; git does not keep empty folders, so put a file in it.

    Wrong::

        model_repository/digits/config.pbtxt:  platform: "ensemble"

    Right::

        model_repository/digits/config.pbtxt:  platform: "ensemble"
        model_repository/digits/1/.gitkeep
    """
    if model.served_versions:
        return
    if model.versions:
        listed = ", ".join(map(str, model.versions))
        yield Finding(
            "the version policy loads none of the versions there are",
            cause=f"there are versions {listed}, and the policy asks for others",
            fix=f"ask for one of them, e.g. version_policy {{ specific {{ versions: [ {model.versions[-1]} ] }} }}",
            field="version_policy",
        )
        return
    yield Finding(
        "there is no version folder",
        cause="Triton: at least one version must be available under the version policy",
        fix="create '1/' with a .gitkeep, so that git keeps it"
        if model.config.is_ensemble
        else "put the model file into '1/'",
        file="",
    )


@rule("REP104")
def missing_model_file(model: ModelSubject) -> Iterator[Finding]:
    """Each version that is loaded holds the file that its backend opens.

    Without ``default_model_filename`` the name depends on the backend: ``model.onnx``, ``model.py``, ``model.pt``,
    ``model.savedmodel``, ``model.plan``, ``model.xml``.

    Wrong::

        iris/config.pbtxt:  backend: "onnxruntime"
        iris/1/iris.onnx

    Right::

        iris/config.pbtxt:  backend: "onnxruntime"
        iris/1/model.onnx
    """
    names = model.expected_files()
    if model.config.is_ensemble or not names:
        return
    for version in model.served_versions:
        if model.artifact(version) is None:
            yield Finding(
                f"version {version} has no {' or '.join(names)}",
                cause=_what_is_there(model.directory.version_path(version), model.backend),
                fix=f"name the model file '{names[0]}', or set default_model_filename",
                file=str(version),
            )


def _what_is_there(folder: Path, backend: str) -> str:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return f"there is no folder '{folder.name}': a name such as '{folder.name}abc' counts as version {folder.name}"
    there = ", ".join(f"'{name}'" for name in names[:5]) or "nothing"
    return f"the {backend} backend opens that file, and the folder holds {there}"


@rule("REP105")
def missing_label_file(model: ModelSubject) -> Iterator[Finding]:
    """A label file is a file in the model directory.

    It is resolved against the model directory, not the version's. A folder of that name ends the whole server.

    Wrong::

        output [ { ... label_filename: "1/labels.txt" } ]     (and the file is iris/labels.txt)

    Right::

        output [ { ... label_filename: "labels.txt" } ]
    """
    for index, output in enumerate(model.config.outputs):
        if not output.label_filename:
            continue
        path = model.directory.path / output.label_filename
        if path.is_file() and _is_within(path, model.directory.path):
            continue
        yield Finding(
            f"output '{output.name}' has no label file '{output.label_filename}'",
            cause="it lies outside the model directory" if path.is_file() else "the model directory holds no such file",
            fix="put the file beside config.pbtxt and name it alone",
            field=f"output[{index}].label_filename",
        )


@rule("REP106")
def missing_warmup_file(model: ModelSubject) -> Iterator[Finding]:
    """Warm-up data is a file in ``warmup/`` with at least the bytes of its tensor.

    The file holds one row; Triton repeats it for larger batches. A folder of that name ends the whole server.

    Wrong::

        model_warmup { ... input_data_file: "row" }           (and there is no iris/warmup/row)

    Right::

        model_warmup { ... input_data_file: "row" }           (iris/warmup/row: 16 bytes for dims [ 4 ] of TYPE_FP32)
    """
    for index, warmup in enumerate(model.config.model_warmup):
        for tensor in warmup.inputs:
            # A warm-up of batch size 0 is skipped before its files are opened.
            if warmup.batch_size > 0 and tensor.file and (cause := _warmup_file_fault(model, tensor)):
                yield Finding(
                    f"warm-up '{warmup.name}' cannot read '{tensor.file}' for input '{tensor.name}'",
                    cause=cause,
                    fix=f"write the values of one row to {model.name}/warmup/{tensor.file}",
                    field=f"model_warmup[{index}].inputs[{tensor.name}].input_data_file",
                )


def _warmup_file_fault(model: ModelSubject, tensor: WarmupInput) -> str:
    path = model.directory.warmup_path / (tensor.file or "")
    if not path.is_file():
        return "it is a folder" if path.is_dir() else "there is no such file in warmup/"
    if not _is_within(path, model.directory.path):
        return "it lies outside the model directory"
    needed = math.prod(tensor.dims) * (tensor.datatype.byte_size if tensor.datatype else 0)
    size = path.stat().st_size
    return f"it has {size} bytes, and the tensor needs {needed}" if size < needed else ""


@rule("REP107", severity=Severity.WARNING)
def odd_version_folder(model: ModelSubject) -> Iterator[Finding]:
    """Version folders are plain numbers.

    A leading zero makes Triton skip the folder; letters behind a number make it load a version whose folder may not
    exist, which hangs the Python backend.

    Wrong::

        iris/01/model.onnx
        iris/2-old/model.onnx

    Right::

        iris/1/model.onnx
        iris/2/model.onnx
    """
    for name in model.version_names:
        if name.isascii() and name.isdigit() and not (name.startswith("0") and len(name) > 1):
            continue
        is_skipped = name.startswith("0")
        yield Finding(
            f"the folder '{name}' is no plain version number",
            cause="a leading zero makes Triton skip it"
            if is_skipped
            else f"Triton reads it as version {_number(name)}",
            fix="rename it to a whole number, or move it out of the model directory",
            file=name,
        )


def _number(name: str) -> str:
    return name[: next((index for index, letter in enumerate(name) if index and not letter.isdigit()), len(name))]


@rule("REP108", severity=Severity.WARNING)
def version_not_there(model: ModelSubject) -> Iterator[Finding]:
    """Versions that the policy names exist.

    Triton logs the missing ones and serves the rest, so that nobody notices.

    Wrong::

        version_policy { specific { versions: [ 1, 3 ] } }    (and there is no folder '3')

    Right::

        version_policy { specific { versions: [ 1 ] } }
    """
    policy = model.config.version_policy
    missing = sorted(set(policy.specific or ()) - set(model.versions)) if policy else []
    if missing and model.served_versions:
        yield Finding(
            f"the version policy names versions that are not there: {', '.join(map(str, missing))}",
            cause="Triton logs that and serves the others",
            fix="remove them from the policy, or add their folders",
            field="version_policy.specific.versions",
        )


@rule("REP109", severity=Severity.WARNING)
def guessed_backend(model: ModelSubject) -> Iterator[Finding]:
    """The configuration names its backend.

    Without one Triton guesses it from the first file in a version directory whose name it knows; a second file there
    changes the guess.

    Wrong::

        name: "iris"                                          (and iris/1/model.onnx)

    Right::

        name: "iris"
        backend: "onnxruntime"
    """
    config = model.config
    if not (config.backend or config.platform or config.is_ensemble) and model.guessed_backend:
        yield Finding(
            "no backend is named",
            cause=f"Triton guesses '{model.guessed_backend}' from {DEFAULT_FILENAMES[model.guessed_backend][0]}",
            fix=f'write backend: "{model.guessed_backend}"',
            field="backend",
        )


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
