# SPDX-License-Identifier: Apache-2.0
"""CFG6: the backends beside onnxruntime and the parameters that they read."""

import difflib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.file_kinds import exists, is_folder
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject

_ENVIRONMENT = "EXECUTION_ENV_PATH"
_CPU_ONLY = "FORCE_CPU_ONLY_INPUT_TENSORS"
_MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY"
_STRATEGY = "TRITON_BATCH_STRATEGY_PATH"

# What each backend's README lists. A model may have parameters of its own besides, so only a near miss is a finding.
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "python": (_ENVIRONMENT, _CPU_ONLY),
    "pytorch": (
        "DISABLE_OPTIMIZED_EXECUTION",
        "ENABLE_CACHE_CLEANING",
        "ENABLE_JIT_EXECUTOR",
        "ENABLE_JIT_PROFILING",
        "ENABLE_NVFUSER",
        "ENABLE_TENSOR_FUSER",
        "ENABLE_WEIGHT_SHARING",
        "INFERENCE_MODE",
        "INTER_OP_THREAD_COUNT",
        "INTRA_OP_THREAD_COUNT",
    ),
    "tensorflow": (
        "MAX_SESSION_SHARE_COUNT",
        "TF_GRAPH_TAG",
        "TF_INIT_OPS_FILE",
        "TF_NUM_INTER_THREADS",
        "TF_NUM_INTRA_THREADS",
        "TF_SIGNATURE_DEF",
        "TF_USE_PER_SESSION_THREADS",
    ),
    "openvino": (
        "COMPILATION_NUM_THREADS",
        "CPU_EXTENSION_PATH",
        "ENABLE_BATCH_PADDING",
        "HINT_BF16",
        "INFERENCE_NUM_THREADS",
        "NUM_STREAMS",
        "PERFORMANCE_HINT",
        "RESHAPE_IO_LAYERS",
        "SKIP_OV_DYNAMIC_BATCHSIZE",
        "TARGET_DEVICE",
    ),
    "fil": ("algo", "blocks_per_sm", "model_type", "output_class", "predict_proba", "storage_type", "threshold"),
}
_MODEL_TYPES = ("xgboost", "xgboost_json", "xgboost_ubj", "lightgbm", "treelite_checkpoint")


@rule("CFG603", severity=Severity.WARNING)
def misspelt_parameter(model: ModelSubject) -> Iterator[Finding]:
    """Parameters are spelt as the backend reads them, capitals included.

    It ignores others without a word.

    Wrong::

        backend: "pytorch"
        parameters { key: "inference_mode" value { string_value: "true" } }

    Right::

        backend: "pytorch"
        parameters { key: "INFERENCE_MODE" value { string_value: "true" } }
    """
    known = (*_KNOWN.get(model.backend, ()), _STRATEGY)
    for key in (key for key in model.config.parameters if key not in known and not model.config.is_ensemble):
        near = _nearest(key, known)
        if near is not None and near not in model.config.parameters:
            yield Finding(
                f"the {model.backend} backend does not read the parameter '{key}'",
                cause=f"it reads '{near}', and ignores others without a word",
                fix=f'write key: "{near}"',
                field=f"parameters[{key}]",
            )


def _nearest(key: str, known: tuple[str, ...]) -> str | None:
    by_capitals = {name.upper(): name for name in known}
    near = difflib.get_close_matches(key.upper(), by_capitals, n=1, cutoff=0.85)
    return by_capitals[near[0]] if near else None


@rule("CFG604")
def unclear_cpu_only(model: ModelSubject) -> Iterator[Finding]:
    """FORCE_CPU_ONLY_INPUT_TENSORS of a Python model is yes or no.

    Wrong::

        parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "false" } }

    Right::

        parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "no" } }
    """
    value = model.config.parameters.get(_CPU_ONLY)
    if model.backend == "python" and value is not None and value not in ("yes", "no"):
        yield Finding(
            f"{_CPU_ONLY} is '{value}'",
            cause=f"Triton: Incorrect value for {_CPU_ONLY}",
            fix='write "yes" or "no"',
            field=f"parameters[{_CPU_ONLY}]",
        )


@rule("CFG605")
def broken_environment(model: ModelSubject) -> Iterator[Finding]:
    """The environment that a Python model brings along is there, and is one.

    It is an archive that conda-pack wrote, or a folder with ``bin/activate`` in it.

    Wrong::

        parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }
        # and there is no env.tar.gz beside config.pbtxt

    Right::

        parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }
        # and conda-pack wrote env.tar.gz there
    """
    written = model.config.parameters.get(_ENVIRONMENT, "")
    if model.backend == "python" and written.startswith(_MODEL_DIRECTORY):
        path = Path(f"{model.directory.path}{written.removeprefix(_MODEL_DIRECTORY)}")
        if cause := _environment_fault(path):
            yield Finding(
                f"the model's environment '{written}' cannot be used",
                cause=cause,
                fix=f"conda-pack -o {path.name} in the environment, and put the file there; or remove the parameter",
                field=f"parameters[{_ENVIRONMENT}]",
            )


