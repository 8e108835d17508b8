# SPDX-License-Identifier: Apache-2.0
"""XGBoost, LightGBM and CatBoost in process: exact as ONNX, and what is said where that cannot be."""

import json
import pickle
import re
import sys
from importlib import metadata
from pathlib import Path

import catboost
import joblib
import lightgbm
import numpy as np
import onnx
import pytest
import xgboost

sys.path.append(str(Path(__file__).parents[2] / "zoo"))

from boosters_zoo import cases, rows_and_targets

from repo_tool.columns import COLUMNS_PARAMETER, read_columns
from repo_tool.errors import ReleaseError, SampleError, SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.first_bytes import pickled_class
from repo_tool.importers.registry import recognise
from repo_tool.rules.artifacts import DEFAULT_FILENAMES
from repo_tool.samples import RawSample, read_raw_sample
from support.artifacts import run_artifact

CASES = {f"{case.family} {case.name}": case for case in cases()}
EXACT = (
    "XGBoost count:poisson, categories",
    "XGBoost multi:softmax",
    "XGBoost binary:hinge",
    "XGBoost dart, three classes",
    "XGBoost gblinear, three classes",
    "XGBoost missing is -999",
    "XGBoost several targets, vector leaves",
    "XGBoost survival:aft",
    "LightGBM multiclass, categories",
    "LightGBM cross_entropy_lambda, categories",
    "LightGBM random forest, three classes",
    "LightGBM sqrt",
    "LightGBM zero as missing",
    "LightGBM missing not used",
    "CatBoost Tweedie:variance_power=1.5",
    "CatBoost MultiLogloss",
    "CatBoost missing above",
    "CatBoost leaf-wise, three classes",
)


def bring_in(source, folder, *, sample=None, **options):
    folder.mkdir(exist_ok=True)
    asked = {"max_opset": 21, "max_ir_version": 10, **options}
    request = ImportRequest(source=str(source), **asked)
    return recognise(str(source), options.get("framework")).bring_in(request, sample, folder)


def bring_in_case(name, folder, **options):
    built = CASES[name].build(folder)
    sample = read_raw_sample(built.sample) if built.sample else None
    return bring_in(built.source, folder / f"in-{CASES[name].family}", sample=sample, **options)


def regressor(folder, rows=None, **settings):
    """A small LightGBM booster as a file."""
    table, targets = rows_and_targets()
    data = lightgbm.Dataset(table if rows is None else rows, targets)
    path = folder / "model.txt"
    lightgbm.train({"verbosity": -1, "num_threads": 2, **settings}, data, 3).save_model(path)
    return path


def classifier(folder):
    rows, targets = rows_and_targets()
    return xgboost.XGBClassifier(n_estimators=3, n_jobs=2).fit(rows, targets > 1)


@pytest.mark.parametrize("name", EXACT)
def test_the_graph_answers_as_the_booster_at_its_own_thresholds_and_beside_them(tmp_path, name):
    built = CASES[name].build(tmp_path)
    imported = bring_in(built.source, tmp_path / "in")
    assert imported.backend == "onnxruntime"
    assert imported.inputs_were_generated
    assert np.isnan(imported.inputs["features"]).any()
    found = run_artifact(imported, imported.inputs)
    for output, reference in imported.reference.items():
        np.testing.assert_allclose(found[output], reference, rtol=2e-5, atol=1e-5)


def test_early_stopping_is_respected_and_told(tmp_path):
    imported = bring_in_case("XGBoost early stopping", tmp_path)
    model = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_allclose(
        imported.reference["probabilities"], model.predict_proba(imported.inputs["features"]), atol=1e-6
    )
    assert "only those answer" in imported.notes[0]


def test_a_person_is_told_which_columns_take_codes_of_categories(tmp_path):
    assert bring_in_case("XGBoost DataFrame with categories", tmp_path).notes[0].endswith("trained on: 'column 5'")
    assert bring_in_case("LightGBM DataFrame with categories", tmp_path).notes[0].endswith("trained on: 'column5'")


def test_text_classes_are_the_label_and_the_labels(tmp_path):
    imported = bring_in_case("LightGBM early stopping, text classes", tmp_path)
    assert imported.labels == ("high", "low", "middle")
    model = joblib.load(tmp_path / "model.joblib")
    expected = model.predict(imported.inputs["features"])
    assert [label.decode() for label in imported.reference["label"]] == expected.tolist()


