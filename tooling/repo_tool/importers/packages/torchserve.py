# SPDX-License-Identifier: Apache-2.0
"""TorchServe's ``.mar`` archives: the module inside is served; built-in handlers say what was around it.

Manifest: https://github.com/pytorch/serve/blob/master/model-archiver/README.md
"""

__all__ = ["TorchServeArchive"]

import ast
import json
import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.foreign import refusing
from repo_tool.importers.guards.archives import check_archive
from repo_tool.importers.packages.opened import Opened, inside, require_trust

_MANIFEST = "MAR-INF/MANIFEST.json"
_NAMES = "index_to_name.json"
_MOST_BYTES = 1 << 36
_MOST_RATIO = 200  # weights compress little; a bomb compresses a thousandfold
_CODE_SUFFIX = ".py"

# What a built-in handler does around the module, which the client or a pipeline does here.
_HANDLERS = {
    "image_classifier": "resizes to 256, crops 224, scales and normalises the picture; then softmax and the top 5",
    "image_segmenter": "resizes and normalises the picture",
    "object_detector": "makes a tensor of the picture; then keeps boxes above 0.5",
    "text_classifier": "cleans, splits and looks the words up in source_vocab.pt; then softmax",
    "base_handler": "nothing",
}


class TorchServeArchive:
    """What ``torch-model-archiver`` writes, as a file or unpacked (``--archive-format no-archive``)."""

    def recognises(self, source: str) -> bool:
        """Whether it is named ``.mar`` or is a folder with ``MAR-INF/MANIFEST.json``."""
        path = Path(source)
        return (path.suffix.lower() == ".mar" and path.is_file()) or (path / _MANIFEST).is_file()

    def open(self, request: ImportRequest, folder: Path) -> Opened:
        """TorchScript as it is; a module's code with its weights as ``module:Class``.

        Raises:
            SourceError: damaged, without a model, or with a handler whose code stands between requests and module.
        """
        source = Path(request.source)
        root = source if source.is_dir() else _unpack(source, folder / "archive")
        described = _described(root, source)
        _refuse_custom_handler(root, described, source)
        serialized = inside(root, described["serializedFile"])
        opened = Opened(
            request=replace(request, source=str(serialized), framework="pytorch"),
            labels=_labels(root),
            notes=(_around(described),),
        )
        return _eager(root, described, serialized, request, opened) if described.get("modelFile") else opened


def _described(root: Path, source: Path) -> dict[str, Any]:
    step = "make the archive again with torch-model-archiver"
    with refusing(f"'{source.name}' has no manifest that reads as one of TorchServe's", next_step=step):
        described: dict[str, Any] = dict(json.loads(inside(root, _MANIFEST).read_text(encoding="utf-8"))["model"])
    if not described.get("serializedFile"):
        raise SourceError(
            f"'{source.name}' holds no serialized model",
            cause="its handler makes or downloads the model when TorchServe starts",
            next_step="save the module itself with torch.export.save and add that",
        )
    return described


def _around(described: dict[str, Any]) -> str:
    handler = str(described.get("handler", "base_handler"))
    work = _HANDLERS.get(handler, "nothing")
    if work == "nothing":
        return "from a TorchServe archive; tensors go in and come out"
    return f"from a TorchServe archive: only the module is served; in TorchServe {handler} also {work}"


# --- unpacking -------------------------------------------------------------------------------------------------------


def _unpack(source: Path, folder: Path) -> Path:
    """All members as plain files below ``folder``.

    Raises:
        SourceError: no archive, a member that would land elsewhere, a link, or more than an archive of weights holds.
    """
    members = [member for member in check_archive(source) if not member.is_dir()]
    _refuse_bomb(source, members)
    step = "make the archive again with torch-model-archiver"
    with refusing(f"'{source.name}' does not unpack", next_step=step), zipfile.ZipFile(source) as archive:
        for member in members:
            target = folder / member.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, target.open("xb") as plain:
                shutil.copyfileobj(packed, plain)  # stops at the member's declared size, which was counted above
    return folder