def _environment_fault(path: Path) -> str:
    if not exists(path):
        return f"Triton: Failed to get the canonical path for {path}"
    if is_folder(path):
        has_activate = exists(path / "bin" / "activate")
        return "" if has_activate else "Triton: The Python environment should contain an 'activate' script"
    return (
        "" if _is_archive(path) else "Triton: archive_read_open_filename() failed, for it reads .tar and .tar.gz alone"
    )


def _is_archive(path: Path) -> bool:
    """Whether Triton can unpack it: tar, by itself or through gzip, whatever the name says."""
    with suppress(OSError, EOFError, tarfile.TarError, zlib.error), tarfile.open(path, "r:gz"):
        return True
    with suppress(OSError, EOFError, tarfile.TarError), tarfile.open(path, "r:"):
        return True
    return False


@rule("CFG606", severity=Severity.WARNING, embedded_refuses=True)
def environment_elsewhere(model: ModelSubject) -> Iterator[Finding]:
    """The environment of a Python model lies in its directory, so that it goes where the model goes.

    Any other path must be there where the server runs; one that does not start with ``/`` counts from the folder in
    which the server was started.

    Wrong::

        parameters { key: "EXECUTION_ENV_PATH" value { string_value: "env.tar.gz" } }

    Right::

        parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }
    """
    written = model.config.parameters.get(_ENVIRONMENT, "")
    is_elsewhere = bool(written) and not written.startswith(_MODEL_DIRECTORY)
    if model.backend == "python" and is_elsewhere and not exists(Path(written)):
        yield Finding(
            f"there is no '{written}' on this machine",
            cause=f"a server that does not find it says: Failed to get the canonical path for {written}",
            fix=f'write "{_MODEL_DIRECTORY}/{Path(written).name}" and put the environment beside config.pbtxt',
            field=f"parameters[{_ENVIRONMENT}]",
        )


@rule("CFG607", embedded_refuses=False)
def unknown_model_type(model: ModelSubject) -> Iterator[Finding]:
    """model_type of a FIL model is one of the formats that the backend reads.

    Wrong::

        backend: "fil"
        parameters { key: "model_type" value { string_value: "sklearn" } }

    Right::

        backend: "fil"
        parameters { key: "model_type" value { string_value: "treelite_checkpoint" } }
    """
    found = model.config.parameters.get("model_type")
    if model.backend == "fil" and found is not None and found not in _MODEL_TYPES:
        near = difflib.get_close_matches(found, _MODEL_TYPES, n=1, cutoff=0.3) or _MODEL_TYPES[1:2]
        yield Finding(
            f"the FIL backend has no model_type '{found}'",
            cause=f"it reads {', '.join(_MODEL_TYPES)}",
            fix=f'write string_value: "{near[0]}"',
            field="parameters[model_type]",
        )


# NVIDIA's backends, and what people write in their place.
_BACKENDS = (
    "dali",
    "fil",
    "identity",
    "onnxruntime",
    "openvino",
    "python",
    "pytorch",
    "sklearn",
    "tensorflow",
    "tensorrt",
    "tensorrtllm",
    "vllm",
)
_OTHER_NAMES: Mapping[str, str] = {
    "libtorch": "pytorch",
    "lightgbm": "fil",
    "onnx": "onnxruntime",
    "onnxruntime_onnx": "onnxruntime",
    "ort": "onnxruntime",
    "plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "savedmodel": "tensorflow",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
    "tensorrt_llm": "tensorrtllm",
    "tensorrt_plan": "tensorrt",
    "tf": "tensorflow",
    "torch": "pytorch",
    "torchscript": "pytorch",
    "trt": "tensorrt",
    "xgboost": "fil",
}


@rule("CFG608", severity=Severity.WARNING, embedded_refuses=True)
def misspelt_backend(model: ModelSubject) -> Iterator[Finding]:
    """The backend has the name that Triton has for it, such as ``onnxruntime``, ``pytorch``, ``tensorrt`` or ``fil``.

    A backend of one's own may have any name; one that only looks like Triton's is refused where nobody installed it.

    Wrong::

        backend: "onnx"

    Right::

        backend: "onnxruntime"
    """
    backend = model.config.backend
    if model.config.is_ensemble or not backend or backend in _BACKENDS:
        return
    near = difflib.get_close_matches(backend.lower(), _BACKENDS, n=1, cutoff=0.85)
    meant = _OTHER_NAMES.get(backend.lower()) or (near[0] if near else "")
    if meant:
        yield Finding(
            f"there is no backend '{backend}' in Triton",
            cause=f"Triton: unable to find backend library for backend '{backend}'",
            fix=f'write backend: "{meant}"',
            field="backend",
        )
