# SPDX-License-Identifier: Apache-2.0
"""scikit-learn: every estimator that can be fitted on small data, every method, and pipelines as people build them."""

__all__ = ["cases", "recipes"]

import json
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from support.zoo import ZooCase, ZooSource

FAMILY = "scikit-learn"
ROWS = 40  # of the sample; the models are fitted on more


# --- data ------------------------------------------------------------------------------------------------------------


def _wine() -> tuple[Any, Any]:
    from sklearn.datasets import load_wine

    rows, classes = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(rows))
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    return scaled[order].astype(np.float32).astype(np.float64), classes[order]


def _diabetes() -> tuple[Any, Any]:
    from sklearn.datasets import load_diabetes

    rows, targets = load_diabetes(return_X_y=True)
    return (rows * 20)[:200].astype(np.float32).astype(np.float64), targets[:200] / 100


def _positive() -> tuple[Any, Any]:
    rows, classes = _wine()
    return np.abs(rows), classes


def _counts() -> tuple[Any, Any]:
    rows, classes = _wine()
    return np.floor(np.abs(rows) * 2), classes


def _holes() -> tuple[Any, Any]:
    rows, classes = _wine()
    rows[np.random.default_rng(1).random(rows.shape) < 0.1] = np.nan
    return rows, classes


def _semi_supervised() -> tuple[Any, Any]:
    rows, classes = _wine()
    return rows, np.where(np.random.default_rng(1).random(len(rows)) < 0.5, -1, classes)


def _two_classes() -> tuple[Any, Any]:
    rows, classes = _wine()
    return rows, (classes == 1).astype(np.int64)


def _named_classes() -> tuple[Any, Any]:
    rows, classes = _wine()
    return rows, np.array(["barbera", "barolo", "grignolino"], dtype=object)[classes]


def _several_classes() -> tuple[Any, Any]:
    rows, classes = _wine()
    return rows, np.stack([classes, (rows[:, 0] > 0).astype(np.int64)], axis=1)


def _same_classes() -> tuple[Any, Any]:
    rows, classes = _wine()
    return rows, np.stack([(classes == 1), (rows[:, 0] > 0)], axis=1).astype(np.int64)


def _several_targets() -> tuple[Any, Any]:
    rows, targets = _diabetes()
    return rows, np.stack([targets, targets * 2 + rows[:, 0]], axis=1)


def _one_column() -> tuple[Any, Any]:
    rows, targets = _diabetes()
    return rows[:, 2:3], targets


def _kernel() -> tuple[Any, Any]:
    rows, classes = _wine()
    return rows[:50] @ rows[:50].T, classes[:50]


def _categories() -> tuple[Any, Any]:
    rows, classes = _wine()
    words = np.array([["red", "blue", "green"], ["S", "M", "L"]], dtype=object)
    picked = np.digitize(rows[:, :2], [-0.5, 0.5])
    return np.stack([words[column][picked[:, column]] for column in (0, 1)], axis=1), classes


TEXTS = ["the cat sat on the mat", "the dog ate my homework", "A cat, a dog!", "birds sing", "homework is for birds"]


def _texts() -> tuple[Any, Any]:
    return TEXTS * 8, np.array([0, 1, 0, 1, 1] * 8)


def _records() -> tuple[Any, Any]:
    return [{"city": text.split()[0], "length": float(len(text))} for text in TEXTS * 8], np.array([0, 1, 0, 1, 1] * 8)


def _label_lists() -> tuple[Any, Any]:
    return [text.split()[:2] for text in TEXTS * 8], None


def _words() -> tuple[Any, Any]:
    return np.array([text.split()[0] for text in TEXTS * 8], dtype=object), None


def _whole_labels() -> tuple[Any, Any]:
    return np.array([3, 1, 2, 7, 2, 1, 3, 7] * 5), None


def _images() -> tuple[Any, Any]:
    return np.random.default_rng(0).random((6, 8, 8)), None


def frame() -> tuple[Any, Any]:
    """A DataFrame as people have it: numbers with holes, whole numbers, booleans and two columns of strings."""
    import pandas as pd

    random = np.random.default_rng(0)
    count = 200
    age = random.normal(40, 12, count).round(1)
    age[::17] = np.nan
    table = pd.DataFrame(
        {
            "age": age,
            "income (k)": random.lognormal(3, 1, count).astype(np.float32).astype(np.float64),
            "children": random.integers(0, 4, count),
            "member": random.random(count) < 0.5,
            "city": random.choice(["Zürich", "Łódź", "New York", ""], count),
            "plan": random.choice(["free", "pro"], count),
        }
    )
    bought = (table["income (k)"] > 20) ^ (table["plan"] == "pro")
    return table, bought.to_numpy().astype(np.int64)


