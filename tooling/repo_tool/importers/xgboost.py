# SPDX-License-Identifier: Apache-2.0
"""XGBoost: boosters as .json or .ubj, and pickled scikit-learn wrappers, brought in as ONNX."""

__all__ = ["XgboostImporter"]

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import ReleaseError, SourceError, needs_extra
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.boosters import bringing, fil
from repo_tool.importers.boosters.bringing import Boosted, NotExpressibleError, Ways
from repo_tool.importers.boosters.forest import (
    INPUT,
    Columns,
    Forest,
    Head,
    Leaf,
    Linear,
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
from repo_tool.verification import Tolerance, disagreement

_FRAMEWORK = "xgboost"
_STARTS = (b'{"learner":', b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{", b"binf")  # the last: until XGBoost 3.0
_CATEGORICAL = "c"
_WRITTEN_AGAIN = Tolerance(absolute=1e-6, relative=1e-5)  # the same trees, their numbers in decimals

# What an objective makes of the sums, by its name; all others leave them as they are. The sums start at base_score,
# which is told as an answer and has to be taken back through the link.
_LINKS = {
    "binary:logistic": Link.SIGMOID,
    "reg:logistic": Link.SIGMOID,
    "binary:hinge": Link.STEP,
    "multi:softprob": Link.SOFTMAX,
    "multi:softmax": Link.SOFTMAX,
    "count:poisson": Link.EXPONENTIAL,
    "reg:gamma": Link.EXPONENTIAL,
    "reg:tweedie": Link.EXPONENTIAL,
    "survival:cox": Link.EXPONENTIAL,
    "survival:aft": Link.EXPONENTIAL,
}
_CLASSIFY = ("binary:logistic", "binary:hinge", "multi:softprob", "multi:softmax")
_BACK: Mapping[Link, Callable[[Any], Any]] = {
    Link.SIGMOID: lambda share: -np.log(1 / share - 1),
    Link.EXPONENTIAL: np.log,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A booster and what its wrapper knew about it."""

    booster: Any  # xgboost.Booster
    state: Mapping[str, Any]  # what the booster saves of itself, as JSON
    classes: tuple[int, ...]
    rounds: int  # 0: all
    missing: float  # the wrapper's stand-in for missing values
    trusted: tuple[str, ...] = ()

    @property
    def learner(self) -> Mapping[str, Any]:
        return self.state["learner"]  # type: ignore[no-any-return]  # JSON

    @property
    def kind(self) -> str:
        """gbtree, gblinear or dart."""
        return str(self.learner["gradient_booster"]["name"])

    @property
    def objective(self) -> str:
        return str(self.learner["objective"]["name"])

    @property
    def width(self) -> int:
        return int(self.learner["learner_model_param"]["num_feature"])

    @property
    def targets(self) -> int:
        sizes = self.learner["learner_model_param"]
        return max(1, int(sizes["num_class"]), int(sizes.get("num_target", 1)))

    @property
    def categorical(self) -> frozenset[int]:
        kinds = self.learner.get("feature_types", [])
        return frozenset(place for place, kind in enumerate(kinds) if kind == _CATEGORICAL)


class XgboostImporter:
    """Boosters of trees and linear ones, of every objective that ships with the library."""

    framework = _FRAMEWORK
    extra = "xgboost"

    def recognises(self, source: str) -> bool:
        """Whether it is a booster's JSON or UBJSON, or a pickle of one or of its scikit-learn wrapper."""
        path = Path(source)
        if not path.is_file():
            return False
        if kind_of(path) is Kind.BOOSTER_PICKLE:
            return pickled_class(path).startswith("xgboost.")
        with path.open("rb") as file:
            start = b"".join(file.read(64).split()) if path.suffix == ".json" else file.read(64)
        return start.startswith(_STARTS)

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Load it, write its trees as ONNX, predict the rows with the booster itself.

        Raises:
            SourceError: no booster, or one that cannot be served as asked.
            SampleError: the rows do not fit.
        """
        model = _load(Path(request.source), request)
        core, reason = _core_or_reason(model)
        booster = Boosted(
            library=_FRAMEWORK,
            name="XGBoost",
            inputs=(TensorSpec(name=INPUT, datatype=DataType.FP32, shape=(FREE, model.width)),),
            columns=tuple(model.booster.feature_names or ()),
            classes=model.classes,
            edges=_edges(model, core),
            answer=lambda inputs: _answer(model, inputs[INPUT]),
            notes=(*_notes(model), *bringing.category_notes(model.categorical, model.booster.feature_names or ())),
            trusted=model.trusted,
        )

        def graph() -> Any:
            if core is None:
                raise NotExpressibleError(reason)
            missing = None if np.isnan(model.missing) else model.missing
            columns = Columns(width=model.width, missing=missing, categorical=model.categorical)
            head = Head(link=_LINKS.get(model.objective, Link.IDENTITY), classes=model.classes)
            return to_onnx(core, head, columns, max_opset=request.max_opset)

        ways = Ways(
            graph=graph,
            served_by_itself=lambda into: _write_served(model, into),
            fil=lambda asked, into: _write_fil(model, asked, into),
        )
        return bringing.bring_in(booster, ways, request, sample, folder)


# --- loading ---------------------------------------------------------------------------------------------------------


def _load(path: Path, request: ImportRequest) -> _Model:
    with needs_extra(_FRAMEWORK):
        import xgboost
    if kind_of(path) in (Kind.BOOSTER_PICKLE, Kind.PICKLE, Kind.COMPRESSED):
        loaded, trusted = bringing.load_pickled(path, _FRAMEWORK, request)
        return replace(_from_object(path, loaded), trusted=trusted)
    refuse_cut(path)
    booster = xgboost.Booster()
    with refusing(
        f"'{path.name}' does not load as an XGBoost booster",
        next_step="save it again with save_model('model.ubj'), a binary of old with an XGBoost before 3.1",
    ):
        booster.load_model(bytearray(path.read_bytes()))
    return _model(booster)


def _from_object(path: Path, loaded: Any) -> _Model:
    import xgboost

    if isinstance(loaded, xgboost.Booster):
        return _model(loaded)
    if not isinstance(loaded, xgboost.XGBModel):
        kind = f"{type(loaded).__module__}.{type(loaded).__qualname__}"
        raise SourceError(
            f"'{path.name}' holds no XGBoost model but a {kind}", next_step="save the fitted model itself"
        )
    with refusing(f"'{path.name}' holds a model that was never fitted", next_step="call fit before saving it"):
        booster = loaded.get_booster()
    missing = np.nan if loaded.missing is None else float(loaded.missing)
    return _model(booster, missing=missing)


def _model(booster: Any, *, missing: float = np.nan) -> _Model:
    state = json.loads(bytes(booster.save_raw("json")))
    learner = state["learner"]
    best = learner["attributes"].get("best_iteration")
    is_linear = learner["gradient_booster"]["name"] == "gblinear"
    found = _Model(
        booster=booster,
        state=state,
        classes=(),
        rounds=0 if best is None or is_linear else int(best) + 1,
        missing=missing,
    )
    several_targets = int(learner["learner_model_param"].get("num_target", 1)) > 1  # each a yes or no of its own
    classify = found.objective in _CLASSIFY and not several_targets
    return replace(found, classes=tuple(range(max(2, found.targets)))) if classify else found


def _notes(model: _Model) -> tuple[str, ...]:
    all_rounds = model.booster.num_boosted_rounds()
    if 0 < model.rounds < all_rounds:
        return (f"early stopping chose {model.rounds} of {all_rounds} rounds: only those answer",)
    return ()


# --- what it answers -------------------------------------------------------------------------------------------------


def _answer(model: _Model, rows: Array) -> dict[str, Array]:
    values = _predict(model, rows)
    if not model.classes:
        return {"prediction": bringing.as_table(values)}
    if model.objective == "multi:softmax":
        chosen, sums = values.astype(np.int64), _predict(model, rows, output_margin=True)
        powers = np.exp(sums - sums.max(axis=1, keepdims=True))
        likely = powers / powers.sum(axis=1, keepdims=True)
    elif values.ndim == 1:
        chosen, likely = (values > 0.5).astype(np.int64), np.stack([1 - values, values], axis=1)
    else:
        chosen, likely = values.argmax(axis=1), values
    return {"label": bringing.as_label(model.classes, chosen), "probabilities": bringing.as_table(likely)}


def _predict(model: _Model, rows: Array, **how: bool) -> Array:
    import xgboost

    booster = model.booster
    table = xgboost.DMatrix(
        rows,
        missing=model.missing,
        feature_names=booster.feature_names,
        feature_types=booster.feature_types,
        enable_categorical=True,
    )
    return np.asarray(booster.predict(table, iteration_range=(0, model.rounds), **how))


# --- its trees -------------------------------------------------------------------------------------------------------


def _core_or_reason(model: _Model) -> tuple[Forest | Linear | None, str]:
    try:
        return _core(model), ""
    except NotExpressibleError as error:
        return None, str(error)


def _core(model: _Model) -> Forest | Linear:
    base = tuple(_base(model))
    if model.kind == "gblinear":
        weights = np.array(model.learner["gradient_booster"]["model"]["weights"]).reshape(-1, model.targets)
        last = weights[-1] + base[0]  # linear boosters start all targets at the first one's
        return Linear(weights=tuple(map(tuple, weights[:-1].tolist())), base=tuple(last.tolist()))
    return Forest(trees=list(_trees(model)), base=base)


def _base(model: _Model) -> Iterator[float]:
    told = model.learner["learner_model_param"]["base_score"]
    scores = json.loads(told) if told.startswith("[") else [float(told)]
    back = _BACK.get(_LINKS.get(model.objective, Link.IDENTITY), lambda score: score)
    with np.errstate(divide="ignore"):
        sums = [float(back(np.float64(score))) for score in scores]
    yield from (sums * model.targets if len(sums) == 1 else sums)


def _trees(model: _Model) -> Iterator[Tree]:
    trees, places, factors = _grown(model)
    if model.rounds:
        rounds = _model_of_trees(model)["iteration_indptr"]
        trees = trees[: rounds[model.rounds]]
    for tree, place, factor in zip(trees, places, factors, strict=False):
        yield _tree(tree, place, factor)


def _model_of_trees(model: _Model) -> Mapping[str, Any]:
    booster = model.learner["gradient_booster"]
    return booster["gbtree"]["model"] if model.kind == "dart" else booster["model"]  # type: ignore[no-any-return]


def _grown(model: _Model) -> tuple[Sequence[Mapping[str, Any]], Sequence[int], Sequence[float]]:
    """The trees, the target of each, and what its leaves are multiplied by."""
    grown = _model_of_trees(model)
    trees = grown["trees"]
    weights = model.learner["gradient_booster"]["weight_drop"] if model.kind == "dart" else [1.0] * len(trees)
    return trees, grown["tree_info"], weights


def _tree(grown: Mapping[str, Any], target: int, factor: float) -> Tree:
    size = int(grown["tree_param"]["size_leaf_vector"] or 1)
    nodes: list[Split | Leaf] = [Leaf(weights=()) for _ in grown["left_children"]]
    sets = _categories(grown)
    for place, (left, right) in enumerate(zip(grown["left_children"], grown["right_children"], strict=True)):
        value, feature = grown["split_conditions"][place], grown["split_indices"][place]
        if left == -1:
            nodes[place] = Leaf(weights=_weights(grown, place, size, factor), first=target if size == 1 else 0)
        elif grown["split_type"][place]:
            missing = left if grown["default_left"][place] else right
            membership(nodes, place, feature, sets[place], inside=right, outside=left, missing=missing)
        else:
            nodes[place] = Split(
                feature=feature,
                mode="BRANCH_LT",
                value=value,
                true=left,
                false=right,
                missing_is_true=bool(grown["default_left"][place]),
            )
    return nodes


def _weights(grown: Mapping[str, Any], place: int, size: int, factor: float) -> tuple[float, ...]:
    if size == 1:
        return (grown["split_conditions"][place] * factor,)
    if "leaf_weights" not in grown:
        raise NotExpressibleError("its leaves hold vectors, in the form of an older XGBoost")
    start = grown["right_children"][place] * size  # of a leaf, its number
    return tuple(weight * factor for weight in grown["leaf_weights"][start : start + size])


def _categories(grown: Mapping[str, Any]) -> dict[int, list[int]]:
    """The categories that go right, by node."""
    return {
        node: grown["categories"][start : start + size]
        for node, start, size in zip(
            grown["categories_nodes"], grown["categories_segments"], grown["categories_sizes"], strict=True
        )
    }


def _edges(model: _Model, core: Forest | Linear | None) -> dict[int, list[float]]:
    if not isinstance(core, Forest):
        return {}
    edges = used_thresholds(core)
    for feature in model.categorical:
        edges[feature] = [*range(int(max(edges.get(feature, [0]))) + 2)]
    return edges


# --- its own file ----------------------------------------------------------------------------------------------------


def _write_served(model: _Model, folder: Path) -> Mapping[str, Any]:
    model.booster.save_model(folder / "model.ubj")
    return {
        "classes": list(model.classes),
        "objective": model.objective,
        "rounds": model.rounds,
        "missing": None if np.isnan(model.missing) else model.missing,
    }


def _write_fil(model: _Model, request: ImportRequest, folder: Path) -> tuple[Path, dict[str, str]]:
    if model.kind == "gblinear":
        fil.refuse("XGBoost", "it is linear, and FIL serves trees")
    if model.objective == "binary:hinge":
        fil.refuse("XGBoost", "not every release of FIL knows its objective binary:hinge")
    if not np.isnan(model.missing):
        fil.refuse("XGBoost", f"its missing values are written {model.missing:g}, FIL knows NaN only")
    if request.release and request.release < fil.FIRST_JSON_RELEASE:
        raise ReleaseError(
            f"Triton {request.release} has a FIL backend that is too old for the JSON of today's XGBoost",
            next_step=f"aim at {fil.FIRST_JSON_RELEASE} or newer with --release",
        )
    path = folder / "xgboost.json"
    booster = model.booster[: model.rounds] if model.rounds else model.booster
    state = fil.as_every_treelite_knows_it(json.loads(bytes(booster.save_raw("json"))))
    path.write_text(json.dumps(state), encoding="utf-8")
    _require_same_answers(model, state, path)
    return path, {"model_type": "xgboost_json"}


def _require_same_answers(model: _Model, state: Mapping[str, Any], path: Path) -> None:
    import xgboost

    written = xgboost.Booster()
    with refusing("what was written for FIL does not load in XGBoost itself", next_step="leave --backend out"):
        written.load_model(path)
    rows = np.random.default_rng(0).standard_normal((16, model.width)).astype(np.float32)
    again = replace(model, booster=written, state=state, rounds=0)
    wanted, found = _answer(model, rows), _answer(again, rows)
    if disagreement(found, wanted, tolerance=_WRITTEN_AGAIN):
        raise SourceError(
            "what was written for FIL answers differently in XGBoost itself", next_step="leave --backend out"
        )
