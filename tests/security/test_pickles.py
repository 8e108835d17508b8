# SPDX-License-Identifier: Apache-2.0
"""Malicious pickles are refused before anything in them happens; real models pass whatever wrote them."""

import collections
import functools
import pickle
import sys
import warnings

import joblib
import numpy as np
import pytest

from repo_tool.errors import RepoToolError, SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.child import import_in_child
from repo_tool.importers.guards.file_readers import refuse_file_readers
from repo_tool.importers.guards.pickles import globals_of, load_pickle
from repo_tool.samples import read_raw_sample
from support.malicious_pickles import CALLED, malicious_pickles

NAMES = sorted(malicious_pickles(""))


@pytest.mark.parametrize("name", NAMES)
def test_a_malicious_pickle_is_refused(name, tmp_path, canary):
    path = tmp_path / "model.joblib"
    path.write_bytes(malicious_pickles(canary.command)[name])
    modules = set(sys.modules)
    with pytest.raises(SourceError) as refused:
        load_pickle(path)
    assert refused.value.fact
    assert refused.value.next_step
    brought = {module.partition(".")[0] for module in set(sys.modules) - modules}
    assert not brought & {"subprocess", "runpy", "pdb", "cProfile", "webbrowser", "xgboost", "torch", "site", "timeit"}


@pytest.mark.parametrize(
    "name", [name for name in CALLED if name.partition(".")[0] in ("posix", "subprocess", "pandas")]
)
def test_a_refusal_names_what_it_would_bring_and_how_to_trust_it(name, tmp_path, canary):
    path = tmp_path / "model.pkl"
    path.write_bytes(malicious_pickles(canary.command)[f"call-{name}"])
    with pytest.raises(SourceError) as refused:
        load_pickle(path)
    assert name in refused.value.fact
    assert f"--trust-type {name}" in refused.value.next_step


def test_what_is_named_is_told_without_importing_it(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"cnowhere.at\nall\n(cnowhere.at\nelse\ntR.")
    assert globals_of(path) == ("nowhere.at.all", "nowhere.at.else")


def test_a_trusted_type_is_loaded_and_told(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps([pickle.PickleBuffer, np.arange(2)], 4))
    assert load_pickle(path, trusted_types=("pickle.PickleBuffer", "os.system"))[1] == ("pickle.PickleBuffer",)


@pytest.mark.parametrize("name", ["call-posix.system", "joblib-object-array-gzip", "array-of-terabytes"])
def test_the_whole_way_refuses_it_too(name, tmp_path, canary):
    path = tmp_path / "model.joblib"
    path.write_bytes(malicious_pickles(canary.command)[name])
    request = ImportRequest(source=str(path), framework="sklearn", max_opset=21, max_ir_version=10)
    with pytest.raises(SourceError):
        import_in_child(request, tmp_path / "in")


