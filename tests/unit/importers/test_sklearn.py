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
from sklearn.cluster import DBSCAN, Birch, KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import NMF
from sklearn.ensemble import (
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomTreesEmbedding,
    VotingClassifier,
)
from sklearn.feature_extraction.image import PatchExtractor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.manifold import SpectralEmbedding
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from repo_tool.columns import read_columns
from repo_tool.errors import SampleError, SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.sklearn import SklearnImporter
from repo_tool.samples import RawSample
from support.artifacts import run_artifact

WINE, KINDS = load_wine(return_X_y=True)
CANCER, IS_BENIGN = load_breast_cancer(return_X_y=True)


def bring_in(source, folder, *, sample=None, max_opset=21, max_ir_version=10, **options):
    folder.mkdir(exist_ok=True)
    request = ImportRequest(source=str(source), max_opset=max_opset, max_ir_version=max_ir_version, **options)
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
    with pytest.raises(SourceError, match=r"vendor\.secret\.Model") as refused:
        bring_in(tmp_path / "model.pkl", tmp_path / "in")
    assert "--trust-type vendor.secret.Model" in refused.value.next_step


def test_a_pickle_cut_short_is_refused(tmp_path):
    source = dumped(tmp_path, LogisticRegression().fit(WINE, KINDS))
    source.write_bytes(source.read_bytes()[:300])
    with pytest.raises(SourceError):
        bring_in(source, tmp_path / "in")


def test_an_estimator_that_was_never_fitted_is_refused(tmp_path):
    assert "was never fitted" in refusal(tmp_path, make_pipeline(StandardScaler(), LogisticRegression())).fact


@pytest.mark.parametrize(
    ("estimator", "cause"),
    [
        (DBSCAN(), "it labels the rows it was fitted on and has no predict for others"),
        (SpectralEmbedding(), "it places the rows it was fitted on and has no transform for others"),
        (LocalOutlierFactor(), "fitted with novelty=False it only judges the rows it was fitted on"),
    ],
    ids=str,
)
def test_an_estimator_that_answers_no_new_rows_is_refused_with_the_reason(tmp_path, estimator, cause):
    error = refusal(tmp_path, estimator.fit(WINE))
    assert type(estimator).__name__ in error.fact
    assert error.cause == cause


def rows_of(table, count=20):
    return RawSample(origin="rows", array=np.asarray(table)[:count])


def test_an_estimator_without_a_converter_is_served_by_itself_and_the_reason_names_it(tmp_path):
    pipeline = make_pipeline(StandardScaler(), KernelRidge()).fit(WINE, KINDS)
    imported = bring_in(dumped(tmp_path, pipeline), tmp_path / "in", sample=rows_of(WINE))
    assert imported.backend == "sklearn"
    assert imported.artifact.name == "model.skops"
    assert imported.fallback_reason == "skl2onnx has no converter for KernelRidge"
    assert imported.parameters == {"methods": "prediction=predict"}
    np.testing.assert_allclose(imported.reference["prediction"][:, 0], pipeline.predict(WINE[:20]), rtol=1e-4)


def test_onnx_that_is_asked_for_and_cannot_be_had_is_refused_with_the_reason(tmp_path):
    source = dumped(tmp_path, KernelRidge().fit(WINE, KINDS))
    with pytest.raises(SourceError, match="KernelRidge is not served by ONNX Runtime") as refused:
        bring_in(source, tmp_path / "in", sample=rows_of(WINE), backend="onnxruntime")
    assert refused.value.cause == "skl2onnx has no converter for KernelRidge"


def test_trees_whose_onnx_form_forgets_missing_values_are_served_by_themselves(tmp_path):
    holes = WINE.copy()
    holes[::3, :6] = np.nan
    imported = bring_in(
        dumped(tmp_path, DecisionTreeClassifier(random_state=0).fit(holes, KINDS)),
        tmp_path / "in",
        sample=rows_of(holes),
    )
    assert imported.backend == "sklearn"
    assert imported.fallback_reason


