# SPDX-License-Identifier: Apache-2.0
"""What is found in packages of other serving tools, without those tools and without running anything of theirs."""

import json
import os
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.packages.opening import open_package
from repo_tool.samples import read_raw_sample
from support import package_sources


def opened(source, folder, **options):
    request = ImportRequest(source=str(source), max_opset=21, max_ir_version=10, **options)
    return open_package(request, folder / "unpacked")


def flavored(folder, flavor, file, **values):
    root = package_sources.mlflow_folder(folder, flavor, values)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_bytes(b"tree\nversion=v4")
    return root


@pytest.mark.parametrize(
    ("flavor", "file", "values", "found", "framework"),
    [
        ("sklearn", "model.pkl", {"pickled_model": "model.pkl"}, "model.pkl", "sklearn"),
        ("sklearn", "m.bin", {"pickled_model": "m.bin", "serialization_format": "skops"}, "m.skops", "sklearn"),
        ("pytorch", "data/model.pth", {"model_data": "data"}, "model.pth", "pytorch"),
        ("pytorch", "data/model.pt2", {"model_data": "data"}, "model.pt2", "pytorch"),
        ("tensorflow", "data/model.keras", {"data": "data", "model_type": "keras"}, "model.keras", "tensorflow"),
        ("tensorflow", "data/model/saved_model.pb", {"data": "data"}, "model", "tensorflow"),
        ("tensorflow", "tf2model/saved_model.pb", {"saved_model_dir": "tf2model"}, "tf2model", "tensorflow"),
        ("keras", "data/model.keras", {"data": "data"}, "model.keras", "tensorflow"),
        ("onnx", "model.onnx", {"data": "model.onnx"}, "model.onnx", "onnx"),
        ("xgboost", "model.xgb", {"data": "model.xgb"}, "model.ubj", "xgboost"),
        ("lightgbm", "model.lgb", {"data": "model.lgb"}, "model.txt", "lightgbm"),
        ("catboost", "model.cb", {"data": "model.cb", "save_format": "cbm"}, "model.cbm", "catboost"),
    ],
)
def test_each_flavor_leads_to_its_frameworks_file(tmp_path, flavor, file, values, found, framework):
    inner = opened(flavored(tmp_path, flavor, file, **values), tmp_path).request
    assert (Path(inner.source).name, inner.framework) == (found, framework)
    assert Path(inner.source).exists()


def test_the_mlmodel_file_itself_may_be_named(tmp_path):
    root = flavored(tmp_path, "onnx", "model.onnx", data="model.onnx")
    assert opened(root / "MLmodel", tmp_path).request.source == str(root / "model.onnx")


def test_of_several_flavors_the_person_may_choose(tmp_path):
    root = flavored(tmp_path, "onnx", "model.onnx", data="model.onnx")
    description = yaml.safe_load((root / "MLmodel").read_text())
    description["flavors"]["sklearn"] = {"pickled_model": "model.onnx"}
    (root / "MLmodel").write_text(yaml.safe_dump(description))
    assert opened(root, tmp_path).request.framework == "onnx"
    assert opened(root, tmp_path / "again", framework="sklearn").request.framework == "sklearn"
    with pytest.raises(SourceError, match="has no flavor 'pytorch'"):
        opened(root, tmp_path / "third", framework="pytorch")


def test_the_logged_rows_become_the_sample_and_a_persons_own_come_first(tmp_path):
    root = package_sources.mlflow_sklearn(tmp_path)
    sample = opened(root, tmp_path).request.sample
    assert list(read_raw_sample(sample).columns) == list(package_sources.COLUMNS)
    own = tmp_path / "own.npy"
    assert opened(root, tmp_path / "again", sample=own).request.sample == own


def test_logged_tensors_keep_their_names(tmp_path):
    sample = read_raw_sample(opened(package_sources.mlflow_onnx(tmp_path), tmp_path).request.sample)
    assert sample.tensors["x"].shape == (2, 4)
    assert sample.tensors["x"].dtype == np.float32


