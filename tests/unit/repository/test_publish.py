# SPDX-License-Identifier: Apache-2.0
"""A model becomes visible whole or not at all."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from repo_tool.errors import ModelNameError, RepositoryError, VersionExistsError
from repo_tool.repository.layout import ModelRepository, check_model_name
from repo_tool.repository.provenance import digest_of, read_provenance, write_provenance
from repo_tool.repository.publish import StagedModel, next_version, publish, staging
from support.command import everything_in
from support.mounts import require_own_mounts

CONFIG = 'name: "model"\nbackend: "python"\n'


def stage_model(stage, version, *, text="new"):
    directory = stage.repository.model("model")
    directory.version_path(version).mkdir(parents=True)
    (directory.version_path(version) / "model.py").write_text(text)
    directory.config_path.write_text(CONFIG + f"# {text}\n")
    directory.warmup_path.mkdir()
    (directory.warmup_path / "x").write_text(text)
    return StagedModel(directory=directory, version=version)


@pytest.fixture
def repository(tmp_path):
    return ModelRepository(tmp_path / "models")


def publish_new(repository, version, text="new"):
    with staging(repository) as stage:
        publish([stage_model(stage, version, text=text)], repository)


def test_a_new_model_appears_whole(repository):
    publish_new(repository, 1)
    assert sorted(everything_in(repository.path)) == [
        "model/",
        "model/1/",
        "model/1/model.py",
        "model/config.pbtxt",
        "model/warmup/",
        "model/warmup/x",
    ]


def test_a_further_version_replaces_the_configuration_and_keeps_the_rest(repository):
    publish_new(repository, 1, text="old")
    (repository.path / "model" / "notes.md").write_text("mine")
    publish_new(repository, 2)
    files = everything_in(repository.path / "model")
    assert files["1/model.py"] == b"old"
    assert files["2/model.py"] == b"new"
    assert files["config.pbtxt"].endswith(b"# new\n")
    assert files["warmup/x"] == b"new"
    assert files["notes.md"] == b"mine"


def test_a_version_is_published_once(repository):
    publish_new(repository, 1)
    before = everything_in(repository.path)
    with staging(repository) as stage, pytest.raises(VersionExistsError):
        publish([stage_model(stage, 1, text="other")], repository)
    assert everything_in(repository.path) == before


def test_of_many_publishers_of_one_version_one_wins(repository):
    refused, start = [], threading.Barrier(6)

    def compete(index):
        with staging(repository) as stage:
            staged = stage_model(stage, 1, text=f"{index}")
            start.wait()
            try:
                publish([staged], repository)
            except VersionExistsError as error:
                refused.append(error)

    threads = [threading.Thread(target=compete, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    assert len(list(repository.path.glob("model/*/model.py"))) == 1


def test_of_many_publishers_of_the_next_version_all_succeed(repository):
    versions, start = [], threading.Barrier(6)

    def publish_next(index):
        with staging(repository) as stage:
            staged = stage_model(stage, 1, text=f"{index}")
            start.wait()
            versions.append(publish([staged], repository, renumber=True))

    threads = [threading.Thread(target=publish_next, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]
    assert len({path.read_text() for path in repository.path.glob("model/*/model.py")}) == 6


def test_what_is_required_is_asked_of_what_others_published_meanwhile(repository):
    def refuse():
        raise RepositoryError("somebody else has that name")

    publish_new(repository, 1, text="theirs")
    before = everything_in(repository.path)
    with staging(repository) as stage, pytest.raises(RepositoryError, match="somebody else"):
        publish([stage_model(stage, 1)], repository, renumber=True, require=refuse)
    assert everything_in(repository.path) == before


def test_a_repository_that_cannot_be_written_is_refused_before_anything_is_done(repository):
    """Another mount, seen at two places of one file system, and a read-only one."""
    repository.path.mkdir()
    program = f"""
from pathlib import Path
from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import staging
try:
    with staging(ModelRepository(Path({str(repository.path)!r}))):
        print("staged")
except RepositoryError as error:
    print(error.fact)