def test_thresholds_that_need_double_precision_get_it_inside_the_graph(tmp_path):
    random = np.random.default_rng(0)
    rows = (random.random((400, 2)) * 1e-3 + 1000).astype(np.float32).astype(np.float64)
    forest = GradientBoostingRegressor(n_estimators=5, random_state=0).fit(rows, random.random(400))
    imported = bring_in(dumped(tmp_path, forest), tmp_path / "in", sample=rows_of(rows, 400))
    assert imported.signature.input("features").datatype.name == "FP32"
    answers = run_artifact(imported, imported.inputs)
    np.testing.assert_allclose(answers["prediction"][:, 0], forest.predict(rows), rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "output"),
    [("predict", "label"), ("predict_proba", "probabilities"), ("decision_function", "scores")],
)
def test_a_method_chooses_what_is_served(tmp_path, method, output):
    estimator = LogisticRegression(max_iter=5000).fit(WINE, KINDS)
    imported = bring_in(dumped(tmp_path, estimator), tmp_path / "in", sample=rows_of(WINE), method=method)
    assert [tensor.name for tensor in imported.signature.outputs] == [output]
    found = run_artifact(imported, imported.inputs)[output]
    np.testing.assert_allclose(found, getattr(estimator, method)(WINE[:20]), rtol=1e-3, atol=1e-3)


def test_a_method_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(SourceError, match="no method 'transform'") as refused:
        bring_in(dumped(tmp_path, SVC().fit(WINE, KINDS)), tmp_path / "in", method="transform")
    assert refused.value.next_step == "choose with --method one of: predict, decision_function"


def test_each_of_several_targets_has_probabilities_of_its_own(tmp_path):
    targets = np.stack([KINDS, KINDS == 1], axis=1)
    forest = RandomForestClassifier(5, random_state=0).fit(WINE, targets)
    imported = bring_in(dumped(tmp_path, forest), tmp_path / "in", sample=rows_of(WINE))
    shapes = {tensor.name: tensor.shape for tensor in imported.signature.outputs}
    assert shapes == {"label": (-1, 2), "probabilities_0": (-1, 3), "probabilities_1": (-1, 2)}


def test_columns_of_a_table_are_inputs_of_their_own_and_a_missing_number_stays_one(tmp_path):
    frame = pd.DataFrame(
        {
            "age": [30.0, np.nan, 41.0, 58.0],
            "rooms (n)": [1, 2, 3, 4],
            "city": ["Łódź", "Zürich", "Łódź", ""],
            "ignored": ["a", "b", "c", "d"],
        }
    )
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer((numbers, ["age", "rooms (n)"]), (OneHotEncoder(), ["city"]))
    model = make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 0, 1])
    sample = RawSample(origin="rows.csv", columns={name: frame[name].to_numpy() for name in frame})
    imported = bring_in(dumped(tmp_path, model), tmp_path / "in", sample=sample)
    assert imported.backend == "onnxruntime"
    assert [(tensor.name, tensor.datatype.name, tensor.shape) for tensor in imported.signature.inputs] == [
        ("age", "FP32", (-1, 1)),
        ("rooms (n)", "INT64", (-1, 1)),
        ("city", "BYTES", (-1, 1)),
    ]
    assert np.isnan(imported.inputs["age"][1, 0])
    answers = run_artifact(imported, imported.inputs)
    np.testing.assert_allclose(answers["probabilities"], model.predict_proba(frame), rtol=1e-4, atol=1e-5)


def test_named_columns_without_a_sample_ask_for_one(tmp_path):
    frame = pd.DataFrame({"size": [1.0, 2.0], "city": ["a", "b"]})
    model = make_column_transformer((OneHotEncoder(), ["city"])).fit(frame)
    with pytest.raises(SampleError, match="nothing says which of them are strings") as refused:
        bring_in(dumped(tmp_path, model), tmp_path / "in")
    assert "--sample" in refused.value.next_step


def test_text_is_an_input_of_one_string_a_row_and_needs_a_sample(tmp_path):
    texts = np.array(["one two", "two three", "Three"], dtype=object)
    source = dumped(tmp_path, CountVectorizer().fit(texts))
    imported = bring_in(source, tmp_path / "in", sample=RawSample(origin="rows.json", array=texts))
    assert imported.inputs["text"].tolist() == [[b"one two"], [b"two three"], [b"Three"]]
    assert imported.reference["transformed"].tolist() == [[1, 0, 1], [0, 1, 1], [0, 1, 0]]
    with pytest.raises(SampleError, match="cannot be made up"):
        bring_in(source, tmp_path / "again")


def test_rows_that_are_not_answered_one_by_one_are_not_batched(tmp_path):
    images = np.random.default_rng(0).random((3, 6, 6))
    source = dumped(tmp_path, PatchExtractor(patch_size=(3, 3)).fit(images))
    imported = bring_in(source, tmp_path / "in", sample=RawSample(origin="images.npy", array=images))
    assert not imported.signature.can_batch
    assert imported.notes == ("batching is off: 'transformed' has 48 rows for 3",)


