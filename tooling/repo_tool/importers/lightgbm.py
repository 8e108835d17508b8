# SPDX-License-Identifier: Apache-2.0
"""LightGBM: boosters as text, and pickled scikit-learn wrappers, brought in as ONNX."""

__all__ = ["LightgbmImporter"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
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
    membership,
    to_onnx,
    used_thresholds,
)
from repo_tool.importers.boosters.wholeness import refuse_cut
from repo_tool.importers.first_bytes import Kind, kind_of, pickled_class
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Array, RawSample
from repo_tool.signature import FREE, TensorSpec

_FRAMEWORK = "lightgbm"
_START = b"tree\nversion="
_NEARLY_ZERO = np.float32(1e-35)  # kZeroThreshold of LightGBM's meta.h
_LOWEST = np.float32(-np.inf)
_INFINITE = 1e300  # how dump_model writes infinity: Common::AvoidInf

# What an objective makes of the sums, by the first word of its line in the model; all others leave them as they are.
_LINKS = {
    "binary": Link.SIGMOID,
    "multiclass": Link.SOFTMAX,
    "multiclassova": Link.SIGMOID,
    "cross_entropy": Link.SIGMOID,
    "cross_entropy_lambda": Link.LOG_ONE_PLUS_EXPONENTIAL,
    "poisson": Link.EXPONENTIAL,
    "gamma": Link.EXPONENTIAL,
    "tweedie": Link.EXPONENTIAL,
}
_CLASSIFY = ("binary", "multiclass", "multiclassova")
_NOT_IN_FIL = ("multiclassova", "cross_entropy_lambda")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A booster, and the classes that its wrapper knew."""

    booster: Any  # lightgbm.Booster
    state: Mapping[str, Any]  # what dump_model gives, early stopping respected
    classes: tuple[Any, ...] = ()
    trusted: tuple[str, ...] = ()

    @property
    def objective(self) -> list[str]:
        """The words of its line: ``binary sigmoid:1``."""
        return str(self.state.get("objective", "custom")).split()

    @property
    def width(self) -> int:
        return int(self.state["max_feature_idx"]) + 1

    @property
    def targets(self) -> int:
        return int(self.state["num_tree_per_iteration"])


class LightgbmImporter:
    """Boosters of trees, of every objective that ships with the library."""

    framework = _FRAMEWORK
    extra = "lightgbm"

    def recognises(self, source: str) -> bool:
        """Whether it is a booster's text, or a pickle of one or of its scikit-learn wrapper."""
        path = Path(source)
        if not path.is_file():
            return False
        if kind_of(path) is Kind.BOOSTER_PICKLE:
            return pickled_class(path).startswith("lightgbm.")
        with path.open("rb") as file:
            return file.read(64).replace(b"\r\n", b"\n").startswith(_START)

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Load it, write its trees as ONNX, predict the rows with the booster itself.

        Raises:
            SourceError: no booster, or one that cannot be served as asked.
            SampleError: the rows do not fit.
        """
        model = _load(Path(request.source), request)
        forest, reason = _forest_or_reason(model)
        categorical = _categorical(model)
        booster = Boosted(
            library=_FRAMEWORK,
            name="LightGBM",
            inputs=(TensorSpec(name=INPUT, datatype=DataType.FP32, shape=(FREE, model.width)),),
            columns=_column_names(model),
            classes=model.classes,
            edges=_edges(forest, categorical),
            answer=lambda inputs: _answer(model, inputs[INPUT]),
            notes=bringing.category_notes(categorical, model.state["feature_names"]),
            trusted=model.trusted,
        )

        def graph() -> Any:
            if forest is None:
                raise NotExpressibleError(reason)
            columns = Columns(width=model.width, categorical=categorical, negative_zero=True)
            return to_onnx(forest, _head(model), columns, max_opset=request.max_opset)

        ways = Ways(
            graph=graph,
            served_by_itself=lambda into: _write_served(model, into),
            fil=lambda _, into: _write_fil(model, into),
        )
        return bringing.bring_in(booster, ways, request, sample, folder)


# --- loading ---------------------------------------------------------------------------------------------------------


def _load(path: Path, request: ImportRequest) -> _Model:
    with needs_extra(_FRAMEWORK):
        import lightgbm
    if kind_of(path) in (Kind.BOOSTER_PICKLE, Kind.PICKLE, Kind.COMPRESSED):
        loaded, trusted = bringing.load_pickled(path, _FRAMEWORK, request)
        return replace(_from_object(path, loaded), trusted=trusted)
    refuse_cut(path)
    with refusing(
        f"'{path.name}' does not load as a LightGBM booster", next_step="save it again with save_model('model.txt')"
    ):
        return _model(lightgbm.Booster(model_str=path.read_text(encoding="utf-8")))


def _from_object(path: Path, loaded: Any) -> _Model:
    import lightgbm

    if isinstance(loaded, lightgbm.Booster):
        return _model(loaded)
    if not isinstance(loaded, lightgbm.LGBMModel):
        kind = f"{type(loaded).__module__}.{type(loaded).__qualname__}"
        raise SourceError(
            f"'{path.name}' holds no LightGBM model but a {kind}", next_step="save the fitted model itself"
        )
    with refusing(f"'{path.name}' holds a model that was never fitted", next_step="call fit before saving it"):
        booster = loaded.booster_
    return _model(booster, classes=bringing.class_names(getattr(loaded, "classes_", ())))


def _model(booster: Any, *, classes: tuple[Any, ...] = ()) -> _Model:
    state = booster.dump_model()  # up to the best iteration, where early stopping found one
    found = _Model(booster=booster, state=state)
    if found.objective[0] not in _CLASSIFY:
        return found
    return replace(found, classes=classes or tuple(range(max(2, found.targets))))


def _column_names(model: _Model) -> tuple[str, ...]:
    names = tuple(model.state["feature_names"])
    return () if names == tuple(f"Column_{place}" for place in range(len(names))) else names


# --- what it answers -------------------------------------------------------------------------------------------------


def _answer(model: _Model, rows: Array) -> dict[str, Array]:
    values = np.asarray(model.booster.predict(rows))
    if not model.classes:
        return {"prediction": bringing.as_table(values)}
    likely = np.stack([1 - values, values], axis=1) if values.ndim == 1 else values
    label = bringing.as_label(model.classes, likely.argmax(axis=1))
    return {"label": label, "probabilities": bringing.as_table(likely)}


def _head(model: _Model) -> Head:
    name, *words = model.objective
    settings = dict(word.split(":", 1) for word in words if ":" in word)
    link = _LINKS.get(name, Link.IDENTITY)
    if name.startswith("regression") and "sqrt" in words:
        link = Link.SIGNED_SQUARE
    return Head(link=link, scale=float(settings.get("sigmoid", 1)), classes=model.classes)


# --- its trees -------------------------------------------------------------------------------------------------------


def _forest_or_reason(model: _Model) -> tuple[Forest | None, str]:
    try:
        return _forest(model), ""
    except NotExpressibleError as error:
        return None, str(error)


def _forest(model: _Model) -> Forest:
    grown = model.state["tree_info"]
    factor = model.targets / len(grown) if model.state.get("average_output") else 1.0
    trees = [_tree(tree["tree_structure"], place % model.targets, factor) for place, tree in enumerate(grown)]
    return Forest(trees=trees, base=(0.0,) * model.targets)


def _tree(root: Mapping[str, Any], target: int, factor: float) -> Tree:
    nodes: list[Split | Leaf] = []
    waiting = [(_reserve(nodes), root)]
    while waiting:  # not by recursion: a tree may be thousands of questions deep
        place, node = waiting.pop()
        if "leaf_value" in node:
            nodes[place] = _leaf(node, target, factor)
            continue
        left, right = _reserve(nodes), _reserve(nodes)
        _ask(nodes, place, node, left, right)
        waiting += [(left, node["left_child"]), (right, node["right_child"])]
    return nodes


def _reserve(nodes: list[Split | Leaf]) -> int:
    nodes.append(Leaf(weights=()))
    return len(nodes) - 1


def _leaf(node: Mapping[str, Any], target: int, factor: float) -> Leaf:
    if node.get("leaf_coeff"):
        raise NotExpressibleError("its leaves hold linear models (linear_tree), which ONNX's tree operators have not")
    return Leaf(weights=(node["leaf_value"] * factor,), first=target)


def _ask(nodes: list[Split | Leaf], place: int, node: Mapping[str, Any], left: int, right: int) -> None:
    feature = node["split_feature"]
    if node["decision_type"] == "==":
        values = [int(value) for value in str(node["threshold"]).split("||")]
        membership(nodes, place, feature, values, inside=left, outside=right, missing=right)
        return
    threshold, kind = _at_or_below(float(node["threshold"])), node["missing_type"]
    if kind == "Zero":
        _ask_unless_zero(nodes, place, node, left, right)
        return
    missing_is_left = node["default_left"] if kind == "NaN" else threshold >= 0
    nodes[place] = Split(
        feature=feature, mode="BRANCH_LEQ", value=threshold, true=left, false=right, missing_is_true=missing_is_left
    )


def _at_or_below(threshold: float) -> float:
    """The largest float32 that is not above: every float32 is on the same side of both.

    Within zero it is moved to zero's border, since LightGBM reads all that is so small as 0.
    """
    if abs(threshold) >= _INFINITE:
        return float(np.copysign(np.inf, threshold))
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
    below = np.nextafter(rounded, _LOWEST) if float(rounded) > threshold else rounded
    if threshold >= 0:
        return float(max(below, _NEARLY_ZERO))
    return float(min(below, np.nextafter(-_NEARLY_ZERO, _LOWEST)) if -threshold <= _NEARLY_ZERO else below)


def _ask_unless_zero(nodes: list[Split | Leaf], place: int, node: Mapping[str, Any], left: int, right: int) -> None:
    """Zeros and missing values take the default branch, on whatever side of the threshold they are.

    Where that is the other side, the row is asked three questions; ONNX Runtime allows branches in common on the true
    side of a question, and on the false side once.
    """
    feature, threshold = node["split_feature"], _at_or_below(float(node["threshold"]))
    default_left, tiny = bool(node["default_left"]), float(_NEARLY_ZERO)

    def ask(mode: str, value: float, true: int, false: int) -> Split:
        return Split(
            feature=feature,
            mode=mode,
            value=value,
            true=true,
            false=false,
            missing_is_true=default_left == (true == left),
        )

    if default_left == (threshold >= 0):
        nodes[place] = ask("BRANCH_LEQ", threshold, left, right)
    else:
        second, third = _reserve(nodes), _reserve(nodes)
        near, far = (left, right) if default_left else (right, left)
        nodes[place] = ask("BRANCH_LEQ" if default_left else "BRANCH_GT", threshold, near, second)
        nodes[second] = ask("BRANCH_LT", -tiny, far, third)
        nodes[third] = ask("BRANCH_LEQ", tiny, near, far)


def _categorical(model: _Model) -> frozenset[int]:
    return frozenset(node["split_feature"] for node in _questions(model) if node["decision_type"] == "==")


def _questions(model: _Model) -> Iterator[Mapping[str, Any]]:
    """The splits of all trees."""
    waiting = [tree["tree_structure"] for tree in model.state["tree_info"]]
    while waiting:
        node = waiting.pop()
        if "left_child" in node:
            yield node
            waiting += [node["left_child"], node["right_child"]]


def _edges(forest: Forest | None, categorical: frozenset[int]) -> dict[int, list[float]]:
    if forest is None:
        return {}
    edges = used_thresholds(forest)
    for feature in categorical:
        edges[feature] = [*range(int(max(edges.get(feature, [0]))) + 2)]
    return edges


# --- its own file ----------------------------------------------------------------------------------------------------


def _write_served(model: _Model, folder: Path) -> Mapping[str, Any]:
    model.booster.save_model(folder / "model.txt")
    return {"classes": list(model.classes)}


def _write_fil(model: _Model, folder: Path) -> tuple[Path, dict[str, str]]:
    _, reason = _forest_or_reason(model)
    if reason:
        fil.refuse("LightGBM", reason)
    if model.objective[0] in _NOT_IN_FIL or "sqrt" in model.objective:
        words = " ".join(model.objective)
        fil.refuse("LightGBM", f"not every release of FIL knows its objective {words}")
    if any(node.get("missing_type") == "Zero" for node in _questions(model)):
        fil.refuse("LightGBM", "it takes zeros for missing values (zero_as_missing), which FIL does not")
    path = folder / "model.txt"
    text = fil.with_float_thresholds(model.booster.model_to_string(), _at_or_below)
    path.write_text(text, encoding="utf-8")
    return path, {"model_type": "lightgbm"}
