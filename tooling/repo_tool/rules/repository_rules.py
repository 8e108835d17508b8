# SPDX-License-Identifier: Apache-2.0
"""REP: folders and files of the repository."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from repo_tool.config.model import WarmupInput
from repo_tool.config.scheduling import InitialState
from repo_tool.errors import UnknownValueError
from repo_tool.rules.artifacts import DEFAULT_FILENAMES
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.file_kinds import exists, is_file, is_folder, joined, size_of
from repo_tool.rules.fixes import CreateFolder, SetField
from repo_tool.rules.registry import Scope, repository_rule, rule
from repo_tool.rules.subjects import ModelSubject, RepositorySubject, entries_of

_MOST_NAMED = 5
_LARGE_FILE = 10 * 1024 * 1024
_LARGEST_LABEL_FILE = 16 * 1024 * 1024


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
    if is_file(path):
        return
    hidden = model.name.startswith(".")
    holds_models = any(is_file(Path(entry.path) / "config.pbtxt") for entry in model.entries)
    yield Finding(
        "there is no config.pbtxt" if not exists(path) else "config.pbtxt is not a file",
        cause="every sub-folder of the repository is a model to Triton"
        + (", hidden ones too" if hidden else "")
        + (", and this one holds model directories itself" if holds_models else ""),
        fix="move the folder out of the repository"
        if hidden
        else "add the model with repo-tool add-model, or write one",
    )


@rule("REP102", fixable=True)
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
            edits=(SetField("name", model.name),),
        )


@rule("REP103", fixable=True)
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
        edits=(CreateFolder("1"),) if model.config.is_ensemble else (),
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
        if is_file(joined(model.directory.path, output.label_filename)):
            continue
        yield Finding(
            f"output '{output.name}' has no label file '{output.label_filename}'",
            cause="the model directory holds no such file",
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
    groups = model.config.instance_groups
    if groups and all(group.passive for group in groups):
        return  # passive instances are not warmed up
    for index, warmup in enumerate(model.config.model_warmup):
        for tensor in warmup.inputs:
            # A warm-up of batch size 0 is skipped before its files are opened.
            if warmup.batch_size > 0 and tensor.file is not None and (cause := _warmup_file_fault(model, tensor)):
                yield Finding(
                    f"warm-up '{warmup.name}' cannot read '{tensor.file}' for input '{tensor.name}'",
                    cause=cause,
                    fix=f"write the values of one row to {model.name}/warmup/{tensor.file}",
                    field=f"model_warmup[{index}].inputs[{tensor.name}].input_data_file",
                )


def _warmup_file_fault(model: ModelSubject, tensor: WarmupInput) -> str:
    path = joined(model.directory.warmup_path, tensor.file or "")
    if not is_file(path):
        return "it is a folder" if is_folder(path) else "there is no such file in warmup/"
    needed = math.prod(tensor.dims) * (
        tensor.datatype.byte_size if tensor.datatype else 4
    )  # Triton takes 4 for no type
    size = size_of(path)
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


@rule("REP109", severity=Severity.WARNING, fixable=True)
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
            edits=(SetField("backend", model.guessed_backend),),
        )


@rule("REP110", severity=Severity.WARNING, scope=Scope.TEXT)
def not_utf8(model: ModelSubject) -> Iterator[Finding]:
    """A configuration is UTF-8 text.

    Triton reads other bytes in comments and strings as they are and says nothing; names of them reach no gRPC client.

    Wrong::

        # température                                         (saved as Latin-1)

    Right::

        # température                                         (saved as UTF-8)
    """
    if model.config_error is None and not model.is_utf8:
        yield Finding(
            "the configuration is not UTF-8 text",
            cause="Triton takes the bytes as they are, and whoever reads it guesses the letters",
            fix="save it as UTF-8",
        )


@repository_rule("REP111", severity=Severity.WARNING)
def variant_of_some_models(repository: RepositorySubject) -> Iterator[Finding]:
    """Every model has the configurations in configs/ that others have, ensembles apart.

    A server that is started with --model-config-name=gpu reads configs/gpu.pbtxt, and of a model without that file
    config.pbtxt, silently.

    Wrong::

        iris/configs/gpu.pbtxt
        digits/config.pbtxt                                   (and no digits/configs/gpu.pbtxt)

    Right::

        iris/configs/gpu.pbtxt
        digits/configs/gpu.pbtxt
    """
    with_variants = {model.name: model.variant_names for model in repository.own_models() if model.variant_names}
    if not with_variants:  # in most repositories; no configuration need be read to know
        return
    models = [model for model in repository.own_models() if model.config_error is None and not model.config.is_ensemble]
    having: dict[str, set[str]] = {}
    for model in models:
        for variant in with_variants.get(model.name, ()):
            having.setdefault(variant, set()).add(model.name)
    for variant, names in sorted(having.items()):
        lacking = [model.name for model in models if model.name not in names]
        if lacking:
            yield Finding(
                f"{len(lacking)} of {len(models)} models have no configs/{variant}.pbtxt: {_some(lacking)}",
                cause=f"with --model-config-name={variant} Triton silently serves them by their config.pbtxt",
                fix=f"write configs/{variant}.pbtxt for them too; a copy of config.pbtxt says that it is meant",
            )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


@rule("REP112", severity=Severity.WARNING, scope=Scope.DIRECTORY)
def not_a_variant(model: ModelSubject) -> Iterator[Finding]:
    """What lies in configs/ are configurations: files that end in .pbtxt, with names without blanks.

    Nothing else there can be chosen with --model-config-name.

    Wrong::

        iris/configs/gpu.txt

    Right::

        iris/configs/gpu.pbtxt
    """
    for entry in model.config_entries:
        name, dot, ending = entry.name.rpartition(".")
        if not (dot and ending == "pbtxt" and name and not any(map(str.isspace, name)) and is_file(Path(entry.path))):
            yield Finding(
                f"'{entry.name}' cannot be chosen with --model-config-name",
                cause="Triton looks for a file configs/<name>.pbtxt, with a name without blanks",
                fix="rename it, or move it out of configs/",
                file=f"configs/{entry.name}",
            )


@rule("REP113", severity=Severity.WARNING)
def labels_that_do_not_fit(model: ModelSubject) -> Iterator[Finding]:
    """A label file has a line for each element of its output.

    Clients that ask for classes get the label by the element's place; beyond the last line they get none.

    Wrong::

        output [ { dims: [ 3 ] label_filename: "labels.txt" } ]          (and labels.txt has two lines)

    Right::

        output [ { dims: [ 3 ] label_filename: "labels.txt" } ]          (and labels.txt has three lines)
    """
    for index, output in enumerate(model.config.outputs):
        if not output.label_filename or not output.dims or min(output.dims) < 1:
            continue
        lines = _line_count(model.directory.path / output.label_filename)
        if lines is not None and lines != math.prod(output.dims):
            yield Finding(
                f"output '{output.name}' has {math.prod(output.dims)} elements, and its label file {lines} lines",
                cause="a label belongs to the element of the same place",
                fix="write one label a line, in the order of the output's elements",
                field=f"output[{index}].label_filename",
            )


def _line_count(path: Path) -> int | None:
    """The lines of a file, the last with or without an end; None where it cannot be read or is no such list."""
    try:
        if not is_file(path) or path.stat().st_size > _LARGEST_LABEL_FILE:
            return None
        content = path.read_bytes()
    except (OSError, ValueError):
        return None
    return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))


@rule("REP114", severity=Severity.WARNING)
def needless_large_file(model: ModelSubject) -> Iterator[Finding]:
    """A version of an ONNX model holds its file and what that refers to, and nothing large beside.

    Whoever copies the repository copies it too, and so does Triton at each load when the repository is in a cloud.

    Wrong::

        resnet/1/model.onnx
        resnet/1/checkpoint.pth                               (98 MB that nobody opens)

    Right::

        resnet/1/model.onnx
    """
    for path, onnx_model in model.onnx_models():
        artifact = model.directory.path / path
        needed = {artifact.name, *(PurePosixPath(name).parts[0] for name in onnx_model.external_files if name)}
        for entry in entries_of(artifact.parent):
            size = _size(entry)
            if entry.name not in needed and size > _LARGE_FILE:
                yield Finding(
                    f"'{entry.name}' has {size / 1e6:.0f} MB, and the model does not refer to it",
                    cause="it is copied with the model, and from a cloud at each load",
                    fix="move it out of the repository",
                    file=f"{Path(path).parent.as_posix()}/{entry.name}",
                )


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except OSError:
        return 0


@rule("REP115")
def missing_initial_state_file(model: ModelSubject) -> Iterator[Finding]:
    """The data of an initial state is a file in initial_state/ with at least the bytes of its tensor.

    Wrong::

        initial_state { ... data_file: "zeros" }              (and there is no iris/initial_state/zeros)

    Right::

        initial_state { ... data_file: "zeros" }              (iris/initial_state/zeros: 16 bytes for dims [ 4 ], FP32)
    """
    batching = model.config.sequence_batching
    for index, state in enumerate(batching.states if batching else ()):
        for number, initial in enumerate(state.initial_states):
            if initial.data_file and (cause := _state_file_fault(model, initial)):
                yield Finding(
                    f"the initial state '{initial.name}' cannot be read from '{initial.data_file}'",
                    cause=cause,
                    fix=f"write its values to {model.name}/initial_state/{initial.data_file}",
                    field=f"sequence_batching.state[{index}].initial_state[{number}].data_file",
                )


def _state_file_fault(model: ModelSubject, initial: InitialState) -> str:
    path = joined(model.directory.path / "initial_state", initial.data_file or "")
    if not is_file(path):
        return "it is a folder" if is_folder(path) else "there is no such file in initial_state/"
    size = size_of(path)
    item = initial.datatype.byte_size if initial.datatype else 0
    needed = math.prod(initial.dims) * item if min(initial.dims, default=1) > 0 else 0
    return f"it has {size} bytes, and the tensor needs {needed}" if size < needed else ""


@rule("REP116", severity=Severity.NOTE, fixable=True)
def version_folder_that_git_drops(model: ModelSubject) -> Iterator[Finding]:
    """The version folder of an ensemble holds a file, so that git keeps it.

    Triton wants the folder and not what is in it; git keeps no empty folder, and a clone of the repository is refused.

    Wrong::

        digits/1/

    Right::

        digits/1/.gitkeep
    """
    if not model.config.is_ensemble:
        return
    for version in model.served_versions:
        folder = model.directory.version_path(version)
        if is_folder(folder) and not entries_of(folder) and not model.is_supposed(str(version)):
            yield Finding(
                f"the folder of version {version} is empty",
                cause="an ensemble needs no file there, and git keeps no empty folder",
                fix=f"add a file: touch {model.name}/{version}/.gitkeep",
                file=str(version),
                edits=(CreateFolder(str(version)),),
            )


@rule("REP117", severity=Severity.WARNING, scope=Scope.TEXT)
def number_without_a_name(model: ModelSubject) -> Iterator[Finding]:
    """Values of an enumeration are its names, or numbers that stand for one.

    Triton's parser takes any number, and what then comes of the model nobody has written down: a data type that no
    client can send, a priority that counts as none. No other rule looks at such a configuration.

    Wrong::

        input [ { data_type: 99 ... } ]

    Right::

        input [ { data_type: TYPE_FP32 ... } ]
    """
    error = model.config_error
    if isinstance(error, UnknownValueError):
        yield Finding(error.fact, cause=error.cause, fix=error.next_step)


@rule("REP118", scope=Scope.DIRECTORY)
def link_to_nothing(model: ModelSubject) -> Iterator[Finding]:
    """Every link in a model directory leads to something, whatever its name.

    Triton looks at each entry beside config.pbtxt before it knows which are versions.

    Wrong::

        iris/README.md -> ../docs/iris.md                     (and there is no docs/iris.md)

    Right::

        iris/README.md
    """
    for entry in model.entries:
        if entry.is_symlink() and not exists(Path(entry.path)):
            yield Finding(
                f"the link '{entry.name}' leads to nothing",
                cause=f"Triton: failed to stat file {model.name}/{entry.name}",
                fix=f"remove it, or put back what it led to: rm {model.name}/{entry.name}",
                file=entry.name,
            )


_LARGEST_VERSION = 2**63 - 1


@rule("REP119", scope=Scope.DIRECTORY)
def version_beyond_counting(model: ModelSubject) -> Iterator[Finding]:
    """Version folders are numbers of 64 bits with sign.

    A larger one ends the whole server (2.51), whether the version policy asks for it or not.

    Wrong::

        iris/99999999999999999999/model.onnx

    Right::

        iris/20261121/model.onnx
    """
    for name in model.version_names:
        number = int(_number(name)) if not name.startswith("0") else 0
        if not -_LARGEST_VERSION - 1 <= number <= _LARGEST_VERSION:
            yield Finding(
                f"the version folder '{name}' is beyond {_LARGEST_VERSION:,}",
                cause="Triton 2.51 ends when it reads the model directory",
                fix="rename it to a smaller number",
                file=name,
            )