def test_made_up_rows_fit_estimators_that_refuse_negative_numbers(tmp_path):
    imported = bring_in(dumped(tmp_path, NMF(2, max_iter=400).fit(WINE)), tmp_path / "in")
    assert imported.inputs_were_generated
    assert (imported.inputs["features"] >= 0).all()


def test_what_skops_cannot_carry_is_kept_as_joblib_and_said(tmp_path):
    imported = bring_in(dumped(tmp_path, Birch().fit(WINE)), tmp_path / "in", sample=rows_of(WINE))
    assert imported.artifact.name == "model.joblib"
    assert "because skops cannot" in imported.notes[0]


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
    assert read_columns(imported.parameters) == {"features": ("alcohol", "acid", "ash")}
    del columns["acid"]
    with pytest.raises(SampleError, match="missing: 'acid'"):
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


@pytest.mark.parametrize(("tolerance", "in_doubles"), [(1e-4, False), (0.0, True)])
def test_an_onnx_form_is_held_to_the_tolerance_that_a_person_asks_for(tmp_path, tolerance, in_doubles):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(WINE, KINDS)
    imported = bring_in(dumped(tmp_path, model), tmp_path / "in", sample=rows_of(WINE), tolerance=tolerance)
    weights = onnx.load_model(imported.artifact).graph.initializer
    assert any(tensor.data_type == onnx.TensorProto.DOUBLE for tensor in weights) is in_doubles


@pytest.mark.parametrize(
    ("estimator", "method"),
    [
        (VotingClassifier([("line", LogisticRegression()), ("tree", DecisionTreeClassifier())], voting="soft"), None),
        (VotingClassifier([("line", LogisticRegression()), ("tree", DecisionTreeClassifier())]), None),
        (make_pipeline(KBinsDiscretizer(3, strategy="uniform"), LogisticRegression()), None),
        (KBinsDiscretizer(4, strategy="uniform"), None),
        (RandomTreesEmbedding(5, random_state=0), None),
        (make_pipeline(StandardScaler(), KMeans(3, n_init=1, random_state=0)), "transform"),
    ],
    ids=str,
)
def test_what_skl2onnx_refuses_only_for_how_it_is_handed_over_is_served_as_onnx(tmp_path, estimator, method):
    fitted = make_pipeline(StandardScaler(), estimator).fit(WINE, KINDS)
    imported = bring_in(dumped(tmp_path, fitted), tmp_path / "in", sample=rows_of(WINE), method=method)
    assert (imported.backend, imported.fallback_reason) == ("onnxruntime", "")
    found = run_artifact(imported, imported.inputs)
    for name, reference in imported.reference.items():
        np.testing.assert_allclose(found[name], reference, rtol=1e-4, atol=1e-4)


def test_a_booster_in_a_pipeline_is_served_by_itself_and_named_as_what_the_server_needs(tmp_path):
    fitted = make_pipeline(StandardScaler(), XGBClassifier(n_estimators=2, n_jobs=1)).fit(WINE, KINDS)
    imported = bring_in(dumped(tmp_path, fitted), tmp_path / "in", sample=rows_of(WINE))
    assert imported.backend == "sklearn"
    assert any("needs the Python package xgboost" in note for note in imported.notes)


@pytest.mark.parametrize("named", [False, True])
def test_numbers_that_single_precision_changes_are_taken_in_double(tmp_path, named):
    rows = pd.DataFrame({"seconds": 1.7e9 + np.arange(40.0), "size": np.linspace(0, 1, 40)})
    scaler = make_column_transformer((StandardScaler(), ["seconds", "size"])) if named else StandardScaler()
    fitted = make_pipeline(scaler, LogisticRegression()).fit(rows, rows["seconds"] % 40 > 20)
    sample = RawSample(origin="rows.csv", columns={name: rows[name].to_numpy() for name in rows})
    imported = bring_in(dumped(tmp_path, fitted), tmp_path / "in", sample=sample)
    assert {spec.datatype.wire_name for spec in imported.signature.inputs} == {"FP64"}
    assert any("inputs are FP64" in note for note in imported.notes)
    np.testing.assert_array_equal(imported.reference["label"], fitted.predict(rows))
