# SPDX-License-Identifier: Apache-2.0
"""CatBoost: models as .cbm or .json, and pickled ones, brought in as ONNX or served by CatBoost itself.

A model of numbers alone takes one table, ``features``. One with categorical or text columns takes each column by its
name, numbers as FP32 and the others as BYTES, as the rows of the DataFrame that it was trained on.
"""

__all__ = ["CatboostImporter"]

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.boosters import bringing, fil
from repo_tool.importers.boosters.bringing import Boosted, NotExpressibleError, Ways
from repo_tool.importers.boosters.forest import (
    INPUT,
    Columns,
    Forest,
    Head,
    Leaf,
    Link,
    Split,
    Tree,
    to_onnx,
    used_thresholds,
)
from repo_tool.importers.boosters.wholeness import refuse_cut
from repo_tool.importers.first_bytes import Kind, kind_of, pickled_class
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Array, RawSample, Tensors
from repo_tool.signature import FREE, TensorSpec

_FRAMEWORK = "catboost"
_BINARY_START = b"CBM1"
_JSON_KEYS = (b'"features_info"', b'"oblivious_trees"', b'"scale_and_bias"', b'"ctr_data"', b'"model_info"')

# What a loss makes of the sums, by its name; all others leave them as they are.
_LINKS = {
    "Logloss": Link.SIGMOID,
    "CrossEntropy": Link.SIGMOID,
    "MultiClass": Link.SOFTMAX,
    "MultiClassOneVsAll": Link.SIGMOID,
    "MultiLogloss": Link.SIGMOID,
    "MultiCrossEntropy": Link.SIGMOID,
    "Poisson": Link.EXPONENTIAL,
    "Tweedie": Link.EXPONENTIAL,
}
_CLASSIFY = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll", "MultiLogloss", "MultiCrossEntropy")
_SEVERAL_LABELS = ("MultiLogloss", "MultiCrossEntropy")
_MOST_LEAVES = 2_000_000  # beyond, the ONNX file has hundreds of megabytes and the model itself is far smaller


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A loaded model and what it saves of itself as JSON."""

    model: Any  # catboost.CatBoost, of the class that its loss asks for
    loss: str
    classes: tuple[Any, ...] = ()
    columns: Mapping[str, frozenset[int]] = field(default_factory=dict)  # that are not numbers, by their kind
    trusted: tuple[str, ...] = ()


class CatboostImporter:
    """Models of every loss; exact in ONNX unless they have categorical, text or embedding features."""

    framework = _FRAMEWORK
    extra = "catboost"

    def recognises(self, source: str) -> bool:
        """Whether it is a model file of CatBoost, its JSON, or a pickle of one of its models."""
        path = Path(source)
        if not path.is_file():
            return False
        if kind_of(path) is Kind.BOOSTER_PICKLE:
            return pickled_class(path).startswith("catboost.")
        with path.open("rb") as file:
            start = b"".join(file.read(256).split()) if path.suffix == ".json" else file.read(4)
        return start.startswith((_BINARY_START, *(b"{" + key for key in _JSON_KEYS)))

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Load it, write its trees as ONNX where it has numbers alone, predict the rows with the model itself.

        Raises:
            SourceError: no model, or one that cannot be served as asked.
            SampleError: the rows do not fit.
        """
        model = _load(Path(request.source), request)
        forest, reason = _forest_or_reason(model)
        names = tuple(map(str, model.model.feature_names_))
        booster = Boosted(
            library=_FRAMEWORK,
            name="CatBoost",
            inputs=_inputs(model),
            columns=() if names == tuple(map(str, range(len(names)))) else names,
            classes=model.classes,
            edges=used_thresholds(forest) if forest else {},
            answer=lambda inputs: _answer(model, inputs),
            trusted=model.trusted,
        )

        def graph() -> Any:
            if forest is None:
                raise NotExpressibleError(reason)
            head = Head(
                link=_LINKS.get(model.loss, Link.IDENTITY),
                classes=model.classes,
                several_labels=model.loss in _SEVERAL_LABELS,
            )
            return to_onnx(forest, head, Columns(width=len(names)), max_opset=request.max_opset)

        ways = Ways(
            graph=graph,
            served_by_itself=lambda into: _write_served(model, into),
            fil=lambda *_: fil.refuse("CatBoost", "FIL reads XGBoost, LightGBM and Treelite"),
        )
        return bringing.bring_in(booster, ways, request, sample, folder)