def test_a_table_is_read_by_the_names_that_the_booster_remembers(tmp_path):
    built = CASES["XGBoost reg:gamma"].build(tmp_path)
    rows, _ = rows_and_targets()
    columns = {f"column {place}": rows[:9, place] for place in reversed(range(6))}
    imported = bring_in(built.source, tmp_path / "in", sample=RawSample(origin="rows.csv", columns=columns))
    np.testing.assert_array_equal(imported.inputs["features"], rows[:9])
    assert read_columns(imported.parameters) == {"features": tuple(f"column {place}" for place in range(6))}
    del columns["column 2"]
    with pytest.raises(SampleError, match="not those that the model was trained on") as refused:
        bring_in(built.source, tmp_path / "again", sample=RawSample(origin="rows.csv", columns=columns))
    assert "column 2" in refused.value.cause


def test_opset_and_ir_version_are_those_that_old_releases_load(tmp_path):
    model = onnx.load(bring_in(regressor(tmp_path), tmp_path / "in", max_opset=16, max_ir_version=8).artifact)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 16, "ai.onnx.ml": 3}
    assert model.ir_version == 8


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("lzma", 3)], ids=str)
def test_a_pickled_wrapper_is_told_from_a_scikit_learn_one_without_loading_it(tmp_path, compress):
    joblib.dump(classifier(tmp_path), tmp_path / "model.joblib", compress=compress)
    assert recognise(str(tmp_path / "model.joblib")).framework == "xgboost"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_class_of_a_pickle_is_read_in_every_protocol(tmp_path, protocol):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(classifier(tmp_path), protocol=protocol))
    assert pickled_class(tmp_path / "model.pkl") == "xgboost.sklearn.XGBClassifier"


def test_what_onnx_cannot_say_is_served_by_the_library_and_the_reason_told(tmp_path):
    imported = bring_in_case("LightGBM linear trees", tmp_path)
    assert imported.backend == "python"
    assert "linear models" in imported.fallback_reason
    assert "TRITON_BACKENDS=boosters" in imported.notes[0]
    beside = {entry.name for entry in imported.artifact.parent.iterdir()}
    assert beside == {"model.py", "model.txt", "answers.json"}