DATA: dict[str, Callable[[], tuple[Any, Any]]] = {
    name.strip("_"): function
    for name, function in list(globals().items())
    if callable(function) and (name == "frame" or (name.startswith("_") and not name.startswith("__")))
}


# --- cases -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An estimator, its data and what is asked of it."""

    name: str
    make: Callable[[], Any]
    data: str = "wine"
    method: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def _named(name: str, **arguments: Any) -> Callable[[], Any]:
    def make() -> Any:
        from sklearn.utils import all_estimators

        return dict(all_estimators())[name](**arguments)

    return make


def _trees() -> dict[str, Any]:
    return {"n_estimators": 8, "random_state": 0}


def _inner(kind: str) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.tree import DecisionTreeClassifier

    return {
        "classifier": LogisticRegression(),
        "regressor": Ridge(),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    }[kind]


def _arguments(name: str) -> dict[str, Any]:
    """Those without which an estimator cannot be made, or is slow."""
    classifier, regressor = _inner("classifier"), _inner("regressor")
    special: dict[str, dict[str, Any]] = {
        "ClassifierChain": {"estimator": classifier},
        "FixedThresholdClassifier": {"estimator": classifier, "threshold": 0.4},
        "MultiOutputClassifier": {"estimator": classifier},
        "OneVsOneClassifier": {"estimator": classifier},
        "OneVsRestClassifier": {"estimator": classifier},
        "OutputCodeClassifier": {"estimator": classifier, "random_state": 0},
        "SelfTrainingClassifier": {"estimator": classifier},
        "StackingClassifier": {"estimators": [("a", classifier), ("b", _inner("tree"))]},
        "TunedThresholdClassifierCV": {"estimator": classifier},
        "VotingClassifier": {"estimators": [("a", classifier), ("b", _inner("tree"))], "voting": "soft"},
        "MultiOutputRegressor": {"estimator": regressor},
        "RegressorChain": {"estimator": regressor},
        "StackingRegressor": {"estimators": [("a", regressor)]},
        "VotingRegressor": {"estimators": [("a", regressor)]},
        "ColumnTransformer": {"transformers": [("a", "passthrough", [0, 2]), ("b", _scaler(), [1])]},
        "FeatureUnion": {"transformer_list": [("a", _scaler())]},
        "FrozenEstimator": {"estimator": classifier.fit(*_wine())},
        "GridSearchCV": {"estimator": classifier, "param_grid": {"C": [0.1, 1.0]}},
        "RandomizedSearchCV": {"estimator": classifier, "param_distributions": {"C": [0.1, 1.0]}, "n_iter": 2},
        "Pipeline": {"steps": [("a", _scaler()), ("b", classifier)]},
        "RFE": {"estimator": classifier},
        "RFECV": {"estimator": classifier},
        "SelectFromModel": {"estimator": classifier},
        "SequentialFeatureSelector": {"estimator": classifier, "n_features_to_select": 3},
        "SparseCoder": {"dictionary": np.eye(13)[:5] + 0.1},
        "FeatureHasher": {"n_features": 32},
        "HashingVectorizer": {"n_features": 32},
        "LocalOutlierFactor": {"novelty": True},
        "MLPClassifier": {"hidden_layer_sizes": (8,), "max_iter": 100, "random_state": 0},
        "MLPRegressor": {"hidden_layer_sizes": (8,), "max_iter": 100, "random_state": 0},
        "RadiusNeighborsClassifier": {"radius": 6.0},
        "RadiusNeighborsRegressor": {"radius": 6.0},
        "RadiusNeighborsTransformer": {"radius": 6.0},
        "GaussianRandomProjection": {"n_components": 4, "random_state": 0},
        "SparseRandomProjection": {"n_components": 4, "random_state": 0},
        "PatchExtractor": {"patch_size": (3, 3)},
        "QuantileTransformer": {"n_quantiles": 50, "random_state": 0},
        "Isomap": {"n_neighbors": 8},
        "KMeans": {"n_clusters": 3, "random_state": 0},
        "MiniBatchKMeans": {"n_clusters": 3, "random_state": 0},
        "BisectingKMeans": {"n_clusters": 3, "random_state": 0},
        "GaussianMixture": {"n_components": 3, "random_state": 0},
        "BayesianGaussianMixture": {"n_components": 3, "random_state": 0},
        "NMF": {"n_components": 3, "random_state": 0, "max_iter": 500},
        "MiniBatchNMF": {"n_components": 3, "random_state": 0},
        "LatentDirichletAllocation": {"n_components": 3, "random_state": 0},
        "DictionaryLearning": {"n_components": 3, "random_state": 0, "max_iter": 20},
        "MiniBatchDictionaryLearning": {"n_components": 3, "random_state": 0, "max_iter": 20},
        "SparsePCA": {"n_components": 3, "random_state": 0},
        "MiniBatchSparsePCA": {"n_components": 3, "random_state": 0},
        "FastICA": {"n_components": 3, "random_state": 0},
        "Nystroem": {"n_components": 10, "random_state": 0},
        "TSNE": {"perplexity": 5.0, "max_iter": 250},
        "CCA": {"n_components": 2},
        "PLSCanonical": {"n_components": 2},
        "PLSSVD": {"n_components": 2},
        "Birch": {"n_clusters": 3},
        "IsolationForest": _trees(),
    }
    if name in special:
        return special[name]
    if "Forest" in name or "ExtraTrees" in name or name == "RandomTreesEmbedding":
        return _trees()
    return {"max_iter": 20} if name.startswith("HistGradient") else {}