# --- loading ---------------------------------------------------------------------------------------------------------


def _load(path: Path, request: ImportRequest) -> _Model:
    with needs_extra(_FRAMEWORK):
        import catboost
    trusted: tuple[str, ...] = ()
    if kind_of(path) in (Kind.BOOSTER_PICKLE, Kind.PICKLE, Kind.COMPRESSED):
        loaded, trusted = bringing.load_pickled(path, _FRAMEWORK, request)
    else:
        refuse_cut(path)
        with path.open("rb") as file:
            kind = "cbm" if file.read(4) == _BINARY_START else "json"
        with refusing(
            f"'{path.name}' does not load as a CatBoost model", next_step="save it again with save_model('model.cbm')"
        ):
            loaded = catboost.CatBoost().load_model(path, format=kind)
    if not isinstance(loaded, catboost.CatBoost):
        found = f"{type(loaded).__module__}.{type(loaded).__qualname__}"
        raise SourceError(f"'{path.name}' holds no CatBoost model but a {found}", next_step="save the fitted model")
    if not loaded.is_fitted():
        raise SourceError(f"'{path.name}' holds a model that was never fitted", next_step="call fit before saving it")
    return replace(_model(loaded), trusted=trusted)


def _model(loaded: Any) -> _Model:
    import catboost

    loss = str(loaded.get_all_params().get("loss_function", "custom")).partition(":")[0]
    kind = catboost.CatBoostClassifier if loss in _CLASSIFY else catboost.CatBoost
    with TemporaryDirectory() as folder:
        loaded.save_model(f"{folder}/model.cbm")
        whole = kind().load_model(f"{folder}/model.cbm")
    columns = {
        "categorical": frozenset(whole.get_cat_feature_indices()),
        "text": frozenset(whole.get_text_feature_indices()),
        "embedding": frozenset(whole.get_embedding_feature_indices()),
    }
    if columns["embedding"]:
        raise SourceError(
            "this CatBoost model takes embeddings",
            cause="a row of it holds vectors beside numbers, for which there is no tensor yet",
            next_step="train it with the vectors' elements as columns of their own",
        )
    classes = bringing.class_names(whole.classes_) if loss in _CLASSIFY else ()
    return _Model(model=whole, loss=loss, classes=classes, columns={kind: at for kind, at in columns.items() if at})


def _inputs(model: _Model) -> tuple[TensorSpec, ...]:
    names = model.model.feature_names_
    if not model.columns:
        return (TensorSpec(name=INPUT, datatype=DataType.FP32, shape=(FREE, len(names))),)
    text = frozenset().union(*model.columns.values())
    return tuple(
        TensorSpec(name=name, datatype=DataType.BYTES if place in text else DataType.FP32, shape=(FREE, 1))
        for place, name in enumerate(_tensor_names(model))
    )


def _tensor_names(model: _Model) -> list[str]:
    names = list(map(str, model.model.feature_names_))
    return [f"feature_{name}" if re.fullmatch(r"\d+", name) else name for name in names]


# --- what it answers -------------------------------------------------------------------------------------------------


def _answer(model: _Model, inputs: Tensors) -> dict[str, Array]:
    rows = _rows(model, inputs)
    if not model.classes:
        how = "Exponent" if _LINKS.get(model.loss) is Link.EXPONENTIAL else "RawFormulaVal"
        return {"prediction": bringing.as_table(model.model.predict(rows, prediction_type=how))}
    likely = bringing.as_table(model.model.predict_proba(rows))
    chosen = np.asarray(model.model.predict(rows))
    if model.loss in _SEVERAL_LABELS:
        return {"label": chosen.astype(np.int64), "probabilities": likely}
    places = {str(name): place for place, name in enumerate(model.model.classes_)}
    at = np.array([places[str(name)] for name in chosen.ravel()], dtype=np.int64)
    return {"label": bringing.as_label(model.classes, at), "probabilities": likely}


