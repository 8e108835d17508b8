# SPDX-License-Identifier: Apache-2.0
"""Repositories that go elsewhere and come back: what is sent, what is seen there meanwhile, and who is refused."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from repo_tool.errors import RepositoryError, VersionExistsError
from repo_tool.remotes.base import open_remote
from repo_tool.remotes.repository import RemoteRepository
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digest_of_bytes
from repo_tool.repository.stamps import unstamped
from repo_tool.workflows import push_models
from support.command import everything_in, repo_tool
from support.open_loop import publish_versioned

COMMITTED = Path(__file__).parents[3] / "model_repository"


mostly_folders = pytest.mark.parametrize(
    "elsewhere", ["mounted", pytest.param("bucket", marks=pytest.mark.slow(reason="as in a folder"))], indirect=True
)


def files_of(repository):
    return {name: content for name, content in everything_in(repository.path).items() if not name.endswith("/")}


def without_stamps(files):
    """Publishing stamps the configurations of repositories that were published before there were stamps."""
    return {
        name: unstamped(content.decode()) if name.endswith(".pbtxt") else content for name, content in files.items()
    }


@mostly_folders
def test_what_was_pushed_is_laid_out_as_triton_reads_it_and_comes_back_byte_by_byte(elsewhere, tmp_path):
    sent = elsewhere.push(COMMITTED)
    committed = {
        name: content
        for name, content in everything_in(COMMITTED).items()
        if not name.endswith("/") and "__pycache__" not in name
    }
    assert elsewhere.files() == committed
    assert {state for _, state in sent} == {"new"}
    again = elsewhere.push(COMMITTED)
    assert {state for _, state in again} == {"unchanged"}
    other = ModelRepository(tmp_path / "other" / "models")
    elsewhere.pull(other.path)
    assert without_stamps(files_of(other)) == without_stamps(committed)


def test_a_pipeline_comes_with_the_models_that_it_calls(mounted, tmp_path):
    mounted.push(COMMITTED, "digits_reader")
    assert {path.split("/")[0] for path in mounted.files()} == {
        "digits_reader",
        "digits_reader_model",
        "digits_reader_pre",
    }
    mounted.push(COMMITTED)
    got = mounted.pull(tmp_path / "models", "digits_reader")
    assert [model for model, _ in got] == ["digits_reader_pre", "digits_reader_model", "digits_reader"]


def test_a_further_version_is_all_that_is_sent(mounted, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    mounted.pull(tmp_path / "models")
    publish_versioned(repository, "m", 2)
    told = mounted.push(repository.path, only_tells=True)["m", "changed"]
    assert (told.versions, 1 <= told.files <= 4) == ((2,), True)
    assert "m/2/model.onnx" not in mounted.files()
    assert mounted.push(repository.path)["m", "changed"].versions == (2,)
    assert mounted.pull(tmp_path / "models")["m", "changed"].versions == (2,)
    assert files_of(ModelRepository(tmp_path / "models")) == files_of(repository)


@pytest.mark.parametrize("uploads", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_push_that_is_cut_off_changes_nothing_for_others_and_goes_on_where_it_was(
    elsewhere, repository, tmp_path, push_until_cut_off, uploads
):
    publish_versioned(repository, "m", 1)
    elsewhere.push(repository.path)
    before = files_of(repository)
    publish_versioned(repository, "m", 2)
    push_until_cut_off(elsewhere, repository, uploads)

    elsewhere.pull(tmp_path / "models")
    assert files_of(ModelRepository(tmp_path / "models")) == before
    text = elsewhere.files()["m/config.pbtxt"].decode()
    assert "specific" in text  # Triton goes on serving version 1, however much of version 2 is there
    assert "versions: [1]" in text

    arrived = elsewhere.remote.digest("models/m/2/model.onnx")
    assert elsewhere.push(repository.path)["m", "changed"].files == 5 - uploads, arrived
    assert elsewhere.files() == files_of(repository)
    elsewhere.pull(tmp_path / "models")
    assert files_of(ModelRepository(tmp_path / "models")) == files_of(repository)


def test_labels_that_are_served_are_replaced_when_all_else_is_there(mounted, repository, push_until_cut_off):
    labels = repository.model("m").path / "labels.txt"
    publish_versioned(repository, "m", 1)
    labels.write_bytes(b"yes\nno\n")
    mounted.push(repository.path)
    publish_versioned(repository, "m", 2)
    labels.write_bytes(b"no\nyes\n")
    publish_versioned(repository, "n", 1)
    push_until_cut_off(mounted, repository, 9)  # three files of each version, and what is shared, by its digest
    there = mounted.files()
    assert there["m/labels.txt"] == b"yes\nno\n"
    assert there.keys() == files_of(repository).keys() - {"n/config.pbtxt"}
    mounted.push(repository.path)
    assert mounted.files() == files_of(repository)


def test_a_first_push_that_is_cut_off_leaves_nothing_that_triton_could_load(
    mounted, repository, push_until_cut_off, tmp_path
):
    publish_versioned(repository, "m", 1)
    push_until_cut_off(mounted, repository, 3)
    assert "m/config.pbtxt" not in mounted.files()
    assert mounted.pull(tmp_path / "models") == {}


def test_who_pushes_another_model_of_the_name_waits_or_takes_over(mounted, repository, tmp_path, push_until_cut_off):
    publish_versioned(repository, "m", 1)
    push_until_cut_off(mounted, repository, 1)
    theirs = ModelRepository(tmp_path / "theirs" / "models")
    publish_versioned(theirs, "m", 1, padding_bytes=64)
    publish_versioned(theirs, "other", 1)
    assert ("other", "new") in mounted.push(theirs.path, "other")
    with pytest.raises(RepositoryError, match=r"another push of 'm'.*not finished") as refused:
        mounted.push(theirs.path)
    assert "--take-over" in refused.value.next_step
    mounted.push(theirs.path, takes_over=True)
    assert mounted.files() == files_of(theirs)


def test_a_version_of_others_is_never_replaced(mounted, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    theirs = ModelRepository(tmp_path / "theirs" / "models")
    publish_versioned(theirs, "m", 1, padding_bytes=64)
    before = mounted.files()
    for change in (mounted.push, mounted.pull):
        with pytest.raises(RepositoryError, match="version 1 of 'm' is another one"):
            change(theirs.path)
    assert mounted.files() == before


@pytest.mark.parametrize("place", ["", "..", "sub", "../.model_repository.repo-tool/staging"])
def test_a_repository_is_never_pushed_into_itself(mounted, repository, place):
    publish_versioned(repository, "m", 1)
    before = everything_in(repository.path.parent)
    with pytest.raises(RepositoryError, match="is no place of its own"):
        replace(mounted, url=str(repository.path / place)).push(repository.path, takes_over=True)
    assert everything_in(repository.path.parent) == before


def test_a_repository_with_a_journal_is_pulled_to_and_not_pushed_to(mounted, repository):
    publish_versioned(repository, "m", 2)
    publish_versioned(ModelRepository(Path(mounted.url)), "m", 1)
    before = mounted.files()
    for takes_over in (False, True):
        with pytest.raises(RepositoryError, match="somebody publishes models") as refused:
            mounted.push(repository.path, takes_over=takes_over)
    assert "repo-tool pull" in refused.value.next_step
    assert mounted.files() == before


def test_files_that_nobody_pushed_are_left_alone(mounted, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    theirs = ModelRepository(tmp_path / "theirs" / "models")
    publish_versioned(theirs, "m", 1, padding_bytes=64)
    shutil.copytree(theirs.path, mounted.url)
    before = mounted.files()
    with pytest.raises(RepositoryError, match=r"nobody has pushed '1/model.onnx' of 'm'"):
        mounted.push(repository.path)
    assert mounted.files() == before
    mounted.push(repository.path, takes_over=True)
    assert mounted.files() == files_of(repository)


def test_a_copy_that_was_made_by_other_means_is_taken_for_what_it_is(elsewhere, repository):
    publish_versioned(repository, "m", 1)
    for path, content in files_of(repository).items():
        elsewhere.remote.upload(f"models/{path}", repository.path / path, digest_of_bytes(content), lambda _: None)
    assert elsewhere.push(repository.path)["m", "new"].files == 1  # its configuration, for those who pull
    assert ("m", "unchanged") in elsewhere.push(repository.path)


def test_a_configuration_that_was_changed_there_is_not_replaced_unseen(mounted, repository):
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    mounted.remote.write("models/m/config.pbtxt", b"# by hand")
    publish_versioned(repository, "m", 2)
    with pytest.raises(RepositoryError, match=r"nobody has pushed 'config.pbtxt' of 'm'"):
        mounted.push(repository.path)
    mounted.push(repository.path, takes_over=True)
    assert mounted.files() == files_of(repository)


def test_whoever_is_behind_pulls_first(mounted, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    mounted.pull(tmp_path / "models")
    publish_versioned(repository, "m", 2)
    mounted.push(repository.path)
    with pytest.raises(RepositoryError, match="has version 2 of 'm', which is newer"):
        mounted.push(tmp_path / "models")
    shutil.rmtree(tmp_path / "models" / "m")
    publish_versioned(ModelRepository(tmp_path / "models"), "n", 1)
    assert ("n", "new") in mounted.push(tmp_path / "models")
    publish_versioned(repository, "m", 3)
    assert ("m", "ahead") in mounted.pull(repository.path)


@mostly_folders
def test_many_pushers_at_once_lose_nothing_of_one_another(elsewhere, tmp_path):
    repositories = [ModelRepository(tmp_path / str(index) / "models") for index in range(6)]
    for index, each in enumerate(repositories):
        publish_versioned(each, f"m{index}", 1)
    failed = []

    def push(each):
        try:
            elsewhere.push(each.path)
        except RepositoryError as error:
            failed.append(error)

    threads = [threading.Thread(target=push, args=(each,)) for each in repositories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    manifest = RemoteRepository(elsewhere.remote).manifest()
    assert (set(manifest.models), manifest.unfinished) == ({f"m{index}" for index in range(6)}, {})


def test_of_two_who_push_a_version_at_once_one_is_told(elsewhere, tmp_path, monkeypatch):
    ours, theirs = (ModelRepository(tmp_path / name / "models") for name in ("ours", "theirs"))
    publish_versioned(ours, "m", 1)
    publish_versioned(theirs, "m", 1, padding_bytes=64)
    sending = push_models._send

    def overtaken(run, waiting, progress):
        if run.request.repository == ours.path:
            elsewhere.push(theirs.path)
        return sending(run, waiting, progress)

    monkeypatch.setattr(push_models, "_send", overtaken)  # the moment between comparing and claiming
    with pytest.raises(RepositoryError, match="version 1 of 'm' is another one"):
        elsewhere.push(ours.path)
    assert elsewhere.files() == files_of(theirs)


@mostly_folders
def test_what_arrives_damaged_is_not_published(elsewhere, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    elsewhere.push(repository.path)
    elsewhere.remote.write("models/m/1/model.onnx", b"something else")
    with pytest.raises(RepositoryError, match=r"'1/model.onnx' of 'm' .* is not what was pushed"):
        elsewhere.pull(tmp_path / "models")
    assert not (tmp_path / "models" / "m").exists()
    elsewhere.remote.remove(["models/m/1/model.onnx"])
    with pytest.raises(RepositoryError, match="is gone"):
        elsewhere.pull(tmp_path / "models")


def test_a_version_that_is_not_as_published_is_not_sent(mounted, repository):
    publish_versioned(repository, "m", 1)
    (repository.model("m").version_path(1) / "model.onnx").write_bytes(b"torn")
    with pytest.raises(RepositoryError, match="version 1 of 'm' is not as it was published"):
        mounted.push(repository.path)
    assert RemoteRepository(mounted.remote).manifest().unfinished == {}


@mostly_folders
def test_sync_removes_what_was_pushed_and_is_no_longer_here_and_nothing_else(elsewhere, repository):
    for version in (1, 2):
        publish_versioned(repository, "m", version)
    publish_versioned(repository, "old", 1)
    elsewhere.push(repository.path)
    elsewhere.remote.write("models/m/README.txt", b"a person's")
    shutil.rmtree(repository.model("old").path)
    shutil.rmtree(repository.model("m").version_path(1))
    before = elsewhere.files()
    assert ("old", "removed") in elsewhere.push(repository.path, removes=True, only_tells=True)
    assert elsewhere.files() == before
    gone = elsewhere.push(repository.path, removes=True)
    assert (gone["old", "removed"].versions, gone["m", "removed"].versions) == ((1,), (1,))
    assert elsewhere.files() == {**files_of(repository), "m/README.txt": b"a person's"}
    assert elsewhere.push(repository.path, removes=True).keys() == {("m", "unchanged")}


@pytest.mark.parametrize("version", [1, 2])
def test_sync_leaves_what_somebody_pushed_meanwhile(mounted, repository, tmp_path, monkeypatch, version):
    publish_versioned(repository, "m", 1)
    theirs = ModelRepository(tmp_path / "theirs" / "models")
    publish_versioned(theirs, "other", 1)
    mounted.push(theirs.path)
    if version == 2:
        publish_versioned(theirs, "other", 2)
    else:
        theirs.model("other").config_path.write_text(theirs.model("other").config_path.read_text() + "# theirs\n")
    removing = push_models._remove

    def overtaken(*arguments):
        mounted.push(theirs.path)
        return removing(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(push_models, "_remove", overtaken)  # the moment between comparing and removing
        with pytest.raises(RepositoryError, match=r"'other' at .* was changed meanwhile"):
            mounted.push(repository.path, removes=True)
    assert mounted.files() == {**files_of(repository), **files_of(theirs)}
    assert ("other", "removed") in mounted.push(repository.path, removes=True)


def test_an_empty_repository_empties_another_only_when_told_so(mounted, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    (tmp_path / "empty").mkdir()
    refused = repo_tool("sync", mounted.url, "-r", tmp_path / "empty")
    assert (refused.returncode, "--allow-empty" in refused.stderr) == (2, True), refused.stderr
    assert mounted.files() == files_of(repository)
    told = repo_tool("sync", mounted.url, "-r", tmp_path / "empty", "--allow-empty")
    assert (told.returncode, mounted.files()) == (0, {}), told.stderr


def test_the_number_of_a_version_that_was_removed_comes_back_as_what_it_was(mounted, repository, tmp_path):
    for version in (1, 2):
        publish_versioned(repository, "m", version)
    mounted.push(repository.path)
    second = repository.model("m").version_path(2)
    second.rename(tmp_path / "2")
    mounted.push(repository.path, removes=True)
    publish_versioned(ModelRepository(tmp_path / "theirs"), "m", 1)
    publish_versioned(ModelRepository(tmp_path / "theirs"), "m", 2, padding_bytes=64)
    before = mounted.files()
    with pytest.raises(RepositoryError, match="version 2 of 'm' was another one"):
        mounted.push(tmp_path / "theirs", takes_over=True)
    assert mounted.files() == before
    (tmp_path / "2").rename(second)
    assert mounted.push(repository.path)["m", "changed"].versions == (2,)


def test_a_sync_that_is_cut_off_is_finished_by_the_next(mounted, repository, monkeypatch):
    publish_versioned(repository, "m", 1)
    publish_versioned(repository, "old", 1)
    mounted.push(repository.path)
    shutil.rmtree(repository.model("old").path)
    with monkeypatch.context() as patch:

        def cut_off(*_):
            raise ConnectionError("cut off")

        patch.setattr(RemoteRepository, "remove_files", cut_off)
        with pytest.raises(ConnectionError):
            mounted.push(repository.path, removes=True)
    mounted.push(repository.path, removes=True)
    assert mounted.files() == files_of(repository)
    assert RemoteRepository(mounted.remote).manifest().unfinished == {}


def push_three_versions(mounted, repository):
    for version in (1, 2, 3):
        publish_versioned(repository, "m", version)
    mounted.push(repository.path)


def test_removals_of_two_who_were_cut_off_are_all_finished(mounted, repository, monkeypatch):
    push_three_versions(mounted, repository)
    removing = RemoteRepository.remove_files
    overtaken = []

    def second_publisher(self, model, paths):
        """While the first one is about to remove version 1, another one removes version 2, and the first is killed."""
        if overtaken:
            return removing(self, model, paths)
        overtaken.append(model)
        shutil.rmtree(repository.model("m").version_path(2))
        mounted.push(repository.path, removes=True)
        raise ConnectionError("cut off")

    monkeypatch.setattr(RemoteRepository, "remove_files", second_publisher)
    shutil.rmtree(repository.model("m").version_path(1))
    with pytest.raises(ConnectionError):
        mounted.push(repository.path, removes=True)
    assert mounted.files() == files_of(repository)
    assert RemoteRepository(mounted.remote).manifest().unfinished == {}


def test_a_push_leaves_the_rest_of_a_removal_to_the_next_sync(mounted, repository, monkeypatch):
    for version in (1, 2):
        publish_versioned(repository, "m", version)
    mounted.push(repository.path)
    shutil.rmtree(repository.model("m").version_path(1))
    with monkeypatch.context() as patch:

        def cut_off(*_):
            raise ConnectionError("cut off")

        patch.setattr(RemoteRepository, "remove_files", cut_off)
        with pytest.raises(ConnectionError):
            mounted.push(repository.path, removes=True)
    publish_versioned(repository, "m", 3)
    assert mounted.push(repository.path)["m", "changed"].versions == (3,)
    assert "m/1/model.onnx" in mounted.files()
    mounted.push(repository.path, removes=True)
    assert mounted.files() == files_of(repository)


def test_who_has_removed_his_part_leaves_what_others_note_meanwhile(mounted, repository, monkeypatch):
    push_three_versions(mounted, repository)
    removing = RemoteRepository.remove_files
    calls = []

    def second_publisher(self, model, paths):
        """Once the first one has removed version 1, another one notes version 2 and is killed."""
        calls.append(list(paths))
        if len(calls) == 2:
            raise ConnectionError("cut off")
        removing(self, model, calls[-1])
        if len(calls) == 1:
            shutil.rmtree(repository.model("m").version_path(2))
            with pytest.raises(ConnectionError):
                mounted.push(repository.path, removes=True)

    monkeypatch.setattr(RemoteRepository, "remove_files", second_publisher)
    shutil.rmtree(repository.model("m").version_path(1))
    mounted.push(repository.path, removes=True)
    assert {path.split("/")[0] for path in RemoteRepository(mounted.remote).manifest().unfinished["m"].removing} == {
        "2"
    }
    mounted.push(repository.path, removes=True)
    assert mounted.files() == files_of(repository)


def test_a_changed_configuration_alone_comes_through(mounted, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    mounted.pull(tmp_path / "models")
    path = repository.model("m").config_path
    path.write_text(path.read_text() + "# slower on purpose\n")
    assert mounted.push(repository.path)["m", "changed"].versions == ()
    mounted.pull(tmp_path / "models")
    assert files_of(ModelRepository(tmp_path / "models")) == files_of(repository)


def test_labels_that_changed_come_through_without_a_further_version(mounted, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    (repository.model("m").path / "labels.txt").write_bytes(b"yes\nno\n")
    mounted.push(repository.path)
    mounted.pull(tmp_path / "models")
    (repository.model("m").path / "labels.txt").write_bytes("ja\nnein \xff\n".encode("latin-1"))
    mounted.push(repository.path)
    mounted.pull(tmp_path / "models")
    assert files_of(ModelRepository(tmp_path / "models")) == files_of(repository)


def test_a_model_that_was_removed_comes_back_as_the_version_that_it_was(mounted, repository):
    for version in (1, 2):
        publish_versioned(repository, "m", version)
    mounted.push(repository.path)
    before = files_of(repository)
    shutil.rmtree(repository.path)
    mounted.pull(repository.path)
    assert files_of(repository) == before
    shutil.rmtree(repository.path)
    with pytest.raises(VersionExistsError, match="was there once"):
        publish_versioned(repository, "m", 2, padding_bytes=64)


def test_a_pointer_that_leads_out_of_the_model_is_refused(mounted, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    pointer = ".models.repo-tool/manifest.json"
    facts = json.loads(mounted.remote.read(pointer).content)
    files = facts["models"]["m"]["files"]
    files["../../evil.txt"] = files["config.pbtxt"]
    mounted.remote.write(pointer, json.dumps(facts).encode())
    with pytest.raises(RepositoryError, match="cannot be read") as refused:
        mounted.pull(tmp_path / "models")
    assert "evil" in refused.value.cause


@pytest.mark.parametrize(
    ("model", "path"), [("m", "../../precious.txt"), ("m", "/precious.txt"), (".", "../../precious.txt"), ("..", "x")]
)
def test_a_pointer_that_has_others_files_removed_is_refused(mounted, repository, tmp_path, model, path):
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    precious = tmp_path / "mounted" / "precious.txt"
    precious.write_text("kept")
    pointer = ".models.repo-tool/manifest.json"
    facts = json.loads(mounted.remote.read(pointer).content)
    facts["unfinished"][model] = {"digest": "", "removing": [path], "by": "somebody", "at": "once"}
    mounted.remote.write(pointer, json.dumps(facts).encode())
    with pytest.raises(RepositoryError, match="cannot be read"):
        mounted.push(repository.path, removes=True)
    assert precious.exists()


def test_no_link_there_leads_a_push_out_of_its_folder(mounted, repository, tmp_path):
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    publish_versioned(ModelRepository(tmp_path / "others"), "m", 1)
    before = everything_in(tmp_path / "others")
    shutil.rmtree(Path(mounted.url, "m"))
    Path(mounted.url, "m").symlink_to(tmp_path / "others" / "m")
    shutil.rmtree(repository.model("m").path)
    publish_versioned(repository, "n", 1)
    with pytest.raises(RepositoryError, match="lies outside"):
        mounted.push(repository.path, removes=True)
    assert everything_in(tmp_path / "others") == before


@pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/", "s3://B/x", "gs://bucket/models", "/"])
def test_an_address_that_cannot_be_one_is_told(address):
    with pytest.raises(RepositoryError):
        open_remote(address)


def test_the_commands_tell_people_and_programs(repository, tmp_path):
    publish_versioned(repository, "m", 1)
    there = tmp_path / "mounted" / "models"
    foretold = repo_tool("push", there, "-r", repository.path, "--dry-run")
    assert (foretold.returncode, "1 new; nothing has been done" in foretold.stdout) == (0, True), foretold.stderr
    assert not there.exists()
    pushed = repo_tool("push", there, "m", "-r", repository.path, "--json")
    (model,) = json.loads(pushed.stdout)["models"]
    assert (model["model"], model["state"], model["versions"]) == ("m", "new", [1])
    unknown = repo_tool("pull", there, "n", "-r", tmp_path / "models")
    assert (unknown.returncode, "no model 'n'" in unknown.stderr) == (2, True)
