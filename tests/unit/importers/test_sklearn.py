# SPDX-License-Identifier: Apache-2.0
"""scikit-learn files: what is refused and how; and details of what is brought in."""

import contextlib
import pickle

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from repo_tool.errors import SampleError, SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.sklearn import SklearnImporter
from repo_tool.samples import RawSample
from support.artifacts import run_artifact

WINE, KINDS = load_wine(return_X_y=True)
CANCER, IS_BENIGN = load_breast_cancer(return_X_y=True)


def bring_in(source, folder, *, sample=None, max_opset=21, max_ir_version=10, backend=None):
    folder.mkdir(exist_ok=True)
    request = ImportRequest(source=str(source), max_opset=max_opset, max_ir_version=max_ir_version, backend=backend)
    return SklearnImporter().bring_in(request, sample, folder)


def dumped(folder, value, name="model.joblib"):
    joblib.dump(value, folder / name)
    return folder / name


def refusal(folder, value):
    with pytest.raises(SourceError) as refused:
        bring_in(dumped(folder, value), folder / "in")
    return refused.value


def test_a_pickle_of_a_dict_is_refused_with_its_keys(tmp_path):
    error = refusal(tmp_path, {"model": 1, "threshold": 0.5})
    assert "but a dict with the keys 'model', 'threshold'" in error.fact
    assert "joblib.dump(estimator" in error.next_step


@pytest.mark.parametrize("value", [np.zeros(3), "text", LogisticRegression])
def test_a_pickle_of_something_else_is_refused_by_its_type(tmp_path, value):
    error = refusal(tmp_path, value)
    assert "holds no scikit-learn estimator" in error.fact
    assert type(value).__name__ in error.fact


def test_a_pickle_of_a_class_that_is_not_here_is_refused_by_its_name(tmp_path):
    (tmp_path / "model.pkl").write_bytes(b"\x80\x02cvendor.secret\nModel\n.")
    with pytest.raises(SourceError, match=r"'model\.pkl' does not load as a pickle") as refused:
        bring_in(tmp_path / "model.pkl", tmp_path / "in")
    assert "No module named 'vendor'" in refused.value.cause


def test_a_pickle_cut_short_is_refused(tmp_path):
    source = dumped(tmp_path, LogisticRegression().fit(WINE, KINDS))
    source.write_bytes(source.read_bytes()[:300])
    with pytest.raises(SourceError, match="does not load as a pickle"):
        bring_in(source, tmp_path / "in")


def test_an_estimator_that_was_never_fitted_is_refused(tmp_path):
    assert "was never fitted" in refusal(tmp_path, make_pipeline(StandardScaler(), LogisticRegression())).fact


def test_an_estimator_that_answers_no_new_rows_is_refused(tmp_path):
    assert refusal(tmp_path, DBSCAN().fit(WINE)).cause == "it has neither predict nor transform, only fit"


def test_an_estimator_without_a_converter_is_refused_by_its_name(tmp_path):
    error = refusal(tmp_path, make_pipeline(StandardScaler(), KernelRidge()).fit(WINE, KINDS))
    assert error.fact == "sklearn.kernel_ridge.KernelRidge has no conversion to ONNX"


def test_a_step_that_does_not_convert_is_refused(tmp_path):
    error = refusal(tmp_path, make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(WINE, KINDS))
    assert "Pipeline ending in LogisticRegression does not convert to ONNX" in error.fact
    assert error.cause


def test_an_estimator_of_text_is_refused(tmp_path):
    error = refusal(tmp_path, CountVectorizer().fit(["one two", "two three"]))
    assert error.fact == "CountVectorizer does not know how many columns it takes"


def test_a_classifier_of_several_targets_is_refused(tmp_path):
    error = refusal(tmp_path, RandomForestClassifier(2).fit(WINE, np.stack([KINDS, KINDS], axis=1)))
    assert error.fact == "RandomForestClassifier predicts several targets, each with classes of its own"


def test_another_backend_is_refused(tmp_path):
    with pytest.raises(SourceError, match="not served by the backend 'fil'"):
        bring_in(dumped(tmp_path, LogisticRegression().fit(WINE, KINDS)), tmp_path / "in", backend="fil")


