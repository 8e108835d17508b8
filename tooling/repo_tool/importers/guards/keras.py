# SPDX-License-Identifier: Apache-2.0
"""Keras archives, read before Keras is: what their configuration would make, and where their weights lie.

Keras' own safe mode is no boundary: it was passed by functions named as layers, by layers that load a second model, and
by weights whose file points to another one.
"""

__all__ = ["check_keras"]

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers.foreign import refusing
from repo_tool.importers.guards.archives import check_archive

_DAMAGED = "copy or save it again; the file may have been cut short"
_MEMBERS = re.compile(r"config\.json|metadata\.json|model\.weights\.h5|assets/.*")
_LARGEST_CONFIG = 256 * 2**20
_DEEPEST = 200
_CODE = {
    "Lambda": "a Lambda layer is Python code",
    "__lambda__": "it is Python code",
    "TFSMLayer": "it loads another model, from any path",
    "TorchModuleWrapper": "it unpickles a PyTorch module",
    "JaxLayer": "it is Python code",
    "FlaxLayer": "it is Python code",
}
_VALUES = frozenset(
    {"__numpy__", "__tensor__", "__keras_tensor__", "__tuple__", "__ellipsis__", "__bytes__", "__slice__"}
)
_OF_MODELS = re.compile(
    r"keras(\.src)?(\.(activations|constraints|distribution|dtype_policies|initializers|layers|losses|metrics|mixed_precision"
    r"|models|ops|optimizers|quantizers|random|regularizers)(\.\w+)*)?"
)
# Layers that Keras' own applications define beside their functions, some of which read weights from any path.
_OF_APPLICATIONS = frozenset(
    {
        ("keras.src.applications.convnext", "LayerScale"),
        ("keras.src.applications.convnext", "StochasticDepth"),
        ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer"),
    }
)
_OF_FUNCTIONS = re.compile(
    r"builtins|keras\.(src\.)?(activations|losses|metrics|initializers|regularizers|constraints|ops)\b.*"
)
_OUTSIDE = re.compile(r"/.*|~.*|[A-Za-z]:[\\/].*|\\\\.*|[A-Za-z][A-Za-z0-9+.-]*://.*|(.*/)?\.\.(/.*)?", re.DOTALL)
_FILE_KEYS = frozenset({"vocabulary", "idf_weights", "filepath", "path", "file"})
_BOMB_BYTES, _BOMB_RATIO = 2**30, 200
_FILTERS = frozenset({1, 2, 3, 4, 5, 6})  # deflate, shuffle, fletcher32, szip, nbit, scaleoffset: none is a plug-in


def check_keras(path: Path) -> None:
    """Refuse an archive that holds code, reads other files, or unpacks to more than it should.

    Raises:
        SourceError: naming the layer, the path or the link.
    """
    for member in check_archive(path):
        if not _MEMBERS.fullmatch(member.filename):
            raise _refused(path, f"the file '{member.filename}' in it", "Keras writes no such file")
    with refusing(f"'{path.name}' does not load in Keras", next_step=_DAMAGED), zipfile.ZipFile(path) as archive:
        if archive.getinfo("config.json").file_size > _LARGEST_CONFIG:
            raise _refused(path, "its config.json", "it is larger than any configuration")
        for place, entry in _objects(json.loads(archive.read("config.json"))):
            reason = _why_not(entry)
            if reason:
                raise _refused(path, place, reason)
        if "model.weights.h5" in archive.namelist():
            _check_weights(path, archive.read("model.weights.h5"))


def _refused(path: Path, what: str, reason: str) -> SourceError:
    return SourceError(
        f"'{path.name}' is not loaded because of {what}",
        cause=reason,
        next_step="build the model of Keras' own layers and save it again: model.save('model.keras')",
    )


# --- the configuration -----------------------------------------------------------------------------------------------