def _scaler() -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler()


_DATA_OF = {
    "AdditiveChi2Sampler": "positive",
    "CategoricalNB": "counts",
    "ClassifierChain": "same_classes",
    "ComplementNB": "positive",
    "CCA": "several_targets",
    "CountVectorizer": "texts",
    "DictVectorizer": "records",
    "FeatureHasher": "records",
    "HashingVectorizer": "texts",
    "IsotonicRegression": "one_column",
    "KNNImputer": "holes",
    "KernelCenterer": "kernel",
    "LabelBinarizer": "words",
    "LabelEncoder": "words",
    "LabelPropagation": "semi_supervised",
    "LabelSpreading": "semi_supervised",
    "LatentDirichletAllocation": "counts",
    "MiniBatchNMF": "positive",
    "MissingIndicator": "holes",
    "MultiLabelBinarizer": "label_lists",
    "MultiOutputClassifier": "several_classes",
    "MultinomialNB": "counts",
    "NMF": "positive",
    "OneHotEncoder": "categories",
    "OrdinalEncoder": "categories",
    "PatchExtractor": "images",
    "PLSCanonical": "several_targets",
    "PLSSVD": "several_targets",
    "SelfTrainingClassifier": "semi_supervised",
    "SimpleImputer": "holes",
    "SkewedChi2Sampler": "positive",
    "TargetEncoder": "categories",
    "TfidfTransformer": "counts",
    "TfidfVectorizer": "texts",
    "FixedThresholdClassifier": "two_classes",
    "TunedThresholdClassifierCV": "two_classes",
    "GammaRegressor": "diabetes",
}


def _data_of(name: str, kind: type) -> str:
    from sklearn.base import RegressorMixin

    if name in _DATA_OF:
        return _DATA_OF[name]
    if name.startswith("MultiTask") or name in ("MultiOutputRegressor", "RegressorChain", "PLSRegression"):
        return "several_targets"
    return "diabetes" if issubclass(kind, RegressorMixin) else "wine"


def _all() -> Iterable[Recipe]:
    from sklearn.utils import all_estimators

    for name, kind in all_estimators():
        yield Recipe(name=name, make=lambda name=name: _named(name, **_arguments(name))(), data=_data_of(name, kind))


