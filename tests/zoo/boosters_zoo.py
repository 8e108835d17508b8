# SPDX-License-Identifier: Apache-2.0
"""XGBoost, LightGBM and CatBoost: every objective, with missing values, categories and several classes."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from support.zoo import ZooCase, ZooSource

_ROWS = 400
_COLUMNS = 6
_CATEGORY = 5  # the column that holds one of twelve categories


def rows_and_targets(*, missing: bool = True) -> tuple[Any, Any]:
    """A table of float32 with missing values and a column of categories, and what depends on it."""
    random = np.random.default_rng(3)
    rows = random.standard_normal((_ROWS, _COLUMNS)).astype(np.float32)
    rows[:, 1] = np.round(rows[:, 1])  # ties and zeros
    rows[:, _CATEGORY] = random.integers(0, 12, _ROWS)
    targets = rows[:, 0] + (rows[:, _CATEGORY] % 3) + random.standard_normal(_ROWS) / 10
    if missing:
        holes = random.random((_ROWS, _CATEGORY)) < 1 / 8
        rows[:, :_CATEGORY][holes] = np.nan
        rows[:10, _CATEGORY] = np.nan
    return rows, targets


def _thirds(targets: Any) -> Any:
    return np.digitize(targets, np.quantile(targets, [1 / 3, 2 / 3]))


def _target_for(kind: str, targets: Any) -> Any:
    return {
        "number": targets,
        "positive": np.exp(targets / 3),
        "count": np.round(np.exp(targets / 3)),
        "share": 1 / (1 + np.exp(-targets)),
        "two": (targets > np.median(targets)).astype(int),
        "three": _thirds(targets),
        "several": np.stack([targets, -targets], axis=1),
        "several_labels": np.stack([targets > 0, targets > 1], axis=1).astype(int),
    }[kind]


# --- XGBoost ---------------------------------------------------------------------------------------------------------

_XGBOOST = {
    "reg:squarederror": "number",
    "reg:squaredlogerror": "positive",
    "reg:logistic": "share",
    "reg:pseudohubererror": "number",
    "reg:absoluteerror": "number",
    "reg:quantileerror": "number",
    "reg:gamma": "positive",
    "reg:tweedie": "count",
    "count:poisson": "count",
    "binary:logistic": "two",
    "binary:logitraw": "two",
    "binary:hinge": "two",
    "multi:softmax": "three",
    "multi:softprob": "three",
    "survival:cox": "positive",
    "survival:aft": "positive",
    "rank:ndcg": "three",
    "rank:map": "two",
    "rank:pairwise": "three",
}


def _xgboost_data(kind: str, *, categorical: bool, missing: bool = True) -> tuple[Any, Any]:
    import xgboost

    rows, targets = rows_and_targets(missing=missing)
    types = ["q"] * _CATEGORY + ["c" if categorical else "q"]
    names = [f"column {place}" for place in range(_COLUMNS)]
    target = _target_for(kind, targets)
    data = xgboost.DMatrix(rows, target, feature_types=types, feature_names=names, enable_categorical=True)
    return rows, data


def _xgboost(objective: str, kind: str, *, suffix: str = "ubj", categorical: bool = False, **settings: Any) -> Any:
    def build(folder: Path) -> ZooSource:
        import xgboost

        rows, data = _xgboost_data(kind, categorical=categorical)
        if objective.startswith("rank:"):
            data.set_group([20] * (_ROWS // 20))
        if objective == "survival:aft":
            label = data.get_label()
            data.set_float_info("label_lower_bound", label)
            data.set_float_info("label_upper_bound", label * 2)
        given: dict[str, Any] = {"objective": objective, "max_depth": 4, "nthread": 2, "seed": 1, "verbosity": 0}
        given |= {"num_class": 3} if objective.startswith("multi:") else {}
        given |= {"quantile_alpha": [0.1, 0.5, 0.9]} if objective == "reg:quantileerror" else {}
        rounds = settings.pop("rounds", 12) if "rounds" in settings else 12
        booster = xgboost.train({**given, **settings}, data, rounds)
        booster.save_model(folder / f"model.{suffix}")
        np.save(folder / "rows.npy", rows[:100])
        return ZooSource(source=str(folder / f"model.{suffix}"), sample=folder / "rows.npy")

    return build


def _xgboost_stopped_early(folder: Path) -> ZooSource:
    import joblib
    import xgboost

    rows, targets = rows_and_targets()
    kinds = _thirds(targets)
    model = xgboost.XGBClassifier(n_estimators=200, learning_rate=1.0, max_depth=4, early_stopping_rounds=3, n_jobs=2)
    model.fit(rows[:300], kinds[:300], eval_set=[(rows[300:], kinds[300:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    joblib.dump(model, folder / "model.joblib")
    return ZooSource(source=str(folder / "model.joblib"))


def _xgboost_own_missing(folder: Path) -> ZooSource:
    import pickle

    import xgboost

    rows, targets = rows_and_targets()
    rows = np.nan_to_num(rows, nan=-999)
    model = xgboost.XGBRegressor(n_estimators=12, missing=-999, n_jobs=2).fit(rows, targets)
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    np.save(folder / "rows.npy", rows[:100])
    return ZooSource(source=str(folder / "model.pkl"), sample=folder / "rows.npy")


def _xgboost_frame(folder: Path) -> ZooSource:
    import joblib
    import pandas as pd
    import xgboost

    rows, targets = rows_and_targets()
    frame = pd.DataFrame(rows, columns=[f"column {place}" for place in range(_COLUMNS)])
    frame[f"column {_CATEGORY}"] = pd.Categorical(
        frame[f"column {_CATEGORY}"].map(lambda value: None if np.isnan(value) else "abcdefghijklmn"[int(value)])
    )
    model = xgboost.XGBClassifier(n_estimators=12, enable_categorical=True, n_jobs=2)
    joblib.dump(model.fit(frame, _target_for("two", targets)), folder / "model.joblib", compress=3)
    return ZooSource(source=str(folder / "model.joblib"))


def _xgboost_several(strategy: str) -> Callable[[Path], ZooSource]:
    def build(folder: Path) -> ZooSource:
        import xgboost

        rows, targets = rows_and_targets()
        data = xgboost.DMatrix(rows, _target_for("several", targets))
        settings = {"multi_strategy": strategy, "tree_method": "hist", "nthread": 2}
        xgboost.train(settings, data, 12).save_model(folder / "model.json")
        return ZooSource(source=str(folder / "model.json"))

    return build


def _xgboost_wrapper(name: str, kind: str, **settings: Any) -> Callable[[Path], ZooSource]:
    def build(folder: Path) -> ZooSource:
        import joblib
        import xgboost

        rows, targets = rows_and_targets()
        fit = {"group": [20] * (_ROWS // 20)} if name == "XGBRanker" else {}
        model = getattr(xgboost, name)(n_estimators=8, n_jobs=2, **settings)
        joblib.dump(model.fit(rows, _target_for(kind, targets), **fit), folder / "model.joblib")
        return ZooSource(source=str(folder / "model.joblib"))

    return build


def _xgboost_cases() -> Mapping[str, Callable[[Path], ZooSource]]:
    plain = {name: _xgboost(name, kind) for name, kind in _XGBOOST.items()}
    with_categories = {
        f"{name}, categories": _xgboost(name, kind, categorical=True, suffix="json", max_cat_to_onehot=onehot)
        for name, kind, onehot in (
            ("reg:squarederror", "number", 1),
            ("binary:logistic", "two", 1),
            ("multi:softprob", "three", 1),
            ("count:poisson", "count", 100),
        )
    }
    return {
        **plain,
        **with_categories,
        "dart": _xgboost("binary:logistic", "two", booster="dart", rate_drop=0.5),
        "dart, three classes": _xgboost("multi:softprob", "three", booster="dart", rate_drop=0.5, suffix="json"),
        "gblinear": _xgboost("reg:squarederror", "number", booster="gblinear"),
        "gblinear, three classes": _xgboost("multi:softprob", "three", booster="gblinear"),
        "base_score": _xgboost("binary:logistic", "two", base_score=0.2),
        "base_score, poisson": _xgboost("count:poisson", "count", base_score=3.0),
        "leaf-wise": _xgboost("reg:squarederror", "number", grow_policy="lossguide", max_leaves=40, max_depth=0),
        "random forest": _xgboost("reg:squarederror", "number", num_parallel_tree=5, subsample=0.6, rounds=2),
        "300 rounds": _xgboost("binary:logistic", "two", rounds=300),
        "early stopping": _xgboost_stopped_early,
        "missing is -999": _xgboost_own_missing,
        "DataFrame with categories": _xgboost_frame,
        "several targets": _xgboost_several("one_output_per_tree"),
        "several targets, vector leaves": _xgboost_several("multi_output_tree"),
        "XGBRegressor": _xgboost_wrapper("XGBRegressor", "number"),
        "XGBClassifier": _xgboost_wrapper("XGBClassifier", "two"),
        "XGBClassifier, three classes": _xgboost_wrapper("XGBClassifier", "three"),
        "XGBClassifier, several labels": _xgboost_wrapper("XGBClassifier", "several_labels"),
        "XGBRanker": _xgboost_wrapper("XGBRanker", "three"),
        "XGBRFRegressor": _xgboost_wrapper("XGBRFRegressor", "number"),
        "XGBRFClassifier": _xgboost_wrapper("XGBRFClassifier", "three"),
    }


# --- LightGBM --------------------------------------------------------------------------------------------------------

_LIGHTGBM = {
    "regression": "number",
    "regression_l1": "number",
    "huber": "number",
    "fair": "number",
    "poisson": "count",
    "quantile": "number",
    "mape": "positive",
    "gamma": "positive",
    "tweedie": "count",
    "binary": "two",
    "multiclass": "three",
    "multiclassova": "three",
    "cross_entropy": "share",
    "cross_entropy_lambda": "share",
    "lambdarank": "three",
    "rank_xendcg": "three",
}


def _lightgbm(objective: str, kind: str, *, categorical: bool = True, rounds: int = 12, **settings: Any) -> Any:
    def build(folder: Path) -> ZooSource:
        import lightgbm

        rows, targets = rows_and_targets()
        group = [20] * (_ROWS // 20) if objective in ("lambdarank", "rank_xendcg") else None
        data = lightgbm.Dataset(
            rows, _target_for(kind, targets), categorical_feature=[_CATEGORY] if categorical else "auto", group=group
        )
        given: dict[str, Any] = {"objective": objective, "num_threads": 2, "seed": 1, "verbosity": -1}
        given |= {"min_data_per_group": 5, "cat_smooth": 1, "min_data_in_leaf": 5}
        given |= {"num_class": 3} if objective.startswith("multiclass") else {}
        lightgbm.train({**given, **settings}, data, rounds).save_model(folder / "model.txt")
        np.save(folder / "rows.npy", rows[:100])
        return ZooSource(source=str(folder / "model.txt"), sample=folder / "rows.npy")

    return build


def _lightgbm_stopped_early(folder: Path) -> ZooSource:
    import joblib
    import lightgbm

    rows, targets = rows_and_targets()
    kinds = np.array(["high", "low", "middle"])[_thirds(targets)]
    model = lightgbm.LGBMClassifier(n_estimators=300, learning_rate=0.5, n_jobs=2, verbose=-1)
    stop = lightgbm.early_stopping(3, verbose=False)
    model.fit(rows[:300], kinds[:300], eval_set=[(rows[300:], kinds[300:])], callbacks=[stop])
    assert model.best_iteration_ < 300
    joblib.dump(model, folder / "model.joblib", compress=("gzip", 3))
    return ZooSource(source=str(folder / "model.joblib"))


def _lightgbm_frame(folder: Path) -> ZooSource:
    import joblib
    import lightgbm
    import pandas as pd

    rows, targets = rows_and_targets()
    frame = pd.DataFrame(rows, columns=[f"column{place}" for place in range(_COLUMNS)])
    frame[f"column{_CATEGORY}"] = pd.Categorical(frame[f"column{_CATEGORY}"])
    model = lightgbm.LGBMRegressor(n_estimators=12, n_jobs=2, verbose=-1).fit(frame, targets)
    joblib.dump(model, folder / "model.joblib")
    frame.head(50).astype(float).to_csv(folder / "rows.csv", index=False)
    return ZooSource(source=str(folder / "model.joblib"), sample=folder / "rows.csv")


def _lightgbm_wrapper(name: str, kind: str, **settings: Any) -> Callable[[Path], ZooSource]:
    def build(folder: Path) -> ZooSource:
        import joblib
        import lightgbm

        rows, targets = rows_and_targets()
        fit = {"group": [20] * (_ROWS // 20)} if name == "LGBMRanker" else {}
        model = getattr(lightgbm, name)(n_estimators=8, n_jobs=2, verbose=-1, **settings)
        joblib.dump(model.fit(rows, _target_for(kind, targets), **fit), folder / "model.joblib")
        return ZooSource(source=str(folder / "model.joblib"))

    return build


def _lightgbm_cases() -> Mapping[str, Callable[[Path], ZooSource]]:
    forest = {"boosting": "rf", "bagging_fraction": 0.7, "bagging_freq": 1}
    return {
        **{f"{name}, categories": _lightgbm(name, kind) for name, kind in _LIGHTGBM.items()},
        **{
            name: _lightgbm(name, _LIGHTGBM[name], categorical=False) for name in ("regression", "binary", "multiclass")
        },
        "dart": _lightgbm("binary", "two", boosting="dart", drop_rate=0.5),
        "goss": _lightgbm("regression", "number", data_sample_strategy="goss"),
        "random forest": _lightgbm("regression", "number", **forest),
        "random forest, two classes": _lightgbm("binary", "two", **forest),
        "random forest, three classes": _lightgbm("multiclass", "three", **forest),
        "sqrt": _lightgbm("regression", "number", reg_sqrt=True),
        "sigmoid 0.5": _lightgbm("binary", "two", sigmoid=0.5),
        "zero as missing": _lightgbm("regression", "number", categorical=False, zero_as_missing=True, rounds=100),
        "zero as missing, two classes": _lightgbm("binary", "two", categorical=False, zero_as_missing=True, rounds=60),
        "missing not used": _lightgbm("regression", "number", use_missing=False),
        "linear trees": _lightgbm("regression", "number", categorical=False, linear_tree=True),
        "one-hot categories": _lightgbm("regression", "number", max_cat_to_onehot=100),
        "1000 rounds": _lightgbm("binary", "two", rounds=1000, learning_rate=0.01),
        "early stopping, text classes": _lightgbm_stopped_early,
        "DataFrame with categories": _lightgbm_frame,
        "LGBMClassifier": _lightgbm_wrapper("LGBMClassifier", "two"),
        "LGBMRegressor": _lightgbm_wrapper("LGBMRegressor", "number"),
        "LGBMRanker": _lightgbm_wrapper("LGBMRanker", "three"),
    }


# --- CatBoost --------------------------------------------------------------------------------------------------------

_CATBOOST = {
    "RMSE": "number",
    "MAE": "number",
    "Quantile:alpha=0.3": "number",
    "MultiQuantile:alpha=0.1,0.9": "number",
    "LogLinQuantile": "positive",
    "Huber:delta=1": "number",
    "Expectile:alpha=0.3": "number",
    "MAPE": "positive",
    "LogCosh": "number",
    "Lq:q=3": "number",
    "Poisson": "count",
    "Tweedie:variance_power=1.5": "count",
    "RMSEWithUncertainty": "number",
    "MultiRMSE": "several",
    "Logloss": "two",
    "CrossEntropy": "share",
    "MultiClass": "three",
    "MultiClassOneVsAll": "three",
    "MultiLogloss": "several_labels",
    "YetiRank": "three",
    "PairLogit": "three",
    "QueryRMSE": "three",
    "QuerySoftMax": "two",
}


def _catboost_model(loss: str, **settings: Any) -> Any:
    import catboost

    given: dict[str, Any] = {"iterations": 12, "depth": 4, "random_seed": 1, "thread_count": 2, "verbose": False}
    return catboost.CatBoost({"loss_function": loss, "allow_writing_files": False, **given, **settings})


def _catboost(loss: str, kind: str, *, suffix: str = "cbm", **settings: Any) -> Callable[[Path], ZooSource]:
    def build(folder: Path) -> ZooSource:
        import catboost

        rows, targets = rows_and_targets()
        ranks = loss in ("YetiRank", "PairLogit", "QueryRMSE", "QuerySoftMax")
        group = np.repeat(np.arange(_ROWS // 20), 20) if ranks else None
        data = catboost.Pool(rows, _target_for(kind, targets), group_id=group)
        _catboost_model(loss, **settings).fit(data).save_model(str(folder / f"model.{suffix}"), format=suffix)
        np.save(folder / "rows.npy", rows[:100])
        return ZooSource(source=str(folder / f"model.{suffix}"), sample=folder / "rows.npy")

    return build


def _catboost_frame(loss: str, kind: str, **settings: Any) -> Callable[[Path], ZooSource]:
    def build(folder: Path) -> ZooSource:
        import pandas as pd

        rows, targets = rows_and_targets()
        frame = pd.DataFrame(rows, columns=[f"column{place}" for place in range(_COLUMNS)])
        town = [f"town {value}" for value in np.nan_to_num(rows[:, _CATEGORY])]
        frame[f"column{_CATEGORY}"] = town
        model = _catboost_model(loss, cat_features=[_CATEGORY], **settings).fit(frame, _target_for(kind, targets))
        model.save_model(str(folder / "model.cbm"))
        frame.head(100).to_csv(folder / "rows.csv", index=False)
        return ZooSource(source=str(folder / "model.cbm"), sample=folder / "rows.csv")

    return build


def _catboost_text(folder: Path) -> ZooSource:
    import catboost
    import pandas as pd

    _, targets = rows_and_targets()
    frame = pd.DataFrame({"words": ["good fine" if target > 1 else "bad poor" for target in targets], "size": targets})
    data = catboost.Pool(frame, _target_for("two", targets), text_features=["words"])
    _catboost_model("Logloss").fit(data).save_model(str(folder / "model.cbm"))
    frame.head(50).to_csv(folder / "rows.csv", index=False)
    return ZooSource(source=str(folder / "model.cbm"), sample=folder / "rows.csv")


def _catboost_wrapper(
    name: str, kind: str, *, names: tuple[Any, ...] = (), threshold: float | None = None
) -> Callable[[Path], ZooSource]:
    def build(folder: Path) -> ZooSource:
        import catboost
        import joblib

        rows, targets = rows_and_targets()
        target = _target_for(kind, targets)
        model = getattr(catboost, name)(iterations=8, thread_count=2, verbose=False, allow_writing_files=False)
        fit = {"group_id": np.repeat(np.arange(_ROWS // 20), 20)} if name == "CatBoostRanker" else {}
        model.fit(rows, np.array(names)[target] if names else target, **fit)
        if threshold is not None:
            model.set_probability_threshold(threshold)
        joblib.dump(model, folder / "model.joblib")
        return ZooSource(source=str(folder / "model.joblib"))

    return build


def _catboost_stopped_early(folder: Path) -> ZooSource:
    rows, targets = rows_and_targets()
    model = _catboost_model("RMSE", iterations=500, learning_rate=0.5, early_stopping_rounds=5)
    model.fit(rows[:300], targets[:300], eval_set=(rows[300:], targets[300:]))
    assert model.tree_count_ < 500
    model.save_model(str(folder / "model.cbm"))
    return ZooSource(source=str(folder / "model.cbm"))


def _catboost_cases() -> Mapping[str, Callable[[Path], ZooSource]]:
    return {
        **{name: _catboost(name, kind) for name, kind in _CATBOOST.items()},
        "json": _catboost("MultiClass", "three", suffix="json"),
        "missing above": _catboost("RMSE", "number", nan_mode="Max"),
        "depth-wise": _catboost("RMSE", "number", grow_policy="Depthwise"),
        "leaf-wise, three classes": _catboost("MultiClass", "three", grow_policy="Lossguide"),
        "1000 iterations": _catboost("Logloss", "two", iterations=1000),
        "early stopping": _catboost_stopped_early,
        "RMSE, categories": _catboost_frame("RMSE", "number"),
        "Logloss, categories": _catboost_frame("Logloss", "two"),
        "MultiClass, categories": _catboost_frame("MultiClass", "three"),
        "Logloss, one-hot categories": _catboost_frame("Logloss", "two", one_hot_max_size=100),
        "Logloss, text": _catboost_text,
        "CatBoostClassifier": _catboost_wrapper("CatBoostClassifier", "two"),
        "CatBoostClassifier, text classes": _catboost_wrapper(
            "CatBoostClassifier", "three", names=("low", "middle", "high")
        ),
        "CatBoostClassifier, broken numbers": _catboost_wrapper("CatBoostClassifier", "three", names=(0.5, 1.5, 2.0)),
        "CatBoostClassifier, threshold": _catboost_wrapper("CatBoostClassifier", "two", threshold=0.2),
        "CatBoostClassifier, threshold, text classes": _catboost_wrapper(
            "CatBoostClassifier", "two", names=("no", "yes"), threshold=0.2
        ),
        "CatBoostRegressor": _catboost_wrapper("CatBoostRegressor", "number"),
        "CatBoostRanker": _catboost_wrapper("CatBoostRanker", "three"),
    }


def cases() -> Iterable[ZooCase]:
    """Every case of the three libraries."""
    for family, built in (
        ("XGBoost", _xgboost_cases()),
        ("LightGBM", _lightgbm_cases()),
        ("CatBoost", _catboost_cases()),
    ):
        for name, build in built.items():
            yield ZooCase(family=family, name=name, build=build)
