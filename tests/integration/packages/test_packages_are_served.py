# SPDX-License-Identifier: Apache-2.0
"""Packages of other tools, Python classes and refined models, through add-model and the real server."""

import json
import shutil
import sys

import numpy as np
import pytest

from repo_client import Client, RepoClientError
from repo_tool.errors import ParityError, SampleError, SourceError
from repo_tool.refinement.precision import Precision
from repo_tool.releases import DEFAULT_RELEASE, release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import validate
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.workflows.add_model import AddModelRequest, add_model
from repo_tool.workflows.progress import RecordedProgress
from support import package_sources
from support.importer_sources import write_linear_onnx

ONE_MORE = pytest.mark.slow(reason="one more refinement that is proven")


@pytest.fixture
def add(tmp_path):
    """Add a source as ``model`` to a repository of its own."""

    def adding(source, **options):
        request = AddModelRequest(source=str(source), name="model", repository=tmp_path / "models", **options)
        return add_model(request, RecordedProgress())

    return adding


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with the package ``shop``, in which the command is typed."""
    folder = package_sources.python_package(tmp_path / "home")
    monkeypatch.chdir(folder)
    return folder


# --- packages --------------------------------------------------------------------------------------------------------


def test_an_mlflow_model_is_served_and_held_to_its_own_rows(add, tmp_path):
    added = add(package_sources.mlflow_sklearn(tmp_path))
    assert added.published
    assert not added.imported.inputs_were_generated
    facts = json.loads(added.directory.provenance_path(1).read_text())
    assert (facts["source"], facts["sample"]["origin"]) == ("mlflow_sklearn", "the package's own example")
    assert any("MLflow model 2.20.1, run 8f61417c" in note for note in added.imported.notes)


def test_an_eager_torchserve_archive_finds_its_own_modules(add, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(elsewhere)
    path = package_sources.mar_eager(tmp_path)
    added = add(path, sample=package_sources.rows_npy(tmp_path), trusted_source=True)
    assert added.imported.backend == "onnxruntime"
    assert json.loads(added.directory.provenance_path(1).read_text())["trusted"][0] == "model.py"


def test_a_bento_in_mlflow_clothes_is_served(add, tmp_path):
    assert add(package_sources.bento_of_mlflow(tmp_path)).imported.framework == "onnx"


# --- Python classes --------------------------------------------------------------------------------------------------


def test_a_python_class_is_served_with_its_modules_and_files_and_nothing_else(add, shop):
    added = add("shop.scoring:Scorer")
    version = added.directory.version_path(1)
    code = sorted(path.relative_to(version).as_posix() for path in version.rglob("*") if path.suffix in (".py", ".txt"))
    assert code == [
        "code/shop/__init__.py",
        "code/shop/features.py",
        "code/shop/scoring.py",
        "code/shop/weights.txt",
        "model.py",
    ]
    assert (added.imported.backend, added.config.max_batch_size) == ("python", 32)
    assert added.imported.fallback_reason == "Scorer is Python code"


def test_served_elsewhere_it_needs_nothing_of_its_home_and_one_bad_request_fails_alone(add, shop):
    added = add("shop.scoring:Scorer")
    shutil.rmtree(shop / "shop")
    with EmbeddedServer(added.directory.path.parent, ServerOptions(graceful_stop_s=0)) as server:
        server.load("model")
        with Client(f"grpc://{server.grpc_url}") as client:
            model = client.model("model")
            good = {"visits": np.ones((1, 3), np.float32), "city": np.array([[b"Ulm"]], dtype=object)}
            bad = good | {"visits": np.full((1, 3), np.nan, np.float32)}
            answer = model.infer(good)
            np.testing.assert_allclose(answer["score"].ravel(), [6.0])
            assert answer["greeting"].ravel().tolist() == [b"hello Ulm"]
            with pytest.raises(RepoClientError, match="visits must be numbers"):
                model.infer(bad)
            np.testing.assert_allclose(model.infer(good)["score"].ravel(), [6.0])


def test_rows_that_depend_on_one_another_are_not_batched(add, shop):
    added = add("shop.scoring:Ranker", sample=shop / "ranks.npz")
    assert added.config.max_batch_size == 0
    assert any("changes with the other rows" in note for note in added.imported.notes)


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        ("shop.scoring:Ranker", {}, SampleError, "does not say what it takes"),
        ("shop.scoring:Silent", {"sample": "ranks.npz"}, SourceError, "answers a int"),
        ("shop.scoring:Broken", {}, SourceError, "fails when called without arguments"),
        ("shop.scoring:Nobody", {"framework": "python"}, SourceError, "has nothing called 'Nobody'"),
        ("shop.nothing:Class", {"framework": "python"}, SourceError, "no Python module 'shop.nothing'"),
        ("shop.unused:Class", {"framework": "python"}, SourceError, "cannot be imported"),
        ("shop.scoring:Scorer", {"weights": "shop/weights.txt"}, SourceError, "loads its own files"),
        ("shop.scoring:Scorer", {"backend": "onnxruntime"}, SourceError, "not served by the backend"),
    ],
)
def test_a_class_that_cannot_be_served_says_why(add, shop, source, options, error, words):
    paths = {name: shop / value if name in ("sample", "weights") else value for name, value in options.items()}
    with pytest.raises(error, match=words):
        add(source, **paths)


def test_what_the_class_imports_and_the_image_lacks_is_a_warning(add, shop):
    (shop / "shop" / "features.py").write_text(
        "import psutil\nimport shop\n\ndef squared(values):\n    return values\n"
    )
    added = add("shop.scoring:Scorer")
    findings = validate(ModelRepository(added.directory.path.parent), release=release(DEFAULT_RELEASE))
    found = [finding for finding in findings if finding.code == "REL104"]
    assert [(each.line, each.message) for each in found] == [(1, "it imports 'psutil', which the image does not have")]


# --- smaller and faster ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A trained perceptron and rows."""
    return package_sources.digits_mlp(tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize(
    ("options", "at_most"),
    [
        pytest.param({"precision": Precision.FP16}, 0.75, id="fp16", marks=ONE_MORE),
        pytest.param({"precision": Precision.INT8}, 0.5, id="int8"),
        pytest.param({"precision": Precision.INT8, "optimize": True}, 0.5, id="int8 and optimised", marks=ONE_MORE),
        pytest.param({"optimize": True}, 1.1, id="optimised", marks=ONE_MORE),
    ],
)
def test_a_refined_model_is_smaller_and_as_good_as_allowed(add, digits, options, at_most):
    added = add(digits[0], sample=digits[1], **options)
    refined = added.refined
    assert refined.after.size < at_most * refined.before.size
    published = added.directory.version_path(1)
    assert refined.after.size == (published / "model.onnx").stat().st_size
    facts = json.loads(added.directory.provenance_path(1).read_text())
    assert facts["refinement"]["after"]["size"] == refined.after.size
    assert (facts["tolerance"]["scale"] > 0) == ("precision" in options)


def test_without_rows_int8_is_dynamic_and_rows_of_several_requests_are_kept_apart(add, digits):
    added = add(digits[0], precision=Precision.INT8)
    assert "quantised at each run" in added.refined.how[0]
    assert "a row's answer depends on the rows beside it" in added.refined.how[1]
    assert added.config.max_batch_size == 0


def test_a_quantised_classifier_says_how_often_it_chooses_as_before(add, digits):
    refined = add(digits[0], sample=digits[1], precision=Precision.INT8).refined
    assert [agreement.output for agreement in refined.agreement] == ["label", "probabilities"]
    assert all(0.9 * agreement.rows <= agreement.same <= agreement.rows for agreement in refined.agreement)
    assert f"'label' chooses the same in {refined.agreement[0].same} of" in refined.words


@pytest.mark.parametrize("options", [{"optimize": True}, {"precision": Precision.INT8}], ids=["optimised", "int8"])
def test_weights_in_a_folder_of_their_own_are_replaced_too(add, tmp_path, options):
    write_linear_onnx(tmp_path / "some.onnx", external="weights/w.bin")
    added = add(tmp_path / "some.onnx", **options)
    assert not (added.directory.version_path(1) / "weights").exists()


def test_what_fails_the_gate_is_refused_with_its_figures(add, digits, tmp_path):
    with pytest.raises(ParityError, match="with precision int8 output 'probabilities' differs too much") as refused:
        add(digits[0], sample=digits[1], precision=Precision.INT8, tolerance=1e-6)
    assert "KiB →" in refused.value.cause
    assert not (tmp_path / "models").exists() or not any((tmp_path / "models").iterdir())


def test_trees_have_nothing_to_store_in_fewer_bits(add, tmp_path):
    import joblib
    from sklearn.tree import DecisionTreeClassifier

    frame, classes = package_sources.wine()
    joblib.dump(DecisionTreeClassifier(random_state=0).fit(frame.to_numpy(), classes), tmp_path / "tree.joblib")
    for precision in Precision:
        with pytest.raises(SourceError, match="would change nothing in this model"):
            add(tmp_path / "tree.joblib", precision=precision)


def test_what_is_not_onnx_is_not_refined(add, shop):
    with pytest.raises(SourceError, match="precision fp16 is for ONNX models") as refused:
        add("shop.scoring:Scorer", precision=Precision.FP16)
    assert refused.value.cause == "Scorer is Python code"
    assert "shop" not in sys.modules  # nothing of a person's is imported here
