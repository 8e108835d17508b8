# SPDX-License-Identifier: Apache-2.0
"""Which reader a backend's model files have."""

__all__ = ["asked_of_file", "has_reader", "read_model_file"]

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from repo_tool.config.model import ModelConfig
from repo_tool.rules.file_kinds import is_file, is_folder
from repo_tool.rules.model_signatures import ModelFileError, ModelFileSignature

Reader = Callable[[ModelConfig, Path], ModelFileSignature | None]
_GIT_LFS = b"version https://git-lfs.github.com/spec/"
_LARGEST_DESCRIPTION = 64 * 1024 * 1024


def has_reader(backend: str) -> bool:
    """Whether anything can be known of the backend's files."""
    return backend in _READERS


def asked_of_file(config: ModelConfig) -> tuple[str, ...]:
    """All that the answer of ``read_model_file`` depends on, the file itself and the backend apart."""
    parameters = (config.parameters.get(key, "") for key in ("TF_GRAPH_TAG", "TF_SIGNATURE_DEF", "model_type"))
    return (config.platform, config.runtime, *parameters, *(output.name for output in config.outputs))


def read_model_file(config: ModelConfig, backend: str, path: Path) -> ModelFileSignature | ModelFileError | None:
    """What a model file says of itself, why it is none that the backend opens, or None where nothing can be known."""
    reader = _READERS.get(backend)
    if reader is None:
        return None
    try:
        return reader(config, path)
    except ModelFileError as error:
        return error
    except (OSError, ValueError) as error:
        return ModelFileError(str(error))


def _tensorflow(config: ModelConfig, path: Path) -> ModelFileSignature | None:
    from repo_tool.rules.saved_model_file import read_saved_model

    if config.platform == "tensorflow_graphdef" or path.name == "model.graphdef":
        return None
    if not is_folder(path):
        raise ModelFileError("it is no folder, and a SavedModel is one")
    parameters = config.parameters
    return read_saved_model(
        path, tag=parameters.get("TF_GRAPH_TAG", ""), signature=parameters.get("TF_SIGNATURE_DEF", "")
    )


def _pytorch(config: ModelConfig, path: Path) -> ModelFileSignature | None:
    from repo_tool.rules.torch_file import read_torch_file

    if config.runtime.endswith(".py"):  # a module in Python, for which model.pt may hold weights alone
        return None
    _refuse_placeholder(path)
    return read_torch_file(path)


def _sklearn(config: ModelConfig, path: Path) -> None:
    _refuse_placeholder(path)
    description = path.with_name("model.json")
    try:
        if not is_file(description) or description.stat().st_size > _LARGEST_DESCRIPTION:
            raise ModelFileError("there is no model.json beside it that could describe it")
        found = json.loads(description.read_text(encoding="utf-8"))
        answers = {answer["output"] for answer in found["answers"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"model.json beside it cannot be read: {error}") from error
    unknown = [output.name for output in config.outputs if output.name not in answers]
    if unknown:
        raise ModelFileError(
            f"model.json has no output '{unknown[0]}' (it has: {', '.join(sorted(map(str, answers)))})"
        )


def _openvino(_config: ModelConfig, path: Path) -> None:
    _refuse_placeholder(path, beginning=(b"<", b"\xef\xbb\xbf<"), what="an OpenVINO model is XML")


def _fil(config: ModelConfig, path: Path) -> None:
    kind = config.parameters.get("model_type", "xgboost")
    beginning = {"xgboost_json": (b"{",), "xgboost_ubj": (b"{",), "lightgbm": (b"tree",)}.get(kind, ())
    _refuse_placeholder(path, beginning=beginning, what=f"a model of the type {kind} begins otherwise")


def _tensorrt(_config: ModelConfig, path: Path) -> None:
    _refuse_placeholder(path)


def _refuse_placeholder(path: Path, *, beginning: tuple[bytes, ...] = (), what: str = "") -> None:
    """Refuse a file that holds no model: an empty one, a pointer of git-lfs, or one with another beginning.

    Raises:
        ModelFileError: it is one of those.
    """
    if not is_file(path):
        raise ModelFileError("it is no file")
    with path.open("rb") as stream:
        head = stream.read(64).lstrip() if beginning else stream.read(64)
    if not head:
        raise ModelFileError("it is empty")
    if head.startswith(_GIT_LFS):
        raise ModelFileError("it is a pointer of git-lfs, not the file itself")
    if beginning and not head.startswith(beginning):
        raise ModelFileError(what)


_READERS: Mapping[str, Reader] = {
    "fil": _fil,
    "openvino": _openvino,
    "pytorch": _pytorch,
    "sklearn": _sklearn,
    "tensorflow": _tensorflow,
    "tensorrt": _tensorrt,
}