@pytest.mark.parametrize("save", [np.save, lambda path, value: np.savez(path, rows=value)], ids=["npy", "npz"])
def test_a_sample_of_objects_is_refused(save, tmp_path, canary):
    path = tmp_path / f"rows.{'npy' if save is np.save else 'npz'}"
    save(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(RepoToolError):
        read_raw_sample(path)


@pytest.mark.parametrize("kind", ["filename", "file"])
def test_an_estimator_that_opens_what_its_rows_name_is_refused(tmp_path, kind):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import FeatureUnion, Pipeline

    (tmp_path / "text").write_text("some words")
    reader = CountVectorizer().fit(["some words"]).set_params(input=kind)
    model = Pipeline([("parts", FeatureUnion([("words", reader)]))])
    joblib.dump(model, tmp_path / "model.joblib")
    request = ImportRequest(source=str(tmp_path / "model.joblib"), max_opset=21, max_ir_version=10)
    with pytest.raises(SourceError, match="a CountVectorizer that reads files"):
        import_in_child(request, tmp_path / "in")


class _Shelf:
    """Of no known package, and holds things where only looking at every attribute finds them."""

    def __init__(self, held):
        self.held = {"deep": held}


@pytest.mark.parametrize(
    "hide",
    [
        lambda found: np.array([None, found], dtype=object),
        lambda found: {"a": (found,)},
        lambda found: collections.deque([found]),
        _Shelf,
    ],
    ids=["array", "dictionary", "deque", "attribute"],
)
def test_an_estimator_that_opens_files_hides_nowhere(tmp_path, hide):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge

    class Own(CountVectorizer):
        pass

    holder = Ridge()
    holder.members_ = hide(Own(input="filename"))
    with pytest.raises(SourceError, match="a Own that reads files"):
        refuse_file_readers(tmp_path / "model.joblib", holder)


def test_a_distribution_of_scipys_own_is_loaded(tmp_path):
    from scipy import stats

    path = tmp_path / "model.joblib"
    joblib.dump({"normal": stats.norm(1, 2), "uniform": stats.uniform}, path)
    loaded, _ = load_pickle(path)
    assert loaded["normal"].mean() == 1
    assert loaded["uniform"].cdf(0.25) == 0.25


def test_random_generators_and_tables_are_loaded(tmp_path):
    import pandas as pd

    path, generator = tmp_path / "model.joblib", np.random.default_rng(7)
    table = pd.DataFrame({"a": [1.0, 2.0], "b": pd.Categorical(["x", "y"])}, index=pd.RangeIndex(2))
    joblib.dump([generator, np.random.RandomState(7), table, np.zeros(2, [("a", "f8"), ("b", "i4", 2)])], path)
    loaded, _ = load_pickle(path)
    assert loaded[0].random() == generator.random()
    assert loaded[1].rand() == np.random.RandomState(7).rand()
    pd.testing.assert_frame_equal(loaded[2], table)
    assert loaded[3].dtype.names == ("a", "b")


# --- what real models are made of ------------------------------------------------------------------------------------


def _linear():
    from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, svm, tree

    return (
        linear_model.LogisticRegression(), linear_model.Ridge(), linear_model.SGDClassifier(), svm.SVC(),
        svm.LinearSVR(), tree.DecisionTreeClassifier(), ensemble.RandomForestClassifier(3),
        ensemble.HistGradientBoostingClassifier(max_iter=3),
        ensemble.GradientBoostingRegressor(n_estimators=3), neighbors.KNeighborsClassifier(algorithm="kd_tree"),
        naive_bayes.GaussianNB(), neural_network.MLPClassifier((4,), max_iter=5),
    )  # fmt: skip


@functools.cache
def models():
    from sklearn import cluster, compose, decomposition, feature_selection, model_selection, pipeline, preprocessing

    rows = np.random.default_rng(0).random((60, 4))
    targets = (rows[:, 0] > 0.5).astype(int)
    more = (
        cluster.KMeans(2), decomposition.PCA(2), preprocessing.OneHotEncoder(), preprocessing.PowerTransformer(),
        preprocessing.FunctionTransformer(np.log1p), feature_selection.SelectKBest(k=2),
        pipeline.make_pipeline(preprocessing.StandardScaler(), _linear()[0]),
        compose.ColumnTransformer([("scaled", preprocessing.StandardScaler(), [0, 1])]),
        model_selection.GridSearchCV(_linear()[1], {"alpha": [0.1, 1.0]}, cv=2, scoring="r2"),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {f"{type(model).__name__}": model.fit(rows, targets) for model in (*_linear(), *more)}


MODELS = [
    "LogisticRegression",
    "Ridge",
    "SGDClassifier",
    "SVC",
    "LinearSVR",
    "DecisionTreeClassifier",
    "RandomForestClassifier",
    "HistGradientBoostingClassifier",
    "GradientBoostingRegressor",
    "KNeighborsClassifier",
    "GaussianNB",
    "MLPClassifier",
    "KMeans",
    "PCA",
    "OneHotEncoder",
    "PowerTransformer",
    "FunctionTransformer",
    "SelectKBest",
    "Pipeline",
    "ColumnTransformer",
    "GridSearchCV",
]
WRITERS = {
    **{f"pickle-{protocol}": functools.partial(pickle.dumps, protocol=protocol) for protocol in (0, 2, 4, 5)},
    **{f"joblib-{kind}": kind for kind in ("plain", "zlib", "gzip", "bz2", "xz", "lzma")},
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_is_loaded_without_asking(name, writer, tmp_path):
    path, model = tmp_path / "model.joblib", models()[name]
    if writer.startswith("pickle"):
        path.write_bytes(WRITERS[writer](model))
    else:
        joblib.dump(model, path, compress=0 if writer.endswith("plain") else (WRITERS[writer], 3))
    loaded, trusted = load_pickle(path)
    assert trusted == ()
    assert type(loaded) is type(model)
    rows = np.random.default_rng(1).random((5, 4))
    ask = "transform" if hasattr(model, "transform") else "predict"
    if name != "OneHotEncoder":
        np.testing.assert_array_equal(getattr(loaded, ask)(rows), getattr(model, ask)(rows))
