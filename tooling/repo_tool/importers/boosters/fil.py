# SPDX-License-Identifier: Apache-2.0
"""What Triton's FIL backend is given and told: files that Treelite of every release reads as the booster means them."""

__all__ = ["FIRST_JSON_RELEASE", "as_every_treelite_knows_it", "parameters_for", "refuse", "with_float_thresholds"]

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest

FIRST_JSON_RELEASE = "24.03"  # of Triton, for the JSON of today's XGBoost: the FIL backend's docs/model_support.md
_RENAMED = "25.09"  # the first release that says is_classifier for output_class: the FIL backend's src/shared_state.h
_SUMS_ALONE = ("reg:absoluteerror", "reg:expectileerror", "reg:quantileerror")  # which Treelite 4.4 does not know
_LIGHTGBM_CATEGORY = 1  # of a decision_type, the bit that says that its threshold numbers a set of categories


def refuse(name: str, cause: str) -> NoReturn:
    """Say that the FIL backend does not take it.

    Raises:
        SourceError: always.
    """
    raise SourceError(
        f"Triton's FIL backend does not serve this {name} model",
        cause=cause,
        next_step="leave --backend out: it is then served as ONNX, or by the library itself",
    )


def parameters_for(request: ImportRequest, *, classes: int) -> dict[str, str]:
    """What the backend has to be told so that ``output__0`` holds probabilities, or what a regressor predicts.

    A model of two classes is told to be none: its one value, the second class's probability, is then given as it is,
    where releases differ in whether a classifier of two has one column or two.
    """
    word = "output_class" if "" < request.release < _RENAMED else "is_classifier"
    if classes <= 2:
        return {word: "false"}
    # The backend insists on a threshold of classifiers, which only the choice between two classes takes.
    return {word: "true", "predict_proba": "true", "threshold": "0.5"}


# --- XGBoost ---------------------------------------------------------------------------------------------------------


def as_every_treelite_knows_it(state: dict[str, Any]) -> dict[str, Any]:
    """XGBoost's JSON without what its releases since 3.1 added, and with the answers in ``output__0``.

    Raises:
        SourceError: it holds what only newer readers know.
    """
    learner = state["learner"]
    model = _trees_of(learner)
    model.pop("cats", None)  # how a DataFrame's categories are called; a request holds their codes
    if learner["objective"]["name"] == "multi:softmax":  # which would answer the class alone
        learner["objective"]["name"] = "multi:softprob"
    if learner["objective"]["name"] in _SUMS_ALONE:
        learner["objective"] = {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}
    sizes = learner["learner_model_param"]
    scores = json.loads(sizes["base_score"]) if sizes["base_score"].startswith("[") else []
    if len(set(scores)) == 1:
        sizes["base_score"] = repr(scores[0])
    elif scores:
        _start_in_the_leaves(learner, scores)
        sizes["base_score"] = "0.0"
    return state


def _trees_of(learner: dict[str, Any]) -> dict[str, Any]:
    booster = learner["gradient_booster"]
    return booster.get("gbtree", booster)["model"]  # type: ignore[no-any-return]  # JSON


def _start_in_the_leaves(learner: dict[str, Any], scores: list[float]) -> None:
    """Add what each class starts at to every leaf of its first tree."""
    model = _trees_of(learner)
    factors = learner["gradient_booster"].get("weight_drop") or [1.0] * len(model["trees"])
    for target, score in enumerate(scores):
        if target not in model["tree_info"]:
            refuse("XGBoost", "its classes start at values of their own, and not each has a tree to keep its own in")
        first = model["tree_info"].index(target)
        tree = model["trees"][first]
        if int(tree["tree_param"]["size_leaf_vector"] or 1) > 1:
            refuse("XGBoost", "its leaves hold vectors, and not every release of FIL knows those")
        for place, left in enumerate(tree["left_children"]):
            if left == -1:
                tree["split_conditions"][place] += score / factors[first]


# --- LightGBM --------------------------------------------------------------------------------------------------------


def with_float_thresholds(text: str, at_or_below: Callable[[float], float]) -> str:
    """LightGBM's text with thresholds that stay what they are in single precision, which is all that FIL has."""
    head, *trees = re.split(r"(?m)^(?=Tree=)", text)
    head = re.sub(r"(?m)^tree_sizes=.*\n", "", head)  # in bytes; no reader needs it
    return head + "".join(_rounded(tree, at_or_below) for tree in trees)


def _rounded(tree: str, at_or_below: Callable[[float], float]) -> str:
    kinds = re.search(r"(?m)^decision_type=(.*)$", tree)
    thresholds = re.search(r"(?m)^threshold=(.*)$", tree)
    if not kinds or not thresholds:
        return tree  # of one leaf
    words = [
        word if int(kind) & _LIGHTGBM_CATEGORY else repr(at_or_below(float(word)))
        for word, kind in zip(thresholds[1].split(), kinds[1].split(), strict=True)
    ]
    return tree[: thresholds.start(1)] + " ".join(words) + tree[thresholds.end(1) :]
