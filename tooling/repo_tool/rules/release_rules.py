# SPDX-License-Identifier: Apache-2.0
"""REL: what the chosen Triton release cannot load."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from repo_tool.config.places import locate
from repo_tool.errors import ConfigError
from repo_tool.image_packages import IMAGE_PACKAGES
from repo_tool.releases import first_release_with_field, last_release_with_backend
from repo_tool.rules.diagnostics import Finding, Region, Severity
from repo_tool.rules.file_kinds import exists, is_file
from repo_tool.rules.fixes import RemoveField
from repo_tool.rules.python_environments import environment_path, python_of_environment
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject, files_within

# Backends of repo-tool that deploy/triton/Dockerfile copies into the image; the release's own goes first.
BROUGHT_BACKENDS = ("sklearn", "tensorflow")
_ALWAYS_THERE = frozenset({"numpy", "triton_python_backend_utils", "c_python_backend_utils"})
_LARGEST_SOURCE = 16 * 1024 * 1024
_INDEX = re.compile(r"\[[^\]]*\]")
_CXX_BACKENDS = ("onnxruntime", "openvino", "tensorflow", "tensorrt")


@rule("REL101")
def opset_too_new(model: ModelSubject) -> Iterator[Finding]:
    """The ai.onnx opset of the file is one that the release's ONNX Runtime knows.

    Wrong::

        torch.onnx.export(model, ..., opset_version=23)       (for Triton 24.10, which reads up to 21)

    Right::

        torch.onnx.export(model, ..., opset_version=17)
    """
    highest = model.release.max_onnx_opset
    for path, onnx_model in model.onnx_models():
        if highest is not None and (onnx_model.opset or 0) > highest:
            yield Finding(
                f"ai.onnx opset {onnx_model.opset} is newer than Triton {model.release.name} loads",
                cause=f"its ONNX Runtime {model.release.onnxruntime_version} reads up to opset {highest}",
                fix=f"export with opset {highest} or lower (17 loads everywhere), or choose a newer release",
                file=path,
            )


@rule("REL102")
def ir_version_too_new(model: ModelSubject) -> Iterator[Finding]:
    """The IR version of the file is one that the release's ONNX Runtime knows.

    Wrong::

        onnx.save(model, path)                                (ir_version 13, for Triton 24.10, which reads up to 10)

    Right::

        model.ir_version = 9
        onnx.save(model, path)
    """
    highest = model.release.max_onnx_ir
    for path, onnx_model in model.onnx_models():
        if highest is not None and onnx_model.ir_version > highest:
            yield Finding(
                f"ONNX IR version {onnx_model.ir_version} is newer than Triton {model.release.name} loads",
                cause=f"its ONNX Runtime {model.release.onnxruntime_version} reads up to IR {highest}",
                fix=f"set ir_version to {highest} or lower before saving, or choose a newer release",
                file=path,
            )


@rule("REL103", embedded_refuses=False)
def backend_not_shipped(model: ModelSubject) -> Iterator[Finding]:
    """The release's image ships the backend, or docker-compose.yml brings repo-tool's own (REL107).

    ONNX Runtime was missing from 24.02.

    Wrong::

        backend: "onnxruntime"                                (for Triton 24.02)

    Right::

        backend: "onnxruntime"                                (for Triton 24.03)
    """
    backend = model.backend
    last = last_release_with_backend(backend)
    if last is None or backend in BROUGHT_BACKENDS or backend in model.release.backends:
        return
    yield Finding(
        f"Triton {model.release.name} ships no {backend} backend",
        cause=f"the last release with it is {last}" if last < model.release.name else "that release left it out",
        fix="choose another release",
        field="backend",
    )


@rule("REL104", severity=Severity.WARNING)
def import_not_in_image(model: ModelSubject) -> Iterator[Finding]:
    """Python models import what the image has: the standard library, numpy, and deploy/triton/requirements.txt.

    Files beside model.py are read too and count as there, and so does an environment of the model's own
    (EXECUTION_ENV_PATH).

    Wrong::

        import pandas

    Right::

        import numpy
    """
    if model.backend != "python" or "EXECUTION_ENV_PATH" in model.config.parameters:
        return
    for version in model.served_versions:
        path = model.artifact(version)
        if path is None or not is_file(path):
            continue
        within = [Path(entry.path) for entry in files_within(path.parent)]
        beside = {entry.stem for entry in within} | {Path(entry.name).stem for entry in model.entries}
        for file in sorted(entry for entry in within if entry.suffix == ".py"):
            for name, line in sorted(_foreign_imports(file, beside).items()):
                yield Finding(
                    f"it imports '{name}', which the image does not have",
                    cause="it has Python's own modules, numpy and what deploy/triton/requirements.txt lists",
                    fix="add the package to deploy/triton/requirements.txt and build the image again",
                    file=model.relative(file),
                    region=Region(line=max(line, 1)),
                )


def _foreign_imports(path: Path, beside: set[str]) -> dict[str, int]:
    """Top-level packages that ``path`` imports and neither the image nor the model has, with the first line of each."""
    try:
        if not is_file(path) or path.stat().st_size > _LARGEST_SOURCE:
            return {}
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    known = sys.stdlib_module_names | _ALWAYS_THERE | IMAGE_PACKAGES.keys() | beside
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        for name in _imported(node):
            if name not in known:
                found[name] = min(node.lineno, found.get(name, node.lineno)) if hasattr(node, "lineno") else 0
    return found


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module.split(".")[0]


@rule("REL105", embedded_refuses=False, fixable=True)
def runtime_written(model: ModelSubject) -> Iterator[Finding]:
    """``runtime`` is left to Triton for the backends of the image.

    The embedded server fills in "model.py" for its Python-based backends; written down, it makes the GPU image look for
    that file and refuse the model.

    Wrong::

        backend: "onnxruntime"
        runtime: "model.py"

    Right::

        backend: "onnxruntime"
    """
    runtime = model.config.runtime
    if runtime.endswith(".py") and model.backend in _CXX_BACKENDS:
        yield Finding(
            f"runtime is '{runtime}'",
            cause=f"the {model.backend} backend of the image is a library, and has no such file",
            fix="remove runtime",
            field="runtime",
            edits=(RemoveField("runtime"),),
        )


@rule("REL106")
def field_too_new(model: ModelSubject) -> Iterator[Finding]:
    """The configuration only has fields that the release knows: one that it does not know fails the whole file.

    That holds for a field with its default value too, as soon as it is written.

    Wrong::

        model_metrics { ... }                                 (for Triton 24.10; the field came with 24.11)

    Right::

        # without model_metrics
    """
    newer = model.release.unknown_config_fields
    text = model.config_text
    if isinstance(text, ConfigError) or not any(path.rpartition(".")[2] in text for path in newer):
        return
    first: dict[str, str] = {}
    for place in locate(text).fields:
        first.setdefault(_INDEX.sub("", place.path), place.path)
    for path in sorted(newer & first.keys()):
        yield Finding(
            f"Triton {model.release.name} does not know the field {path}",
            cause=f"it came with {first_release_with_field(path)}, and an unknown field fails the whole file",
            fix=f"remove {path.rpartition('.')[2]}, or choose a newer release",
            field=first[path],
        )


@rule("REL107", severity=Severity.WARNING)
def backend_brought_along(model: ModelSubject) -> Iterator[Finding]:
    """The release's image alone serves the model.

    ``sklearn`` is a backend of repo-tool, and so is ``tensorflow`` from 25.03 on, where NVIDIA's own is gone. The image
    that docker-compose.yml builds has both, and their packages where TRITON_BACKENDS names them; a Triton started in
    another way refuses the model.

    Wrong::

        backend: "tensorflow"                                 (for Triton 26.07 without docker-compose.yml)

    Right::

        backend: "onnxruntime"                                (convert with repo-tool add-model, where ONNX can)
    """
    backend = model.backend
    if backend in BROUGHT_BACKENDS and backend not in model.release.backends:
        yield Finding(
            f"the backend {backend} is repo-tool's own, which Triton {model.release.name} does not ship",
            cause="the image of docker-compose.yml has it, with its packages where TRITON_BACKENDS names them",
            fix=f"on the GPU server: TRITON_BACKENDS={backend} docker compose up --build",
            field="backend",
        )


@rule("REL108", embedded_refuses=False)
def ml_opset_too_new(model: ModelSubject) -> Iterator[Finding]:
    """The ai.onnx.ml opset of the file is one that the release's ONNX Runtime knows.

    Wrong::

        to_onnx(model, rows, target_opset={"": 17, "ai.onnx.ml": 5})        (for Triton 24.03, which reads up to 4)

    Right::

        to_onnx(model, rows, target_opset={"": 17, "ai.onnx.ml": 3})
    """
    highest = model.release.max_ml_opset
    for path, onnx_model in model.onnx_models():
        if highest is not None and (onnx_model.ml_opset or 0) > highest:
            yield Finding(
                f"ai.onnx.ml opset {onnx_model.ml_opset} is newer than Triton {model.release.name} loads",
                cause=f"its ONNX Runtime {model.release.onnxruntime_version} reads up to ai.onnx.ml {highest}",
                fix=f"export with ai.onnx.ml {highest} or lower (3 loads everywhere), or choose a newer release",
                file=path,
            )


@rule("REL109", severity=Severity.WARNING)
def environment_for_another_python(model: ModelSubject) -> Iterator[Finding]:
    """An environment of the model's own has the Python version of the release's stub.

    The stub is built for one minor version: 3.10 up to Triton 24.10, 3.12 from 24.11 on. A stub of the model's own,
    triton_python_backend_stub beside config.pbtxt, is taken at its word.

    Wrong::

        parameters { key: "EXECUTION_ENV_PATH" ... }          (an environment of Python 3.10, for Triton 26.07)

    Right::

        parameters { key: "EXECUTION_ENV_PATH" ... }          (conda create -n model python=3.12, then conda-pack)
    """
    path = environment_path(model)
    if path is None or exists(model.directory.path / "triton_python_backend_stub"):
        return
    found = python_of_environment(path)
    if found and found != model.release.python_version:
        yield Finding(
            f"the model's environment has Python {found}, and the stub of Triton {model.release.name} another",
            cause=f"the stub of that release is built for Python {model.release.python_version}",
            fix=f"pack an environment of Python {model.release.python_version}, or build a stub and put it beside it",
            field="parameters[EXECUTION_ENV_PATH]",
        )
