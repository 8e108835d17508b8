# SPDX-License-Identifier: Apache-2.0
"""Which importer a source belongs to, and what is refused before anything is loaded."""

from dataclasses import dataclass

import pytest

from repo_tool.errors import EnvironmentUnfitError, SourceError
from repo_tool.importers.first_bytes import Kind, is_factory, kind_of
from repo_tool.importers.registry import installed_importers, recognise


@dataclass
class Greedy:
    """An importer that takes everything."""

    framework: str
    extra: str = "none"

    def recognises(self, source):
        return True

    def bring_in(self, request, sample, folder):
        raise NotImplementedError


def file(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "framework"),
    [
        ("model.joblib", b"\x80\x04K\x01.", "sklearn"),
        ("model.joblib", b"\x1f\x8bcompressed", "sklearn"),
        ("model.PKL", b"\x80\x05K\x01.", "sklearn"),
        ("model.pt", b"\x80\x02K\x01.", "pytorch"),
        ("model.pt2", b"PK\x03\x04cut short", "pytorch"),
        ("model.keras", b"PK\x03\x04cut short", "tensorflow"),
        ("model.h5", b"\x89HDF\r\n\x1a\n", "tensorflow"),
        ("model.onnx", b"\x08\x08", "onnx"),
    ],
)
def test_a_file_is_recognised_by_name_and_first_bytes(tmp_path, name, content, framework):
    assert recognise(file(tmp_path, name, content)).framework == framework


def test_a_folder_with_saved_model_pb_is_tensorflow(tmp_path):
    file(tmp_path, "saved_model.pb", b"anything")
    assert kind_of(tmp_path) is Kind.SAVED_MODEL
    assert recognise(str(tmp_path)).framework == "tensorflow"


def test_a_factory_is_pytorch_and_needs_no_file():
    assert recognise("package.module:build").framework == "pytorch"


def test_a_file_of_a_factory_s_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file(tmp_path, "odd:name", b"x")
    assert is_factory("module:name")
    assert not is_factory("odd:name")


@pytest.mark.parametrize("framework", [None, "sklearn"])
def test_a_missing_file_is_refused(tmp_path, framework):
    with pytest.raises(SourceError, match=r"there is no file or folder .*absent\.joblib"):
        recognise(str(tmp_path / "absent.joblib"), framework)


@pytest.mark.parametrize("framework", [None, "onnx"])
def test_an_empty_file_is_refused(tmp_path, framework):
    with pytest.raises(SourceError, match=r"the file .* is empty"):
        recognise(file(tmp_path, "model.onnx", b""), framework)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"the folder .* is empty"):
        recognise(str(tmp_path))


def test_an_unknown_kind_is_refused_with_the_frameworks_to_choose_from(tmp_path):
    with pytest.raises(SourceError) as refused:
        recognise(file(tmp_path, "notes.txt", b"hello"))
    assert "ends in '.txt'" in refused.value.cause
    assert refused.value.next_step.startswith("name its framework: --framework catboost|")
    assert "|pytorch|sklearn|tensorflow" in refused.value.next_step


def test_a_pickle_without_a_telling_name_belongs_to_nobody(tmp_path):
    source = file(tmp_path, "model.bin", b"\x80\x04K\x01.")
    with pytest.raises(SourceError, match="no kind of model that is known"):
        recognise(source)
    assert recognise(source, "sklearn").framework == "sklearn"


def test_a_folder_of_something_else_is_told_by_what_it_holds(tmp_path):
    file(tmp_path, "variables.index", b"x")
    with pytest.raises(SourceError, match=r"this one holds variables\.index"):
        recognise(str(tmp_path))


def test_an_unknown_framework_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no importer is called 'caffe'"):
        recognise(file(tmp_path, "model.onnx", b"x"), "caffe")


def test_two_importers_that_recognise_one_source_leave_the_choice_to_the_person(tmp_path):
    source = file(tmp_path, "model.bin", b"x")
    importers = {name: Greedy(framework=name) for name in ("one", "two")}
    with pytest.raises(SourceError) as refused:
        recognise(source, importers=importers)
    assert refused.value.cause == "one and two recognise it"
    assert recognise(source, "two", importers=importers) is importers["two"]


def install(folder, name, importer):
    """Metadata of a package that brings an importer, as pip would leave it."""
    package = folder / f"{name}-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[repo_tool.importers]\n{importer}\n")


def test_an_importer_of_another_package_enters_by_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "their_importer.py").write_text(
        "class Importer:\n"
        "    framework = 'theirs'\n"
        "    def recognises(self, source):\n"
        "        return source.endswith('.theirs')\n"
    )
    install(tmp_path, "their_package", "theirs = their_importer:Importer")
    monkeypatch.syspath_prepend(tmp_path)
    assert recognise(file(tmp_path, "model.theirs", b"x")).framework == "theirs"


def test_two_packages_with_importers_of_one_name_are_refused(tmp_path, monkeypatch):
    install(tmp_path, "usurper", "onnx = elsewhere:Importer")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentUnfitError, match="two installed packages bring an importer called 'onnx'"):
        installed_importers()


def test_an_importer_that_does_not_load_is_named(tmp_path, monkeypatch):
    install(tmp_path, "broken", "theirs = nowhere_at_all:Importer")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentUnfitError, match="the importer 'theirs' does not load"):
        installed_importers()