def _refuse_bomb(source: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    size = sum(member.file_size for member in members)
    if size > _MOST_BYTES or size > _MOST_RATIO * max(source.stat().st_size, 1 << 16):
        raise SourceError(
            f"'{source.name}' would unpack to {size >> 20} MiB",
            cause=f"it is {source.stat().st_size} bytes long; weights do not compress so well",
            next_step="check where it came from",
        )


# --- what the handler and the manifest say ---------------------------------------------------------------------------


def _refuse_custom_handler(root: Path, described: dict[str, Any], source: Path) -> None:
    handler = str(described.get("handler", "base_handler")).split(":")[0]
    if handler in _HANDLERS:
        return
    name = handler if handler.endswith(_CODE_SUFFIX) else f"{handler}{_CODE_SUFFIX}"
    if not (root / name).is_file():
        raise SourceError(
            f"'{source.name}' names the handler '{handler}', which is neither built into TorchServe nor in the archive",
            next_step=f"make it again with --handler {' or '.join(_HANDLERS)}",
        )
    path = inside(root, name)
    raise SourceError(
        f"'{source.name}' answers through code of its own, {path.name}",
        cause=_what_it_uses(path),
        next_step="add the module inside it, and do what the handler does in the client or in a class of "
        "your own with predict(arrays): module:Class",
    )


def _what_it_uses(path: Path) -> str:
    """What a handler overrides and imports, read and not run."""
    with refusing(f"'{path.name}' is no Python that can be read", next_step="make the archive again"):
        tree = ast.parse(path.read_bytes())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = [entry.name for node in classes for entry in node.body if isinstance(entry, ast.FunctionDef)]
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    overridden = [name for name in (*methods, *functions) if not name.startswith("__")]
    imported = sorted({name for node in ast.walk(tree) for name in _imported(node)})
    bases = sorted({ast.unparse(base) for node in classes for base in node.bases})
    parts = [
        f"it derives from {', '.join(bases)}" if bases else "",
        f"overrides {', '.join(overridden)}" if overridden else "",
        f"imports {', '.join(imported)}" if imported else "",
    ]
    return "; ".join(filter(None, parts))


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module.split(".")[0]]
    return []


def _eager(root: Path, described: dict[str, Any], weights: Path, request: ImportRequest, opened: Opened) -> Opened:
    """``module:Class`` of the archive's model file, which TorchServe too expects to hold exactly one class."""
    path = inside(root, described["modelFile"])
    with refusing(f"'{path.name}' is no Python that can be read", next_step="make the archive again"):
        tree = ast.parse(path.read_bytes())
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if len(classes) != 1:
        raise SourceError(
            f"'{path.name}' defines {len(classes)} classes: {', '.join(classes)}",
            cause="TorchServe takes the only class of the model file for the model",
            next_step="add the one that is the model as module:Class, with --weights",
        )
    trusted = require_trust(request, path.name)
    source = f"{re.sub(r'[/]', '.', path.relative_to(root).with_suffix('').as_posix())}:{classes[0]}"
    return replace(opened, request=replace(opened.request, source=source, weights=weights), code=root, trusted=trusted)


def _labels(root: Path) -> tuple[str, ...]:
    """The class names in ``index_to_name.json``, if their indices have no gap: a name, or [WordNet id, name]."""
    if not (root / _NAMES).is_file():
        return ()
    with refusing(f"{_NAMES} does not read as JSON", next_step="make the archive again"):
        names = json.loads(inside(root, _NAMES).read_text(encoding="utf-8"))
        names = names.get("mapping", names)
    if not isinstance(names, dict) or {str(index) for index in range(len(names))} != set(names):
        return ()
    ordered = [names[str(index)] for index in range(len(names))]
    return tuple(str(name[-1] if isinstance(name, list) and name else name) for name in ordered)
