# SPDX-License-Identifier: Apache-2.0
"""The journal only grows, and what a crash or a full disk has cut off counts for nothing."""

import json
import os
import pwd
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tool.repository.journal import Entry, Journal, who
from repo_tool.repository.layout import ModelRepository

ENTRIES = st.lists(
    st.builds(
        Entry,
        action=st.sampled_from(["publish", "remove", "label"]),
        model=st.sampled_from(["m", "other"]),
        version=st.none() | st.integers(1, 9),
        details=st.dictionaries(st.text(max_size=3), st.text() | st.integers() | st.none(), max_size=2),
        who=st.text(),
    ),
    max_size=6,
)


@pytest.fixture
def journal(tmp_path):
    return Journal(ModelRepository(tmp_path / "models"))


def test_a_repository_without_a_journal_has_no_past(journal):
    assert journal.entries() == ()
    assert journal.highest_version("m") == 0
    assert not journal.path.parent.exists()


def test_an_entry_tells_who_and_when(journal):
    journal.append([Entry(action="publish", model="m", version=3, digest="sha256:a")])
    (entry,) = journal.entries()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.when)
    assert re.fullmatch(r".+@.+", entry.who)
    assert (entry.action, entry.model, entry.version, entry.digest) == ("publish", "m", 3, "sha256:a")
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_who_is_the_account_and_not_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody-else")
    assert who().partition("@")[0] in (pwd.getpwuid(os.getuid()).pw_name, f"user {os.getuid()}")


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o775])
def test_whoever_may_read_the_repository_may_read_its_journal(journal, mode):
    journal.repository.path.mkdir()
    journal.repository.path.chmod(mode)
    journal.append([Entry(action="publish", model="m", version=1)])
    assert journal.path.stat().st_mode & 0o777 == mode & 0o664


READING = """
import os, sys
from pathlib import Path
from repo_tool.errors import RepositoryError
from repo_tool.repository.journal import Journal
from repo_tool.repository.layout import ModelRepository
journal = Journal(ModelRepository(Path(sys.argv[1])))
os.setuid(65534)
print(journal.entries(), journal.entries_of("m"))
try:
    journal.highest_version("m")
except RepositoryError as error:
    print(error.fact)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_journal_that_may_not_be_read_is_left_out_and_gives_no_number():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        journal = Journal(ModelRepository(Path(name) / "models"))
        journal.append([Entry(action="publish", model="m", version=1)])
        journal.path.parent.chmod(0o755)
        command = [sys.executable, "-c", READING, journal.repository.path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines() == ["() ()", f"the journal '{journal.path}' cannot be read"], done.stderr
        assert "the journal is left out, as this user may not read it" in done.stderr


@given(entries=ENTRIES, cut=st.integers(0, 10_000), more=ENTRIES)
def test_whatever_is_cut_off_the_lines_before_stay_and_those_after_come_whole(tmp_path_factory, entries, cut, more):
    journal = Journal(ModelRepository(tmp_path_factory.mktemp("cut") / "models"))
    journal.append(entries)
    assert list(journal.entries()) == entries
    if entries:
        whole = journal.path.read_bytes()
        os.truncate(journal.path, cut % (len(whole) + 1))
        entries = entries[: journal.path.read_bytes().count(b"\n")]
    assert list(journal.entries()) == entries
    journal.append(more)
    assert list(journal.entries()) == [*entries, *more]
    assert journal.faulty_lines() == ()
    versions = [entry.version or 0 for entry in (*entries, *more) if entry.model == "m"]
    assert journal.highest_version("m") == max(versions, default=0)


def test_an_entry_is_written_once_however_often_it_is_noted(journal):
    first, second = Entry(action="publish", model="m", version=1), Entry(action="publish", model="m", version=1)
    for noted in ([first], [first, second], [second], []):
        journal.append(noted)
    assert list(journal.entries()) == [first, second]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"model": "m"}',
        *(
            json.dumps({**Entry(action="a", model="m").to_dict(), "version": odd})
            for odd in ("1", True, 0, -1, 1 << 63)
        ),
    ],
)
def test_a_line_that_is_no_entry_is_told_and_hides_no_other(journal, line):
    first, last = Entry(action="publish", model="m", version=1), Entry(action="publish", model="m", version=2)
    journal.append([first])
    with journal.path.open("a") as stream:
        stream.write(f"{line}\n")
    journal.append([last])
    assert list(journal.entries()) == list(journal.entries_of("m")) == [first, last]
    assert journal.faulty_lines() == (2,)