def test_the_image_can_have_the_libraries_as_they_were_tested():
    lines = (Path(__file__).parents[3] / "deploy/triton/requirements-boosters.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins == {name: metadata.version(name) for name in ("catboost", "lightgbm", "xgboost-cpu")}


def test_what_onnx_cannot_say_is_refused_to_who_insists_on_it(tmp_path):
    with pytest.raises(SourceError, match="has no exact ONNX form") as refused:
        bring_in_case("LightGBM linear trees", tmp_path, backend="onnxruntime")
    assert "linear models" in refused.value.cause


def test_categorical_columns_of_catboost_are_inputs_of_their_own(tmp_path):
    imported = bring_in_case("CatBoost Logloss, categories", tmp_path)
    kinds = {spec.name: spec.datatype.wire_name for spec in imported.signature.inputs}
    assert kinds == {**{f"column{place}": "FP32" for place in range(5)}, "column5": "BYTES"}
    assert imported.inputs["column5"][0, 0].startswith(b"town ")


def catboost_classifier(folder, classes):
    rows, targets = rows_and_targets()
    settings = {"iterations": 5, "thread_count": 2, "verbose": False, "allow_writing_files": False}
    model = catboost.CatBoostClassifier(**settings).fit(rows, np.where(targets > 1, *classes))
    return model, folder / "model.cbm"


def test_classes_that_are_no_whole_numbers_keep_what_they_are(tmp_path):
    model, path = catboost_classifier(tmp_path, (1.5, 2.5))
    model.save_model(path)
    imported = bring_in(path, tmp_path / "in")
    assert imported.labels == ("1.5", "2.5")
    expected = model.predict(imported.inputs["features"]).ravel()
    assert [float(label) for label in imported.reference["label"]] == expected.tolist()
    np.testing.assert_array_equal(run_artifact(imported, imported.inputs)["label"], imported.reference["label"])


def test_another_backend_is_refused(tmp_path):
    with pytest.raises(SourceError, match="not served by the backend 'pytorch'"):
        bring_in(regressor(tmp_path), tmp_path / "in", backend="pytorch")


@pytest.mark.parametrize(
    ("name", "start", "framework"),
    [
        ("model.json", b'{"learner": {', "xgboost"),
        ("model.ubj", b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{L", "xgboost"),
        ("model.model", b"binf\x00\x00\x00?", "xgboost"),
        ("model.txt", b"tree\nversion=v4\nnum_class=1\n", "lightgbm"),
        ("model.cbm", b"CBM1\x00\x01", "catboost"),
    ],
)
def test_a_damaged_file_is_refused_by_its_name(tmp_path, name, start, framework):
    (tmp_path / name).write_bytes(start)
    assert recognise(str(tmp_path / name)).framework == framework
    with pytest.raises(SourceError, match=f"'{name}' (does not load|ends in the middle)"):
        bring_in(tmp_path / name, tmp_path / "in")


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_a_pickle_of_something_else_is_refused_by_its_type(tmp_path, library):
    joblib.dump({"model": 1}, tmp_path / "model.joblib")
    with pytest.raises(SourceError, match=r"holds no .* model but a builtins\.dict"):
        bring_in(tmp_path / "model.joblib", tmp_path / "in", framework=library)


@pytest.mark.parametrize("backend", [None, "python", "onnxruntime", "fil"])
def test_lightgbm_that_compares_what_single_precision_has_not_takes_double(tmp_path, backend):
    rows, _ = rows_and_targets()
    seconds = rows.astype(np.float64)
    seconds[:, 0] = 1.7e9 + np.arange(len(rows))
    path = tmp_path / "model.txt"
    data = lightgbm.Dataset(seconds, seconds[:, 0] % 60)
    lightgbm.train({"verbosity": -1, "num_threads": 2, "min_data_in_leaf": 2}, data, 3).save_model(path)
    sample = RawSample(origin="rows.npy", array=seconds[:50])
    if backend in ("onnxruntime", "fil"):
        with pytest.raises(SourceError) as refused:
            bring_in(path, tmp_path / "in", sample=sample, backend=backend)
        assert "single precision" in refused.value.cause
        return
    imported = bring_in(path, tmp_path / "in", sample=sample, backend=backend)
    assert imported.backend == "python"
    assert [spec.datatype.wire_name for spec in imported.signature.inputs] == ["FP64"]
    assert backend or "single precision" in imported.fallback_reason
    expected = lightgbm.Booster(model_file=path).predict(seconds[:50])
    np.testing.assert_allclose(imported.reference["prediction"][:, 0], expected, rtol=1e-6)


# --- for GPU servers with FIL ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "outputs"),
    [
        ("XGBoost reg:squarederror", "xgboost.json", 1),
        ("XGBoost binary:logistic", "xgboost.json", 1),
        ("XGBoost multi:softmax", "xgboost.json", 3),
        ("XGBoost dart", "xgboost.json", 1),
        ("LightGBM binary, categories", "model.txt", 1),
        ("LightGBM multiclass, categories", "model.txt", 3),
    ],
)
def test_fil_gets_its_own_file_and_tensors_and_is_called_unproven(tmp_path, name, file, outputs):
    imported = bring_in_case(name, tmp_path, backend="fil")
    assert (imported.backend, imported.artifact.name) == ("fil", file)
    assert [spec.to_dict() for spec in imported.signature.inputs] == [
        {"name": "input__0", "datatype": "FP32", "shape": [-1, 6]}
    ]
    assert imported.signature.output("output__0").shape == (-1, outputs)
    assert imported.reference["output__0"].shape == (100, outputs)
    assert file in DEFAULT_FILENAMES["fil"]
    assert "no FIL backend" in imported.unproven


@pytest.mark.parametrize(
    ("name", "release", "parameters"),
    [
        ("XGBoost binary:logistic", "26.07", {"model_type": "xgboost_json", "is_classifier": "false"}),
        ("LightGBM regression", "25.08", {"model_type": "lightgbm", "output_class": "false"}),
        (
            "XGBoost multi:softprob",
            "25.09",
            {"model_type": "xgboost_json", "is_classifier": "true", "predict_proba": "true", "threshold": "0.5"},
        ),
    ],
)
def test_fil_is_told_in_the_words_of_its_release_what_output__0_holds(tmp_path, name, release, parameters):
    told = bring_in_case(name, tmp_path, backend="fil", release=release).parameters
    assert {key: value for key, value in told.items() if key != COLUMNS_PARAMETER} == parameters


def test_fil_gets_only_the_rounds_that_early_stopping_chose_in_the_form_that_older_readers_know(tmp_path):
    imported = bring_in_case("XGBoost early stopping", tmp_path, backend="fil")
    written = xgboost.Booster(model_file=imported.artifact)
    model = joblib.load(tmp_path / "model.joblib")
    assert written.num_boosted_rounds() == model.best_iteration + 1
    assert "cats" not in json.loads(imported.artifact.read_text())["learner"]["gradient_booster"]["model"]


@pytest.mark.parametrize("name", ["XGBoost multi:softprob", "XGBoost dart, three classes", "XGBoost XGBRFClassifier"])
def test_fil_gets_one_base_score_and_what_each_class_starts_at_in_its_leaves(tmp_path, name):
    imported = bring_in_case(name, tmp_path, backend="fil")
    learner = json.loads(imported.artifact.read_text())["learner"]
    assert float(learner["learner_model_param"]["base_score"]) == 0.0
    data = xgboost.DMatrix(imported.inputs["input__0"], feature_names=learner["feature_names"] or None)
    found = xgboost.Booster(model_file=imported.artifact).predict(data)
    np.testing.assert_allclose(found, imported.reference["output__0"], atol=1e-6)


def test_fil_gets_an_objective_of_plain_sums_under_a_name_that_older_readers_know(tmp_path):
    imported = bring_in_case("XGBoost reg:absoluteerror", tmp_path, backend="fil")
    assert json.loads(imported.artifact.read_text())["learner"]["objective"]["name"] == "reg:squarederror"


def test_fil_gets_thresholds_of_lightgbm_that_single_precision_keeps(tmp_path):
    imported = bring_in_case("LightGBM LGBMRanker", tmp_path, backend="fil")
    lines = [line for line in imported.artifact.read_text().splitlines() if line.startswith("threshold=")]
    thresholds = np.array([float(word) for line in lines for word in line.removeprefix("threshold=").split()])
    assert len(thresholds) > 50
    np.testing.assert_array_equal(thresholds, thresholds.astype(np.float32))
    found = lightgbm.Booster(model_file=imported.artifact).predict(imported.inputs["input__0"])
    np.testing.assert_allclose(found, imported.reference["output__0"][:, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("XGBoost gblinear", "linear"),
        ("XGBoost missing is -999", "-999"),
        ("XGBoost binary:hinge", "binary:hinge"),
        ("XGBoost several targets", "2 values a row"),
        ("XGBoost XGBClassifier, several labels", "2 values a row"),
        ("LightGBM linear trees", "linear models"),
        ("LightGBM multiclassova, categories", "multiclassova"),
        ("LightGBM zero as missing", "zeros"),
        ("CatBoost RMSE", "Treelite"),
    ],
)
def test_fil_is_refused_what_it_does_not_serve(tmp_path, name, cause):
    with pytest.raises(SourceError, match="FIL backend does not serve this") as refused:
        bring_in_case(name, tmp_path, backend="fil")
    assert cause in refused.value.cause


def test_fil_of_an_old_release_is_refused_new_json(tmp_path):
    with pytest.raises(ReleaseError, match=r"Triton 23\.10"):
        bring_in_case("XGBoost reg:squarederror", tmp_path, backend="fil", release="23.10")


CUT = ("model.json", "model.ubj", "model.txt", "model.cbm")


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    """A small booster in each library's own format."""
    folder = tmp_path_factory.mktemp("whole")
    rows, targets = rows_and_targets()
    booster = xgboost.XGBRegressor(n_estimators=3).fit(rows, targets)
    for name in CUT[:2]:
        booster.save_model(folder / name)
    lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(rows, targets).booster_.save_model(folder / "model.txt")
    catboost.CatBoostRegressor(iterations=3, verbose=False, allow_writing_files=False).fit(rows, targets).save_model(
        str(folder / "model.cbm")
    )
    return folder


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.98])
@pytest.mark.parametrize("name", CUT)
def test_a_file_cut_in_the_middle_is_told_as_such(whole_files, tmp_path, name, share):
    """Some libraries end the process on it, and others tell where in their C++."""
    data = (whole_files / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError) as refused:
        bring_in(tmp_path / name, tmp_path / "in")
    assert "ends in the middle" in refused.value.fact or "Failed to read" in refused.value.cause
    assert "save" in refused.value.next_step
    assert not re.search(r"\[bt\]|\.cc:|\.cpp:|0x", refused.value.cause)


@pytest.mark.parametrize("name", CUT)
def test_a_whole_file_is_none_that_was_cut(whole_files, tmp_path, name):
    assert bring_in(whole_files / name, tmp_path / "in").backend == "onnxruntime"
