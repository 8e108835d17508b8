# SPDX-License-Identifier: Apache-2.0
"""A digest that was computed early is given for the bytes that it was computed from, and for no others."""

import os
import sys
from threading import Thread

import pytest

from repo_tool.repository.provenance import digest_of
from repo_tool.repository.settling import Settling
from support.command import environment
from support.faulty_disk import build_library, run_on_faulty_disk


def write_anew(path):
    path.write_bytes(path.read_bytes()[::-1])


def write_anew_at_the_old_time(path):
    status = path.stat()
    write_anew(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def put_another_in_its_place(path):
    status, other = path.stat(), path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "1" / "more" / "weights.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(range(256)) * 10_001)  # no whole number of blocks
    return path


@pytest.fixture
def settling():
    with Settling() as settling:
        yield settling


def test_a_folder_that_was_left_alone_is_known_and_on_the_disk(settling, weights, tmp_path):
    (tmp_path / "1" / "empty").touch()
    settling.settle(tmp_path / "1")
    settling.finish()
    assert settling.known(weights) == digest_of(weights)
    assert settling.known(tmp_path / "1" / "empty") == digest_of(tmp_path / "1" / "empty")


@pytest.mark.parametrize("change", [write_anew, write_anew_at_the_old_time, put_another_in_its_place])
def test_a_file_that_changed_is_not_known(settling, weights, change):
    settling.read(weights)
    assert settling.known(weights) == digest_of(weights)
    change(weights)
    assert settling.known(weights) is None


def test_what_changes_while_it_is_read_is_not_known_by_an_old_digest(settling, weights):
    for _ in range(3):
        settling.read(weights)
        writer = Thread(target=lambda: [write_anew(weights) for _ in range(11)])
        writer.start()
        writer.join()
        assert settling.known(weights) in (None, digest_of(weights))


def test_what_is_gone_or_no_file_is_not_known(settling, weights, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "absent", tmp_path / ("n" * 300)):
        settling.read(path)
        assert settling.known(path) is None
    settling.read(weights)
    assert settling.known(weights)
    weights.unlink()
    assert settling.known(weights) is None


def test_another_folder_takes_the_place_of_one_that_is_gone(settling, weights, tmp_path):
    settling.settle(weights.parent)
    weights.replace(tmp_path / "kept.bin")
    weights.parent.rmdir()
    settling.settle(tmp_path)
    settling.finish()
    assert settling.known(tmp_path / "kept.bin") == digest_of(tmp_path / "kept.bin")


def test_nobody_waits_for_a_file_that_nobody_wants_any_more(tmp_path):
    path = tmp_path / "huge.bin"
    path.touch()
    os.truncate(path, 1 << 42)  # holes: an hour to read
    with Settling() as settling:
        settling.read(path)


def test_a_disk_that_refuses_is_told(tmp_path):
    root, room = tmp_path.resolve() / "root", tmp_path / "room"
    room.mkdir()
    root.mkdir()
    (root / "model.onnx").write_text("weights")
    lines = (
        "import pathlib, sys",
        "from repo_tool.repository.settling import Settling",
        "with Settling() as settling:",
        "    settling.settle(pathlib.Path(sys.argv[1]))",
        "    settling.finish()",
    )
    command = [sys.executable, "-c", "\n".join(lines), root]
    library = build_library(tmp_path)
    run = run_on_faulty_disk(command, library, root=root, room=room, at=1, way="EIO", environment=environment())
    assert run.has_failed
    assert [touch.call for touch in run.touches] == ["fsync"]
    assert "OSError" in run.words
