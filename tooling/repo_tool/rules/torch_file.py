# SPDX-License-Identifier: Apache-2.0
"""What PyTorch's files say of ``forward``, read as text from their archives: nothing is unpickled, nothing is run."""

__all__ = ["read_torch_file"]

import ast
import json
import lzma
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.rules.model_signatures import FileTensor, ModelFileError, ModelFileSignature

_LARGEST_TEXT = 64 * 1024 * 1024  # of the code of one class, or of an exported graph
# What zipfile raises: of its own, of compression, cut short, unknown methods, passwords, names that are no text.
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
_HEAD = 4096  # the class of the module is the first thing in its pickle
_FORWARD = re.compile(r"^  def (forward\(self\b(?:.|\n)*?\) -> [^\n]*:)\n", re.MULTILINE)
# torch/_export/serde/schema.py
_TYPES = {
    1: ("uint8", DataType.UINT8), 2: ("int8", DataType.INT8), 3: ("int16", DataType.INT16),
    4: ("int32", DataType.INT32), 5: ("int64", DataType.INT64), 6: ("float16", DataType.FP16),
    7: ("float32", DataType.FP32), 8: ("float64", DataType.FP64), 12: ("bool", DataType.BOOL), 13: ("bfloat16", None),
}  # fmt: skip


def read_torch_file(path: Path) -> ModelFileSignature:
    """The arguments of ``forward``; of an exported program also types, shapes and outputs.

    Raises:
        ModelFileError: it is neither TorchScript nor an exported program.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _exported_program(archive) if path.suffix == ".pt2" else _torch_script(archive)
    except _BROKEN_ARCHIVE as error:
        raise ModelFileError(f"it is no archive: {error}") from error
    except OSError as error:
        raise ModelFileError(error.strerror or str(error)) from error


def _torch_script(archive: zipfile.ZipFile) -> ModelFileSignature:
    names = archive.namelist()
    root = names[0].split("/")[0] if names else ""
    if f"{root}/model.json" in names:  # as PyTorch 1.0 wrote it
        return ModelFileSignature(framework="TorchScript", inputs=None, outputs=None, has_names=False)
    if not any(name.startswith(f"{root}/code/") for name in names):
        raise ModelFileError("it holds no code: weights alone (torch.save), which no server can run")
    return ModelFileSignature(framework="TorchScript", inputs=_forward(archive, root), outputs=None, has_names=False)


def _forward(archive: zipfile.ZipFile, root: str) -> tuple[FileTensor, ...] | None:
    """The arguments, None where they are not plain to see."""
    qualified = _class_of(archive, f"{root}/data.pkl")
    module, _, name = qualified.rpartition(".")
    code = _text(archive, f"{root}/code/{module.replace('.', '/')}.py") if module else ""
    own = re.search(rf"^class {re.escape(name)}\(Module\):\n((?:[ \n].*\n?|\n)*)", code, re.MULTILINE)
    header = _FORWARD.search(own[1]) if own else None
    return _arguments(header[1]) if header else None


def _class_of(archive: zipfile.ZipFile, name: str) -> str:
    """The module's class, e.g. ``__torch__.net.Net``: the first that its pickle names; "" where it names none."""
    try:
        with archive.open(name) as stream:
            head = stream.read(_HEAD)
        for opcode, argument, _ in pickletools.genops(head):
            if opcode.name == "GLOBAL":
                return str(argument).replace(" ", ".")
    except (KeyError, ValueError, UnicodeDecodeError):
        pass
    return ""


def _arguments(header: str) -> tuple[FileTensor, ...] | None:
    try:
        function = ast.parse(f"def {header}\n  pass").body[0]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(function, ast.FunctionDef):
        return None
    arguments = function.args.args[1:]
    required = len(arguments) - len(function.args.defaults)
    kinds = [ast.unparse(argument.annotation) if argument.annotation else "" for argument in arguments]
    if len(arguments) == 1 and kinds[0].startswith("Dict["):
        return None  # the names of the inputs are the keys, which only the code knows
    return tuple(
        FileTensor(name=argument.arg, type_name=kind, is_optional=place >= required)
        for place, (argument, kind) in enumerate(zip(arguments, kinds, strict=True))
    )


def _exported_program(archive: zipfile.ZipFile) -> ModelFileSignature:
    names = archive.namelist()
    root = names[0].split("/")[0] if names else ""
    places = (f"{root}/models/model.json", "serialized_exported_program.json")
    found = next((place for place in places if place in names), None)
    if found is None:
        if any(name.endswith(".so") or "/data/aotinductor/" in name for name in names):
            return ModelFileSignature(framework="AOTInductor package", inputs=None, outputs=None, has_names=False)
        raise ModelFileError("it holds no exported program")
    try:
        graph = json.loads(_text(archive, found))["graph_module"]
        return _program(graph["signature"], graph["graph"]["tensor_values"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"its description of the program cannot be read: {error!r}") from error


def _program(signature: Mapping[str, Any], values: Mapping[str, Any]) -> ModelFileSignature:
    inputs = [spec["user_input"]["arg"] for spec in signature["input_specs"] if "user_input" in spec]
    outputs = [spec["user_output"]["arg"] for spec in signature["output_specs"] if "user_output" in spec]
    are_tensors = all("as_tensor" in argument for argument in inputs)
    return ModelFileSignature(
        framework="exported program",
        inputs=tuple(_value(argument, values) for argument in inputs) if are_tensors else None,
        outputs=tuple(_value(argument, values) for argument in outputs),
        has_names=False,
    )


def _value(argument: Mapping[str, Any], values: Mapping[str, Any]) -> FileTensor:
    if "as_tensor" not in argument:
        return FileTensor(name="")
    name = argument["as_tensor"]["name"]
    value = values[name]
    type_name, datatype = _TYPES.get(value["dtype"], (f"type {value['dtype']}", None))
    shape = tuple(size.get("as_int", -1) for size in value["sizes"])
    return FileTensor(name=name, datatype=datatype, type_name=type_name, shape=shape)


def _text(archive: zipfile.ZipFile, name: str) -> str:
    try:
        if archive.getinfo(name).file_size > _LARGEST_TEXT:
            return ""
        return archive.read(name).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return ""