"""
    python = shlex.join([sys.executable, "-c", program])
    folder = shlex.quote(str(repository.path))
    parent = shlex.quote(str(repository.path.parent))
    mounts = {
        f"mount --bind {folder} {folder}": "is a mount of its own",
        f"mount --bind {parent} {parent} && mount -o remount,bind,ro {parent}": "cannot be written",
    }
    require_own_mounts()
    for mount, words in mounts.items():
        script = f"{mount} && cd / && {python}"
        done = subprocess.run(["unshare", "-Urm", "bash", "-c", script], capture_output=True, text=True, check=False)
        assert words in done.stdout, done.stdout + done.stderr
    assert list(repository.path.parent.iterdir()) == [repository.path]


def test_the_staging_lies_beside_the_repository_and_goes(repository):
    repository.path.mkdir()
    with staging(repository) as stage:
        assert repository.path not in stage.path.parents
        assert stage.path.stat().st_dev == repository.path.stat().st_dev
        assert list(repository.path.iterdir()) == []
    assert not stage.path.exists()
    assert not repository.private_path.exists()


def test_the_staging_goes_when_its_block_fails(repository):
    with pytest.raises(KeyError), staging(repository) as stage:
        raise KeyError
    assert not stage.path.exists()


def test_the_next_version_is_one_more_than_the_highest(repository):
    model = repository.model("model")
    assert next_version(model) == 1
    for name in ("1", "7", "007", "0", "notes", "9x"):
        (model.path / name).mkdir(parents=True)
    assert model.versions() == (1, 7)
    assert next_version(model) == 8
    assert next_version(model, wanted=12) == 12
    with pytest.raises(VersionExistsError, match="version 3 of 'model' would lie below version 7"):
        next_version(model, wanted=3)
    with pytest.raises(VersionExistsError, match="version 7 of 'model' exists"):
        next_version(model, wanted=7)


@pytest.mark.parametrize("name", ["digits", "a", "0", "Wine-2.1_b"])
def test_names_for_a_shell(name):
    assert check_model_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a b", "a/b", "a\n", "ä", "a;b", "$a", "a'", "..", "a\x00"])
def test_names_not_for_a_shell(name):
    with pytest.raises(ModelNameError, match="is not a model name"):
        check_model_name(name)


def test_a_suggested_name_is_a_name():
    with pytest.raises(ModelNameError) as raised:
        check_model_name("my model (v2)")
    assert check_model_name(raised.value.next_step.rpartition(" ")[2])


def test_a_repository_that_is_not_there_says_so(repository):
    with pytest.raises(RepositoryError, match="no model repository at"):
        list(repository.models())


def test_provenance_reads_back(tmp_path):
    write_provenance(tmp_path / "provenance.json", {"source": "a.onnx"})
    assert read_provenance(tmp_path / "provenance.json") == {"schema": 1, "source": "a.onnx"}
    (tmp_path / "provenance.json").write_text("{")
    with pytest.raises(RepositoryError, match="no readable provenance"):
        read_provenance(tmp_path / "provenance.json")


def test_a_digest_sees_names_and_contents(tmp_path):
    def digest(**files):
        folder = tmp_path / json.dumps(files, sort_keys=True)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        return digest_of(folder)

    assert len({digest(a="1"), digest(a="2"), digest(b="1"), digest(a="1", b="1"), digest()}) == 5


def test_ctrl_c_waits_until_all_models_are_there(repository):
    """The signal comes once nobody else can publish, with other threads around."""
    with staging(repository) as stage:
        staged = []
        for name in ("one", "two"):
            directory = stage.repository.model(name)
            directory.version_path(1).mkdir(parents=True)
            directory.config_path.write_text(CONFIG)
            staged.append(StagedModel(directory=directory, version=1))
        stop = threading.Event()
        other = threading.Thread(target=stop.wait)
        other.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                publish(staged, repository, require=lambda: signal.raise_signal(signal.SIGINT))
        finally:
            stop.set()
            other.join()
    assert sorted(path.name for path in repository.path.iterdir()) == ["one", "two"]


def test_of_several_models_none_appears_when_one_cannot(repository):
    publish_new(repository, 1)
    with staging(repository) as stage:
        other = stage.repository.model("other")
        other.version_path(1).mkdir(parents=True)
        other.config_path.write_text(CONFIG)
        taken = stage_model(stage, 1)
        with pytest.raises(VersionExistsError):
            publish([StagedModel(directory=other, version=1), taken], repository)
    assert [path.name for path in repository.path.iterdir()] == ["model"]


def test_a_file_is_no_repository(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RepositoryError, match="is no folder"), staging(ModelRepository(path)):
            pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_stands_in_the_way_of_a_version_is_told_before_anything_changes(repository, tmp_path):
    """By what is there: the words of the refusal."""
    publish_new(repository, 1)
    folder = repository.path / "model"

    def refused(words):
        before = everything_in(repository.path)
        with staging(repository) as stage, pytest.raises(RepositoryError, match=words):
            publish([stage_model(stage, 2)], repository)
        assert everything_in(repository.path) == before

    shutil.rmtree(folder / "warmup")
    (folder / "warmup").write_text("a file")
    refused("warmup' is no folder of its own")
    (folder / "warmup").unlink()
    (folder / "warmup").symlink_to(tmp_path)
    refused("warmup' is no folder of its own")
    (folder / "warmup").unlink()
    (folder / "config.pbtxt").rename(tmp_path / "shared")
    (folder / "config.pbtxt").mkdir()
    refused("config.pbtxt' is no file")
    (folder / "config.pbtxt").rmdir()
    (folder / "config.pbtxt").symlink_to(tmp_path / "shared")
    refused("config.pbtxt' is a link")
    (folder / "config.pbtxt").unlink()
    (folder / "2").write_text("a file")
    refused("2' is no folder of its own")


@pytest.mark.parametrize("target", ["nowhere", "outside"])
def test_a_model_that_is_a_link_gets_no_version(repository, tmp_path, target):
    repository.path.mkdir()
    (tmp_path / "outside" / "1").mkdir(parents=True)
    (repository.path / "model").symlink_to(tmp_path / target)
    with pytest.raises(RepositoryError, match="is a link"):
        next_version(repository.model("model"))
    with staging(repository) as stage, pytest.raises(RepositoryError, match="is a link"):
        publish([stage_model(stage, 2)], repository)
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["1"]


def test_a_file_where_a_model_belongs_is_told(repository):
    repository.path.mkdir()
    (repository.path / "model").write_text("")
    with staging(repository) as stage, pytest.raises(RepositoryError, match="model' is a file"):
        publish([stage_model(stage, 1)], repository)


def test_a_further_version_leaves_times_modes_links_and_files_of_the_others(repository, tmp_path):
    publish_new(repository, 1)
    folder = repository.path / "model"
    (folder / "config.pbtxt").chmod(0o640)
    (folder / "shared").symlink_to("../../shared")
    os.utime(folder / "1", (1_000_000_000, 1_000_000_000))
    folder.chmod(0o750)
    old = (folder / "1" / "model.py").stat()
    publish_new(repository, 2)
    assert (folder / "1").stat().st_mtime == 1_000_000_000  # else Triton would load the old version anew
    assert os.path.samestat((folder / "1" / "model.py").stat(), old)
    assert (folder / "shared").readlink() == Path("../../shared")
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "config.pbtxt")] == [0o750, 0o640]


def test_a_mount_in_a_model_is_told_apart_from_a_fault(repository):
    publish_new(repository, 1)
    folder = shlex.quote(str(repository.path / "model"))
    require_own_mounts()
    program = f"""
from pathlib import Path
from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import staging, withdraw
repository = ModelRepository(Path({str(repository.path)!r}))
try:
    with staging(repository) as stage:
        withdraw(repository.model("model"), stage)
except RepositoryError as error:
    print(error.fact)
"""
    script = f"mount --bind {folder} {folder} && cd / && {shlex.join([sys.executable, '-c', program])}"
    done = subprocess.run(["unshare", "-Urm", "bash", "-c", script], capture_output=True, text=True, check=False)
    assert "is a mount of its own" in done.stdout, done.stdout + done.stderr


def test_a_staging_folder_goes_when_nobody_holds_its_lock(repository):
    """Whoever made it, and however its process is called in another container."""
    root = repository.private_path / "staging"
    for name in ("1-dead", "4000000-alive"):
        (root / name / "repository").mkdir(parents=True)
        (root / f"{name}.lock").touch()
    holder = subprocess.Popen(
        ["flock", "--exclusive", root / "4000000-alive.lock", "sh", "-c", "echo held; read end"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    with staging(repository) as stage:
        assert {path.name for path in root.iterdir() if path.is_dir()} == {"4000000-alive", stage.path.name}
    holder.communicate(b"\n")
    with staging(repository):
        pass
    assert not repository.private_path.exists()
