# SPDX-License-Identifier: Apache-2.0
"""SEC: what a model repository may not do to the machine that serves it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from repo_tool.config.model import ModelConfig
from repo_tool.config.shell import unsafe_shell_words
from repo_tool.errors import ModelNameError
from repo_tool.releases import Vulnerability, first_release_with_all_fixes
from repo_tool.repository.layout import check_model_name
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.file_kinds import is_file
from repo_tool.rules.registry import Scope, repository_rule, rule
from repo_tool.rules.subjects import ModelSubject, RepositorySubject, files_within

_TOLD = 3  # of the vulnerabilities of a release; a list of sixty is read by nobody


@repository_rule("SEC001", severity=Severity.WARNING)
def release_with_known_holes(repository: RepositorySubject) -> Iterator[Finding]:
    """The release contains the fix of every vulnerability that has been published.

    Older ones must not be reachable by anybody who is not trusted: among their holes are unauthenticated ones.

    Wrong::

        repo-tool validate --release 25.05

    Right::

        repo-tool validate --release 26.07
    """
    release = repository.release
    lacking = release.vulnerabilities
    if not lacking:
        return
    yield Finding(
        f"Triton {release.name} lacks the fixes of {len(lacking)} published vulnerabilities",
        cause=f"the gravest: {'; '.join(map(_described, lacking[:_TOLD]))}"
        + (f"; repo-tool release {release.name} lists all" if len(lacking) > _TOLD else ""),
        fix=f"serve with {first_release_with_all_fixes()}, the first release with every published fix, or a newer one,"
        " or keep the server on the loopback interface",
    )


def _described(found: Vulnerability) -> str:
    score = f", CVSS {found.score:g}" if found.score else ""
    return f"{found.cve}{score}" + (f" ({found.what})" if found.what else "")


@rule("SEC101", scope=Scope.DIRECTORY, embedded_refuses=False)
def unsafe_model_name(model: ModelSubject) -> Iterator[Finding]:
    """Model names hold letters, digits, ``_``, ``.`` and ``-``, and start with a letter or digit.

    Triton starts its Python stub through a shell with the name in the command (CVE-2025-23316).

    Wrong::

        model_repository/iris;reboot/

    Right::

        model_repository/iris/
    """
    if model.name.startswith(".") and not is_file(model.directory.config_path):
        return  # no model, and REP101 says so
    try:
        check_model_name(model.name)
    except ModelNameError as error:
        yield Finding(error.fact, cause=error.cause, fix="rename the directory and the model", file="")


@rule("SEC102", scope=Scope.DIRECTORY, embedded_refuses=False)
def link_out_of_the_repository(model: ModelSubject) -> Iterator[Finding]:
    """No symbolic link leads out of the repository.

    Triton follows links, so that one can publish any file of the machine; in a container its target is not there.

    Wrong::

        iris/1/model.onnx -> /srv/models/iris.onnx

    Right::

        iris/1/model.onnx                                     (the file itself, or a link within the repository)
    """
    root = model.directory.path.parent.resolve()
    for path in _links(model.directory.path):
        target = Path(os.path.realpath(path))  # a circle of links has no end, and no error here
        if not target.is_relative_to(root):
            yield Finding(
                "the link leads out of the repository",
                cause=f"its target is '{target}'",
                fix="copy the file into the repository",
                file="" if path == model.directory.path else path.relative_to(model.directory.path).as_posix(),
            )


def _links(root: Path) -> Iterator[Path]:
    if root.is_symlink():
        yield root
        return
    yield from (Path(entry.path) for entry in files_within(root) if entry.is_symlink())


@rule("SEC103", embedded_refuses=False)
def filename_leaves_the_version(model: ModelSubject) -> Iterator[Finding]:
    """default_model_filename names a file within the version directory.

    Wrong::

        default_model_filename: "../../shared/model.onnx"

    Right::

        default_model_filename: "model_int8.onnx"
    """
    filename = model.config.default_model_filename
    if unsafe_shell_words(ModelConfig(name=model.name, default_model_filename=filename)):
        yield Finding(
            f"default_model_filename is '{filename}'",
            cause="Triton puts it into a shell command when it starts a Python stub",
            fix="name the file with letters, digits, '_', '.' and '-' only",
            field="default_model_filename",
        )
    if filename.startswith("/") or ".." in filename.split("/"):
        yield Finding(
            f"default_model_filename is '{filename}'",
            cause="it leads out of the version directory",
            fix="put the file into the version directory and name it alone",
            field="default_model_filename",
        )


@rule("SEC104", embedded_refuses=False)
def shell_command_in_a_name(model: ModelSubject) -> Iterator[Finding]:
    """Names of instance groups and the path of an environment hold letters, digits and ``_ . / -``.

    Triton puts them into a shell command without quotes when it starts the process of a Python model. It loads the
    model and runs the command; what repo-tool starts refuses the model.

    Wrong::

        instance_group [ { name: "gpu 0; curl ..." } ]

    Right::

        instance_group [ { name: "gpu_0" } ]
    """
    written = {f"instance_group[{i}].name": group.name for i, group in enumerate(model.config.instance_groups)}
    written["parameters[EXECUTION_ENV_PATH]"] = model.config.parameters.get("EXECUTION_ENV_PATH", "")
    unsafe = unsafe_shell_words(model.config)
    for field, word in written.items():
        if word in unsafe:
            yield Finding(
                f"{word!r} would be part of a shell command",
                cause="Triton writes it into bash -c without quotes when it starts a Python model",
                fix=f"write it with letters, digits and _ . / - alone, e.g. {re.sub('[^A-Za-z0-9_./$-]+', '_', word)}",
                field=field,
            )


@rule("SEC105", embedded_refuses=False)
def file_of_another_folder(model: ModelSubject) -> Iterator[Finding]:
    """Label files, warm-up data and initial states lie in the model directory, under names that do not lead out of it.

    Triton 24.10 opens what such a name leads to; newer releases refuse label files outside.

    Wrong::

        label_filename: "../shared/labels.txt"

    Right::

        label_filename: "labels.txt"
    """
    for field, name in _named_files(model.config):
        if ".." in name.split("/"):
            yield Finding(
                f"'{name}' leads out of the folder that it is looked for in",
                cause="a model may only bring along what lies in its own directory",
                fix="put the file into the model directory, and name it alone",
                field=field,
            )


def _named_files(config: ModelConfig) -> Iterator[tuple[str, str]]:
    for index, output in enumerate(config.outputs):
        yield f"output[{index}].label_filename", output.label_filename
    for index, warmup in enumerate(config.model_warmup):
        for tensor in warmup.inputs:
            yield f"model_warmup[{index}].inputs[{tensor.name}].input_data_file", tensor.file or ""
    for index, state in enumerate(config.sequence_batching.states if config.sequence_batching else ()):
        for number, initial in enumerate(state.initial_states):
            yield f"sequence_batching.state[{index}].initial_state[{number}].data_file", initial.data_file or ""
