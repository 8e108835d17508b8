# SPDX-License-Identifier: Apache-2.0
"""perf_analyzer is fetched from the package registry once, and starts."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repo_tool.bench.install import VERSION, find_or_install
from repo_tool.errors import EnvironmentUnfitError

INSTALL = "from repo_tool.bench.install import find_or_install; print(find_or_install().version)"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("REPO_TOOL_PERF_ANALYZER", raising=False)
    return tmp_path / "repo-tool" / "perf_analyzer"


def test_two_processes_install_it_at_once(empty_cache):
    def install(_number):
        return subprocess.run([sys.executable, "-c", INSTALL], capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(install, range(2)))
    assert [(answer.stdout, answer.stderr) for answer in answers] == [(f"{VERSION}\n", "")] * 2
    assert [path.name for path in empty_cache.iterdir()] == [VERSION]  # no workplace is left behind
    facts = json.loads((empty_cache / VERSION / "install.json").read_text())
    assert facts["requirement"] == f"tritonclient=={VERSION}"


def test_without_the_registry_it_says_how_to_go_on(empty_cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(EnvironmentUnfitError, match=r"could not be fetched(.|\n)*--perf-analyzer PATH"):
        find_or_install()
    assert list(empty_cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentUnfitError, match="XDG_CACHE_HOME"):
        find_or_install()


def test_another_one_is_used_when_named(empty_cache, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\necho Perf Analyzer Version 9.9.9 >&2\n")
    mine.chmod(0o755)
    assert find_or_install(mine).version == "9.9.9"
    monkeypatch.setenv("REPO_TOOL_PERF_ANALYZER", str(mine))
    assert find_or_install().path == mine
    assert not empty_cache.exists()


@pytest.mark.parametrize("named", ["/bin/true", "/nowhere/perf_analyzer"])
def test_a_program_that_is_none_is_refused(named):
    with pytest.raises(EnvironmentUnfitError, match=named):
        find_or_install(Path(named))