def _more() -> Iterable[Recipe]:
    """Methods that are not the usual one, several targets, names for classes, two classes, holes, other kernels."""

    def add(name: str, data: str = "wine", method: str | None = None, label: str = "", **arguments: Any) -> Recipe:
        words = ", ".join(filter(None, (label, data if data != "wine" else "", method or "")))
        return Recipe(
            name=f"{name} ({words})",
            make=_named(name, **{**_arguments(name), **arguments}),
            data=data,
            method=method,
        )

    for name in ("LogisticRegression", "RandomForestClassifier", "SVC", "GaussianNB", "MLPClassifier", "LinearSVC"):
        yield add(name, "named_classes")
        yield add(name, "two_classes")
    for name in ("DecisionTreeClassifier", "RandomForestClassifier", "ExtraTreesClassifier", "KNeighborsClassifier"):
        yield add(name, "several_classes")
    for name in ("DecisionTreeRegressor", "RandomForestRegressor", "LinearRegression", "KNeighborsRegressor", "Ridge"):
        yield add(name, "several_targets")
    yield add("MultiOutputClassifier", "same_classes")
    yield add("OneVsRestClassifier", "same_classes")
    yield add("MLPClassifier", "same_classes")
    for name in ("HistGradientBoostingClassifier", "DecisionTreeClassifier", "RandomForestClassifier"):
        yield add(name, "holes")
    for name in ("LogisticRegression", "SVC", "GradientBoostingClassifier", "LinearDiscriminantAnalysis"):
        yield add(name, method="decision_function")
        yield add(name, method="predict")
    yield add("SVC", label="probability=True", probability=True, method="predict_proba")
    yield add("LogisticRegression", method="predict_proba")
    yield add("LogisticRegression", method="predict_log_proba")
    yield add("KMeans", method="transform")
    yield add("LinearDiscriminantAnalysis", method="transform")
    yield add("RandomForestClassifier", method="predict_proba")
    yield add("VotingClassifier", method="transform")
    yield add("VotingClassifier", label="hard", voting="hard")
    yield add("IsolationForest", method="score_samples")
    yield add("GaussianMixture", method="score_samples")
    yield add("PCA", method="score_samples")
    yield add("KNeighborsClassifier", method="kneighbors")
    yield add("RFE", method="predict")
    yield add("IsotonicRegression", "one_column", method="transform")
    yield add("PLSRegression", "several_targets", method="transform")
    yield add("LabelEncoder", "whole_labels")
    yield add("LabelBinarizer", "whole_labels")
    yield add("OrdinalEncoder", "counts")
    yield add("OneHotEncoder", "counts")
    yield add("OneHotEncoder", "categories", label="unknown ignored", handle_unknown="ignore", drop=None)
    yield add("SimpleImputer", "categories", label="most frequent", strategy="most_frequent")
    for kernel in ("linear", "poly", "sigmoid"):
        yield add("SVC", label=kernel, kernel=kernel)
        yield add("SVR", "diabetes", label=kernel, kernel=kernel)
    for encode in ("onehot", "ordinal", "onehot-dense"):
        yield add("KBinsDiscretizer", label=encode, encode=encode, quantile_method="averaged_inverted_cdf")
    for metric in ("manhattan", "chebyshev", "cosine"):
        yield add("KNeighborsClassifier", label=metric, metric=metric)


def _column_transformer(*, sparse: bool = False) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    return make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["age", "income (k)"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=sparse), ["city", "plan"]),
        ("passthrough", ["children"]),
    )