def test_code_in_the_folder_waits_for_a_persons_word(tmp_path):
    root = flavored(tmp_path, "sklearn", "model.pkl", pickled_model="model.pkl", code="code")
    (root / "code").mkdir()
    (root / "code" / "mine.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(SourceError, match="brings Python code along") as refused:
        opened(root, tmp_path)
    assert "--trust-source" in refused.value.next_step
    trusting = opened(root, tmp_path / "again", trusted_source=True)
    assert (trusting.code, trusting.trusted) == (root / "code", ("the modules in code/",))


def test_a_python_function_is_refused_by_what_it_needs(tmp_path):
    with pytest.raises(SourceError, match="is a Python function only") as refused:
        opened(package_sources.mlflow_python_function(tmp_path), tmp_path)
    assert refused.value.cause == (
        "mlflow.pyfunc.model loads it inside MLflow; it uses python_model.pkl, "
        "artifacts/words.txt (its artifact 'words') and the packages torch, scikit-learn"
    )
    assert "module:Class" in refused.value.next_step


@pytest.mark.parametrize("name", ["../outside.pkl", "/etc/hostname"])
def test_a_description_may_not_point_outside_of_its_folder(tmp_path, name):
    (tmp_path / "outside.pkl").write_bytes(b"")
    root = flavored(tmp_path, "sklearn", "model.pkl", pickled_model=name)
    with pytest.raises(SourceError, match="outside of itself"):
        opened(root, tmp_path)


def test_a_description_with_objects_is_not_obeyed(tmp_path):
    root = tmp_path / "model"
    root.mkdir()
    (root / "MLmodel").write_text(f"flavors: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    with pytest.raises(SourceError, match="does not read as YAML"):
        opened(root, tmp_path)
    assert not (tmp_path / "made").exists()


BOMB = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(30))
MERGES = "\n".join(
    f"m{n}: &m{n} {{{'<<: [' + ', '.join([f'*m{n - 1}'] * 9) + ']' if n else 'x: 1'}}}" for n in range(30)
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BOMB + "\nflavors: *a29", id="aliases"),
        pytest.param(MERGES, id="merges"),
        pytest.param("flavors: &own [*own]", id="own"),
        pytest.param("[" * 10_000, id="deep", marks=pytest.mark.slow(reason="the parser takes its time to give up")),
        pytest.param("flavors: " + "9" * 10_000, id="digits"),
        pytest.param("? [a]\n: b", id="key"),
    ],
)
def test_a_description_that_unfolds_without_end_is_refused(tmp_path, text):
    root = tmp_path / "model"
    root.mkdir()
    (root / "MLmodel").write_text(text)
    with pytest.raises(SourceError):
        opened(root, tmp_path)


@pytest.mark.parametrize("kind", ["link", "folder-link", "pipe"])
@pytest.mark.parametrize("package", ["mlflow", "bentoml", "torchserve"])
def test_a_package_may_not_hold_what_leads_out_of_it(tmp_path, package, kind):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/model.pth").write_bytes(b"secret")
    if package == "mlflow":
        root = package_sources.mlflow_folder(tmp_path, "pytorch", {"model_data": "data"})
        place = root / "data/model.pth"
    elif package == "bentoml":
        root = package_sources.bento_model(tmp_path, "bentoml.sklearn")
        place = root / "saved_model.pkl"
    else:
        root = tmp_path / "net"
        (root / "MAR-INF").mkdir(parents=True)
        (root / "MAR-INF/MANIFEST.json").write_text('{"model": {"serializedFile": "data/model.pth"}}')
        place = root / "data/model.pth"
    if kind == "pipe":
        place.parent.mkdir(exist_ok=True)
        os.mkfifo(place)
    elif kind == "folder-link" and package != "bentoml":
        place.parent.symlink_to(tmp_path / "outside")
    else:
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(tmp_path / "outside/model.pth")
    with pytest.raises(SourceError, match=r"outside of itself|neither a file nor a folder"):
        opened(root, tmp_path)


def test_a_handler_is_not_read_from_elsewhere(tmp_path):
    (tmp_path / "secret.py").write_text("import secret_name")
    root = tmp_path / "net"
    (root / "MAR-INF").mkdir(parents=True)
    (root / "MAR-INF/MANIFEST.json").write_text('{"model": {"serializedFile": "m.pt", "handler": "../secret.py"}}')
    with pytest.raises(SourceError, match="outside of itself"):
        opened(root, tmp_path)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("ndarray", [[1], [1, 2]]),
        ("ndarray", {"file": [1]}),
        ("ndarray", {"inputs": {"x": [[1], 2]}}),
        ("dataframe", {"columns": ["a", "b"], "data": [[1]]}),
        ("dataframe", {"columns": 7, "data": [[1]]}),
        ("dataframe", {"columns": ["a"], "data": 7}),
    ],
)
def test_an_example_that_is_no_table_is_refused_in_words(tmp_path, kind, values):
    root = flavored(tmp_path, "onnx", "model.onnx", data="model.onnx")
    description = yaml.safe_load((root / "MLmodel").read_text())
    description["saved_input_example_info"] = {"artifact_path": "example.json", "type": kind}
    (root / "MLmodel").write_text(yaml.safe_dump(description))
    (root / "example.json").write_text(json.dumps(values))
    with pytest.raises(SourceError, match="does not read as rows"):
        opened(root, tmp_path)


def test_a_missing_file_is_named(tmp_path):
    root = package_sources.mlflow_folder(tmp_path, "sklearn", {"pickled_model": "model.pkl"})
    with pytest.raises(SourceError, match=r"lacks 'model\.pkl'"):
        opened(root, tmp_path)


# --- BentoML ---------------------------------------------------------------------------------------------------------