class Unknown(BaseEstimator):
    """An estimator that skops has never heard of."""

    def fit(self, rows, targets=None):
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows):
        return rows[:, 0]


def test_a_skops_file_with_types_that_are_not_known_to_be_safe_is_refused_by_their_names(tmp_path):
    Unknown.__module__ = "vendor.models"
    with contextlib.suppress(ImportError):
        skops.io.dump(Unknown().fit(WINE), tmp_path / "model.skops")
    with pytest.raises(SourceError, match="types that skops does not know to be safe") as refused:
        bring_in(tmp_path / "model.skops", tmp_path / "in")
    assert refused.value.cause == "vendor.models.Unknown"


def test_a_zip_that_is_no_skops_file_is_refused(tmp_path):
    (tmp_path / "model.skops").write_bytes(b"PK\x03\x04nothing more")
    with pytest.raises(SourceError, match="does not load"):
        bring_in(tmp_path / "model.skops", tmp_path / "in")


@pytest.mark.parametrize("estimator", [SVC(), SGDClassifier(random_state=0), LinearSVC(), RidgeClassifier()], ids=str)
def test_the_score_of_two_classes_is_the_estimator_s_own(tmp_path, estimator):
    pipeline = make_pipeline(StandardScaler(), estimator).fit(CANCER, IS_BENIGN)
    sample = RawSample(origin="rows", array=CANCER[:20].astype(np.float32))
    imported = bring_in(dumped(tmp_path, pipeline), tmp_path / "in", sample=sample)
    assert imported.signature.output("scores").shape == (-1, 1)
    answers = run_artifact(imported, imported.inputs)
    expected = pipeline.decision_function(CANCER[:20])
    np.testing.assert_allclose(answers["scores"][:, 0], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(answers["label"], pipeline.predict(CANCER[:20]))


@pytest.mark.parametrize(
    "estimator", [KMeans(3, random_state=0), IsolationForest(n_estimators=5, random_state=0)], ids=str
)
def test_clusters_and_outliers_have_a_label_per_row(tmp_path, estimator):
    pipeline = make_pipeline(StandardScaler(), estimator).fit(WINE)
    imported = bring_in(dumped(tmp_path, pipeline), tmp_path / "in")
    assert imported.signature.output("label").shape == (-1,)
    np.testing.assert_array_equal(run_artifact(imported, imported.inputs)["label"], imported.reference["label"])


def test_a_table_is_read_by_the_names_the_estimator_was_fitted_with(tmp_path):
    frame = pd.DataFrame(WINE[:, :3], columns=["alcohol", "acid", "ash"])
    source = dumped(tmp_path, LogisticRegression(max_iter=1000).fit(frame, KINDS))
    columns = {"ash": frame["ash"].to_numpy(), "alcohol": frame["alcohol"].to_numpy(), "acid": frame["acid"].to_numpy()}
    imported = bring_in(source, tmp_path / "in", sample=RawSample(origin="rows.csv", columns=columns))
    np.testing.assert_array_equal(imported.inputs["features"], WINE[:, :3].astype(np.float32))
    del columns["acid"]
    with pytest.raises(SampleError, match="missing: acid"):
        bring_in(source, tmp_path / "again", sample=RawSample(origin="rows.csv", columns=columns))


def test_opsets_and_ir_version_fit_an_old_release(tmp_path):
    source = dumped(tmp_path, make_pipeline(StandardScaler(), LogisticRegression()).fit(WINE, KINDS))
    model = onnx.load(bring_in(source, tmp_path / "in", max_opset=15, max_ir_version=8).artifact)
    assert model.ir_version <= 8
    assert all(entry.version <= 15 for entry in model.opset_import)
    assert len({entry.domain for entry in model.opset_import}) == len(model.opset_import)


def test_a_model_saved_by_another_release_of_scikit_learn_is_noted(tmp_path):
    source = tmp_path / "model.pkl"
    state = pickle.dumps(LogisticRegression().fit(WINE, KINDS), protocol=2)
    import sklearn

    source.write_bytes(state.replace(sklearn.__version__.encode(), b"0.1.2"[: len(sklearn.__version__)]))
    assert any("0.1.2" in note for note in bring_in(source, tmp_path / "in").notes)