def _pipelines() -> Iterable[Recipe]:
    from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
    from sklearn.decomposition import PCA, TruncatedSVD
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
        RandomForestRegressor,
        StackingClassifier,
    )
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.feature_selection import SelectKBest
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import (
        FunctionTransformer,
        MinMaxScaler,
        OneHotEncoder,
        OrdinalEncoder,
        PolynomialFeatures,
        StandardScaler,
    )
    from sklearn.svm import SVC

    def recipe(name: str, data: str, make: Callable[[], Any], method: str | None = None) -> Recipe:
        return Recipe(name=name, make=make, data=data, method=method)

    for end in (
        LogisticRegression(max_iter=500),
        RandomForestClassifier(8, random_state=0),
        GradientBoostingClassifier(n_estimators=8, random_state=0),
        HistGradientBoostingClassifier(max_iter=10),
        SVC(),
    ):
        name = f"ColumnTransformer → {type(end).__name__}"
        yield recipe(name, "frame", lambda end=end: make_pipeline(_column_transformer(), end))
    yield recipe("ColumnTransformer over a DataFrame", "frame", _column_transformer)
    yield recipe("ColumnTransformer (sparse) over a DataFrame", "frame", lambda: _column_transformer(sparse=True))
    yield recipe(
        "ColumnTransformer of selectors → LogisticRegression",
        "frame",
        lambda: make_pipeline(
            make_column_transformer(
                (SimpleImputer(), make_column_selector(dtype_include=np.number)),
                (OrdinalEncoder(), make_column_selector(dtype_exclude=np.number)),
            ),
            StandardScaler(),
            LogisticRegression(),
        ),
    )
    yield recipe(
        "ColumnTransformer with text → LogisticRegression",
        "frame",
        lambda: make_pipeline(
            make_column_transformer((TfidfVectorizer(), "city"), (OneHotEncoder(), ["plan"])), LogisticRegression()
        ),
    )
    yield recipe(
        "ColumnTransformer passing strings on",
        "frame",
        lambda: make_column_transformer(("passthrough", ["age", "city"])),
    )
    yield recipe(
        "GridSearchCV over a ColumnTransformer",
        "frame",
        lambda: GridSearchCV(
            make_pipeline(_column_transformer(), LogisticRegression(max_iter=500)),
            {"logisticregression__C": [0.1, 1.0]},
        ),
    )
    yield recipe(
        "ColumnTransformer, method predict_proba",
        "frame",
        lambda: make_pipeline(_column_transformer(), LogisticRegression(max_iter=500)),
        "predict_proba",
    )
    for vectorizer in (CountVectorizer(), TfidfVectorizer(ngram_range=(1, 2)), TfidfVectorizer(analyzer="char")):
        for end in (MultinomialNB(), SGDClassifier(loss="log_loss", random_state=0)):
            words = f"{type(vectorizer).__name__} of {vectorizer.analyzer}s {vectorizer.ngram_range}"
            yield recipe(
                f"{words} → {type(end).__name__}", "texts", lambda v=vectorizer, end=end: make_pipeline(v, end)
            )
    yield recipe("TfidfVectorizer → TruncatedSVD", "texts", lambda: make_pipeline(TfidfVectorizer(), TruncatedSVD(2)))
    yield recipe(
        "FunctionTransformer(numpy.log1p) → Ridge",
        "positive",
        lambda: make_pipeline(FunctionTransformer(np.log1p), Ridge()),
    )
    yield recipe(
        "FeatureUnion → SelectKBest → SVC",
        "wine",
        lambda: make_pipeline(make_union(PCA(3), MinMaxScaler()), SelectKBest(k=6), SVC()),
    )
    yield recipe(
        "PolynomialFeatures → Ridge", "diabetes", lambda: make_pipeline(PolynomialFeatures(), StandardScaler(), Ridge())
    )
    yield recipe(
        "TransformedTargetRegressor(log1p)",
        "diabetes",
        lambda: TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    )
    yield recipe(
        "StackingClassifier of Pipelines",
        "wine",
        lambda: StackingClassifier(
            [("a", make_pipeline(StandardScaler(), SVC())), ("b", RandomForestClassifier(5, random_state=0))]
        ),
    )
    yield recipe(
        "MultiOutputRegressor(RandomForestRegressor)",
        "several_targets",
        lambda: MultiOutputRegressor(RandomForestRegressor(5, random_state=0)),
    )


def _build(recipe: Recipe, folder: Path) -> ZooSource:
    rows, targets = DATA[recipe.data]()
    estimator = recipe.make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = _fit(estimator, rows, targets)
    joblib.dump(fitted, folder / "model.joblib")
    options = {**recipe.options, **({"method": recipe.method} if recipe.method else {})}
    return ZooSource(source=str(folder / "model.joblib"), sample=_write_sample(recipe, rows, folder), options=options)


def _fit(estimator: Any, rows: Any, targets: Any) -> Any:
    if type(estimator).__name__ in ("LabelEncoder", "LabelBinarizer", "MultiLabelBinarizer", "FeatureHasher"):
        return estimator.fit(rows)
    return estimator.fit(rows, targets)


def _write_sample(recipe: Recipe, rows: Any, folder: Path) -> Path:
    path = folder / "rows.npy"
    if recipe.data == "frame":
        path = folder / "rows.parquet"
        rows.head(ROWS).to_parquet(path)
    elif recipe.data in ("records", "label_lists"):
        path = folder / "rows.json"
        path.write_text(json.dumps([json.dumps(row) for row in rows[:ROWS]]), encoding="utf-8")
    elif recipe.data in ("texts", "words", "categories"):
        path = folder / "rows.json"
        path.write_text(json.dumps(np.asarray(rows[:ROWS]).tolist()), encoding="utf-8")
    else:
        np.save(path, rows[:ROWS])
    return path


def recipes() -> list[Recipe]:
    """Every recipe, in an order that never changes."""
    return [*_all(), *_more(), *_pipelines()]


def cases() -> Iterable[ZooCase]:
    """Every estimator of scikit-learn; those that answer no new rows are in it too, and are refused."""
    for recipe in recipes():
        yield ZooCase(family=FAMILY, name=recipe.name, build=lambda folder, recipe=recipe: _build(recipe, folder))