def _rows(model: _Model, inputs: Tensors) -> Any:
    if not model.columns:
        return inputs[INPUT]
    columns = [_column(inputs[name]) for name in _tensor_names(model)]
    return [list(row) for row in zip(*columns, strict=True)]


def _column(array: Array) -> list[Any]:
    values = array.ravel().tolist()
    return [value.decode("utf-8") if isinstance(value, bytes) else value for value in values]


# --- its trees -------------------------------------------------------------------------------------------------------


def _forest_or_reason(model: _Model) -> tuple[Forest | None, str]:
    try:
        return _forest(model), ""
    except NotExpressibleError as error:
        return None, str(error)


def _forest(model: _Model) -> Forest:
    for kind in model.columns:
        raise NotExpressibleError(f"it has {kind} features, whose statistics ONNX's tree operators cannot compute")
    with TemporaryDirectory() as folder:
        model.model.save_model(f"{folder}/model.json", format="json")
        state = json.loads(Path(folder, "model.json").read_text(encoding="utf-8"))
    scale, base = state["scale_and_bias"]
    floats = state["features_info"].get("float_features", [])
    evenly = state.get("oblivious_trees") or []
    leaves = sum(2 ** len(tree.get("splits") or ()) for tree in evenly)
    if leaves > _MOST_LEAVES:
        raise NotExpressibleError(f"written out, its symmetric trees have {leaves} leaves")
    trees = [_grown_evenly(tree, floats, len(base), scale) for tree in evenly]
    trees += [_grown_unevenly(tree, floats, scale) for tree in state.get("trees") or ()]
    return Forest(trees=trees, base=tuple(base))


def _grown_evenly(tree: Mapping[str, Any], floats: list[Any], targets: int, scale: float) -> Tree:
    """A symmetric tree: every level asks one question, the answers are the bits of the leaf's number."""
    splits, values = tree.get("splits") or [], tree["leaf_values"]
    nodes: list[Split | Leaf] = []

    def grow(level: int, number: int) -> int:
        place = len(nodes)
        if level < 0:
            weights = values[number * targets : (number + 1) * targets]
            nodes.append(Leaf(weights=tuple(weight * scale for weight in weights)))
            return place
        nodes.append(Leaf(weights=()))
        below = grow(level - 1, number)
        above = grow(level - 1, number | 1 << level)
        nodes[place] = _split(splits[level], floats, above, below)
        return place

    grow(len(splits) - 1, 0)
    return nodes


def _grown_unevenly(tree: Mapping[str, Any], floats: list[Any], scale: float) -> Tree:
    nodes: list[Split | Leaf] = [Leaf(weights=())]
    waiting = [(0, tree)]
    while waiting:
        place, node = waiting.pop()
        if "split" not in node:
            values = node["value"] if isinstance(node["value"], list) else [node["value"]]
            nodes[place] = Leaf(weights=tuple(value * scale for value in values))
            continue
        below, above = len(nodes), len(nodes) + 1
        nodes += [Leaf(weights=()), Leaf(weights=())]
        nodes[place] = _split(node["split"], floats, above, below)
        waiting += [(below, node["left"]), (above, node["right"])]
    return nodes


def _split(split: Mapping[str, Any], floats: list[Any], above: int, below: int) -> Split:
    if split.get("split_type", "FloatFeature") != "FloatFeature":
        raise NotExpressibleError(f"it asks {split['split_type']} questions, which ONNX's tree operators have not")
    feature = floats[split["float_feature_index"]]
    return Split(
        feature=feature["flat_feature_index"],
        mode="BRANCH_GT",
        value=split["border"],
        true=above,
        false=below,
        missing_is_true=feature["nan_value_treatment"] == "AsTrue",
    )


# --- its own file ----------------------------------------------------------------------------------------------------


def _write_served(model: _Model, folder: Path) -> Mapping[str, Any]:
    model.model.save_model(str(folder / "model.cbm"))
    return {
        "columns": _tensor_names(model) if model.columns else [],
        "classes": list(model.classes),
        "names": [str(name) for name in model.model.classes_] if model.classes else [],
        "several_labels": model.loss in _SEVERAL_LABELS,
        "prediction_type": "Exponent" if _LINKS.get(model.loss) is Link.EXPONENTIAL else "RawFormulaVal",
    }