def test_a_bentoml_model_is_read_by_the_framework_that_saved_it(tmp_path):
    found = opened(package_sources.bento_sklearn(tmp_path), tmp_path)
    assert (Path(found.request.source).name, found.request.framework) == ("saved_model.pkl", "sklearn")
    assert found.notes == ("from the BentoML model wine:abcdef123, saved with scikit-learn 1.6.1",)


def test_a_package_in_a_package_is_opened_twice(tmp_path):
    found = opened(package_sources.bento_of_mlflow(tmp_path), tmp_path)
    assert (Path(found.request.source).name, found.request.framework) == ("model.onnx", "onnx")
    assert [note.split()[2] for note in found.notes] == ["BentoML", "onnx"]


def test_a_bento_with_several_models_asks_which(tmp_path):
    for name in ("one", "two"):
        package_sources.bento_model(tmp_path, "bentoml.sklearn", name=name)
    (tmp_path / "bento.yaml").write_text("service: service:svc\n")
    with pytest.raises(SourceError, match="holds 2 models") as refused:
        opened(tmp_path, tmp_path / "into")
    assert "one:abcdef123, two:abcdef123" in refused.value.cause


def test_a_model_of_another_bentoml_module_is_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match=r"saved by 'bentoml\.diffusers'"):
        opened(package_sources.bento_model(tmp_path, "bentoml.diffusers"), tmp_path)


# --- TorchServe ------------------------------------------------------------------------------------------------------


def test_an_archive_of_torchscript_leads_to_it_with_its_labels(tmp_path):
    found = opened(package_sources.mar_scripted(tmp_path), tmp_path)
    assert (Path(found.request.source).name, found.request.framework) == ("scripted.pt", "pytorch")
    assert found.labels == ("tench", "goldfish", "shark")
    assert "image_classifier also resizes" in found.notes[0]


def test_an_eager_archive_is_the_only_class_of_its_model_file(tmp_path):
    path = package_sources.mar_eager(tmp_path)
    with pytest.raises(SourceError, match=r"brings Python code along: model\.py"):
        opened(path, tmp_path)
    found = opened(path, tmp_path / "again", trusted_source=True)
    assert (found.request.source, found.request.weights.name) == ("model:Net", "state.pt")
    assert (found.code / "scaling.py").is_file()


def test_an_own_handler_is_refused_with_what_it_uses(tmp_path):
    with pytest.raises(SourceError, match=r"code of its own, my_handler\.py") as refused:
        opened(package_sources.mar_with_own_handler(tmp_path), tmp_path)
    assert refused.value.cause == (
        "it derives from BaseHandler; overrides preprocess, postprocess; imports PIL, io, ts"
    )


def test_an_unpacked_archive_is_one_too(tmp_path):
    with zipfile.ZipFile(package_sources.mar_scripted(tmp_path)) as archive:
        archive.extractall(tmp_path / "net")
    assert opened(tmp_path / "net", tmp_path).request.source == str(tmp_path / "net" / "scripted.pt")


@pytest.mark.parametrize("name", ["../escaped.pt", "/tmp/escaped.pt", "..\\escaped.pt"])  # noqa: S108 # in an archive
def test_a_member_may_not_leave_the_archive(tmp_path, name):
    path = package_sources.mar(tmp_path / "evil.mar", {name: b"x"}, serializedFile=name, handler="base_handler")
    with pytest.raises(SourceError, match=r"(?s)not one that a framework writes.*(outside|absolute)"):
        opened(path, tmp_path)
    assert not (tmp_path / "escaped.pt").exists()


def test_a_link_in_an_archive_is_refused(tmp_path):
    path = package_sources.mar(tmp_path / "link.mar", {}, serializedFile="model.pt", handler="base_handler")
    link = zipfile.ZipInfo("model.pt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match="is a link or a device"):
        opened(path, tmp_path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    members = {"model.pt": b"\0" * (64 << 20)}
    path = package_sources.mar(tmp_path / "bomb.mar", members, serializedFile="model.pt", handler="base_handler")
    with pytest.raises(SourceError, match="would unpack to 64 MiB"):
        opened(path, tmp_path)
    assert not (tmp_path / "unpacked" / "0" / "archive").exists()


def test_an_archive_that_readers_of_zip_files_read_differently_is_refused(tmp_path):
    members = {"model.pt": b"x"}
    path = package_sources.mar(tmp_path / "two.mar", members, serializedFile="model.pt", handler="base_handler")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("MODEL.pt", b"y")
    with pytest.raises(SourceError, match="it has two members"):
        opened(path, tmp_path)


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 cut short"])
def test_what_is_no_archive_says_so(tmp_path, content):
    path = tmp_path / "net.mar"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="does not read as a zip archive"):
        opened(path, tmp_path)


def test_anything_else_passes_as_it_is(tmp_path):
    found = opened(tmp_path / "model.onnx", tmp_path)
    assert found.request == replace(found.request, source=str(tmp_path / "model.onnx"), framework=None)
    assert (found.code, found.notes) == (None, ())