def _objects(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping in the configuration, under the name of the layer that it belongs to."""
    waiting = [(config, "its configuration", 0)]
    while waiting:
        value, place, depth = waiting.pop()
        if depth > _DEEPEST:
            raise SourceError("the configuration is nested too deep", next_step=_DAMAGED)
        if isinstance(value, dict):
            inner = value.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            kind = value.get("class_name")
            place = f"the layer '{name}' ({kind})" if isinstance(name, str) and isinstance(kind, str) else place
            yield place, value
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting.extend((entry, place, depth + 1) for entry in inside if isinstance(entry, dict | list))


def _why_not(entry: Mapping[str, Any]) -> str:
    if ("class_name" in entry and "config" in entry) or str(entry.get("class_name", "")).startswith("__"):
        reason = _why_not_class(entry)
        if reason:
            return reason
    for key, value in entry.items():
        if not isinstance(value, str):
            continue
        if key in _FILE_KEYS and value:
            return f"its {key} is in the file '{value}' outside of the archive"
        if _OUTSIDE.fullmatch(value):
            return f"its {key} is the path '{value}', outside of the archive"
    return ""


def _why_not_class(entry: Mapping[str, Any]) -> str:
    kind, module, registered = entry.get("class_name"), entry.get("module"), entry.get("registered_name")
    if not isinstance(kind, str):
        return "its class has no name"
    if kind in _VALUES:
        return ""
    for name in (kind, str(registered or "").rpartition(">")[2]):
        if name in _CODE:
            return _CODE[name]
    if kind.startswith("__"):
        return f"it is a {kind}, which imports Python code"
    if isinstance(registered, str) and ">" in registered and not registered.startswith("keras"):
        return f"'{registered}' is a class of somebody's own, whose code the archive does not hold"
    return _why_not_module(kind, module)


def _why_not_module(kind: str, module: Any) -> str:
    if module is None:  # Keras then looks among its own registered classes
        return ""
    if kind == "function":
        return "" if isinstance(module, str) and _OF_FUNCTIONS.fullmatch(module) else f"it calls a function of {module}"
    if (module, kind) in _OF_APPLICATIONS:
        return ""
    if not isinstance(module, str) or not _OF_MODELS.fullmatch(module):
        return f"{module}.{kind} is not one of Keras' layers"
    return ""


# --- the weights -----------------------------------------------------------------------------------------------------


def _check_weights(path: Path, data: bytes) -> None:
    """Walk the HDF5 file with the low-level interface, which follows no link by itself."""
    with needs_extra("tensorflow"):
        import h5py
    with h5py.File(io.BytesIO(data), "r") as file:
        seen: set[Any] = set()
        waiting = [(file.id, "")]
        total = 0
        while waiting:
            group, place = waiting.pop()
            for name in group:
                inner = f"{place}/{name.decode('utf-8', 'replace')}"
                found = _linked(path, group, name, inner)
                identity = h5py.h5o.get_info(found)
                if (identity.fileno, identity.addr) in seen:
                    continue
                seen.add((identity.fileno, identity.addr))
                if isinstance(found, h5py.h5g.GroupID):
                    waiting.append((found, inner))
                elif isinstance(found, h5py.h5d.DatasetID):
                    total += _check_dataset(path, found, inner)
        if total > max(_BOMB_BYTES, _BOMB_RATIO * len(data)):
            raise _refused(path, "its weights", f"they unpack to {total / 2**20:.0f} MiB")


def _linked(path: Path, group: Any, name: bytes, place: str) -> Any:
    import h5py

    if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        raise _refused(path, f"the weights '{place}'", "they are a link, which may lead to another file")
    return h5py.h5o.open(group, name)


def _check_dataset(path: Path, dataset: Any, place: str) -> int:
    import h5py

    layout = dataset.get_create_plist()
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():
        raise _refused(path, f"the weights '{place}'", "they lie in another file")
    filters = {layout.get_filter(place)[0] for place in range(layout.get_nfilters())}
    if filters - _FILTERS:
        raise _refused(path, f"the weights '{place}'", "reading them loads a plug-in of HDF5")
    size = dataset.get_type().get_size()
    for count in dataset.get_space().get_simple_extent_dims() or ():
        size *= count
    return int(size)
