# SPDX-License-Identifier: Apache-2.0
"""What doctor says of a machine that is fit, and of one that lacks something."""

import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

from repo_tool.releases import release
from repo_tool.workflows import examined_system
from support.command import repo_tool


def examined(*arguments, **environment):
    done = repo_tool("doctor", "--json", *arguments, **environment)
    findings = json.loads(done.stdout)["findings"]
    return done.returncode, {finding["topic"]: finding for finding in findings}


def gone_process():
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_fit_machine_is_told_what_runs_on_it_and_what_is_known_of_that(tmp_path):
    code, found = examined("-r", tmp_path / "models")
    assert code == 0, found
    assert found["start"]["words"].startswith("Triton 2.51.0 starts")
    known = release("24.10").vulnerabilities
    assert f"has {len(known)}," in found["known CVEs"]["words"]
    assert "gateway" in found["known CVEs"]["next_step"]
    assert found.keys() >= {"Triton", "libraries", "Python stub", "ports", "shared memory", "limits", "kernel", "GPU"}
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_work_is_an_error_with_a_next_step(tmp_path):
    newer = tmp_path / "site" / "numpy-2.1.0.dist-info"
    newer.mkdir(parents=True)
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.1.0\n")
    code, found = examined("-r", tmp_path / "models", PYTHONPATH=str(newer.parent))
    assert (code, found["Triton"]["state"]) == (1, "error")
    assert "numpy<2" in found["Triton"]["next_step"]
    assert "start" not in found
    file = tmp_path / "file"
    file.touch()
    done = repo_tool("doctor", "-r", file)
    assert done.returncode == 1
    assert "something cannot work: 1 error" in done.stdout


def test_regions_of_servers_that_are_gone_are_counted():
    region = Path(f"/dev/shm/repo-tool-{gone_process()}-{secrets.token_hex(4)}-region")  # noqa: S108 - where a server would have it
    region.write_bytes(b"\0" * 65536)
    try:
        told = list(examined_system.examine_shared_memory())
    finally:
        region.unlink()
    assert any("of servers that are gone" in finding.words for finding in told)


def test_copies_of_models_that_killed_servers_left_are_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(examined_system, "_COPIES", tmp_path / "folder??????")
    copy = tmp_path / "folderaB3dE6"
    copy.mkdir()
    assert not any("left by" in finding.words for finding in examined_system.examine_disks(tmp_path / "models"))
    (copy / "config.pbtxt").touch()
    os.utime(copy, (1e9, 1e9))
    found = [finding for finding in examined_system.examine_disks(tmp_path / "models") if "left by" in finding.words]
    assert [finding.words.split()[0] for finding in found] == ["1"]


def test_a_taken_port_is_told_with_who_listens(monkeypatch):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        monkeypatch.setattr(examined_system, "_PORTS", {"HTTP": port})  # the usual ones may be taken by others here
        (told,) = examined_system.examine_ports()
    assert told.state == "warning"
    assert f"{port} (HTTP)" in told.words
    assert "--http-port 0" in told.next_step


def test_without_shared_memory_nothing_can_be_served(monkeypatch, tmp_path):
    monkeypatch.setattr(examined_system, "_SHARED_MEMORY", tmp_path / "nowhere")
    (told,) = examined_system.examine_shared_memory()
    assert (told.state, "tmpfs" in told.next_step) == ("error", True)
