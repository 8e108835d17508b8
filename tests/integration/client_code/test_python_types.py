# SPDX-License-Identifier: Apache-2.0
"""What type checkers and linters say of generated code, and of right and wrong calls of it."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from repo_tool.workflows.generate_clients import GenerateRequest, generate_clients

ROOT = Path(__file__).parents[3]
HEAD = """\
from typing import Literal

import numpy as np
import numpy.typing as npt
from generated_clients import *
from repo_client import AsyncClient, Client

floats = np.ones(13, np.float32)
doubles = np.ones(13, np.float64)
whole_numbers = np.ones(13, np.int64)
pixels = np.ones((1, 8, 8), np.float32)
"""
RIGHT = """\
def right(client: Client) -> None:
    wine = Wine(client, version=1)
    result = wine.predict(measurements=floats, timeout_s=5, request_id="a")
    label: Literal["barolo", "grignolino", "barbera"] = result.probabilities_label
    cultivar: int = result.cultivar
    probabilities: npt.NDArray[np.float32] = result.probabilities
    batch = wine.predict_batch(measurements=floats.reshape(1, 13), cast="same_kind")
    cultivars: npt.NDArray[np.int64] = batch.cultivar
    result = wine.predict(measurements=np.load("rows.npy")[0], cast="same_kind")
    row: WineRow = {"measurements": floats}
    for each in wine.predict_many([row, {"measurements": floats}], max_in_flight=2):
        label = each.probabilities_label
    for each in wine.predict_many({"measurements": floats} for _ in range(3)):
        label = each.probabilities_label
    rows = (WineRow(measurements=floats) for _ in range(3))
    for each in wine.predict_many(rows, progress=True):
        label = each.probabilities_label
    word: Literal["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    word = DigitsReader(client).predict(image=b"png").label
    best: tuple[DigitsReaderLabel, ...] = DigitsReader(client).predict(image=b"png").top_labels
    Optional(client).predict(x=1.0)
    Optional(client).predict(x=1.0, weight=None)
    Optional(client).predict_many([{"x": 1.0}, {"x": 2.0, "weight": 3.0}])
    EverySingle.contract.check
    number: int = next(Countdown(client).predict(start=3)).number
    with RunningSum(client).sequence() as sequence:
        total: int = sequence.predict(value=3, last=True).total


async def right_async(client: AsyncClient) -> None:
    wine = AsyncWine(client)
    label: WineLabel = (await wine.predict(measurements=floats)).probabilities_label
    async for each in wine.predict_many([{"measurements": floats}]):
        label = each.probabilities_label
    async with AsyncRunningSum(client).sequence("id") as sequence:
        total: int = (await sequence.predict(value=3)).total


"""
# Each is one line in a function of `client` (blocking) and `other` (async).
WRONG = {
    "a misspelt input": "Wine(client).predict(measurement=floats)",
    "no input": "Wine(client).predict()",
    "an input by its place": "Wine(client).predict(floats)",
    "an input too many": "Wine(client).predict(measurements=floats, colour=floats)",
    "float64 for float32": "Wine(client).predict(measurements=doubles)",
    "float64 for float32, to be cast": 'Wine(client).predict(measurements=doubles, cast="same_kind")',
    "integers for floats": "Wine(client).predict(measurements=whole_numbers)",
    "a list for an array": "Wine(client).predict(measurements=[1.0, 2.0])",
    "a text for an array": 'Wine(client).predict(measurements="1, 2")',
    "nothing for an array": "Wine(client).predict(measurements=None)",
    "an array for a text": "DigitsReader(client).predict(image=pixels)",
    "a number for a text": "DigitsReader(client).predict(image=7)",
    "a text for a number": 'Optional(client).predict(x="1.0")',
    "a float for an integer": "Countdown(client).predict(start=1.5)",
    "a misspelt field": "Wine(client).predict(measurements=floats).probability",
    "a field of another type": "text: str = Wine(client).predict(measurements=floats).cultivar",
    "an array taken for a number": "number: float = Wine(client).predict(measurements=floats).probabilities",
    "a label that there is not": 'x: Literal["merlot"] = Wine(client).predict(measurements=floats).probabilities_label',
    "a result that is changed": "Wine(client).predict(measurements=floats).cultivar = 3",
    "an unknown option": "Wine(client).predict(measurements=floats, timeout=3)",
    "an option of another type": 'Wine(client).predict(measurements=floats, timeout_s="3")',
    "an unknown cast": 'Wine(client).predict(measurements=floats, cast="unsafe")',
    "an unknown method": "Wine(client).infer(measurements=floats)",
    "the async client in a blocking class": "Wine(other)",
    "the blocking client in an async class": "AsyncWine(client)",
    "a result that is not awaited": "AsyncWine(other).predict(measurements=floats).cultivar",
    "rows without a field": "Wine(client).predict_many([{}])",
    "rows with another field": 'Wine(client).predict_many([{"colour": floats}])',
    "rows with another type": 'Wine(client).predict_many([{"measurements": doubles}])',
    "arrays for rows": "Wine(client).predict_many([floats])",
    "a text for a limit": 'Wine(client).predict_many([{"measurements": floats}], max_in_flight="4")',
    "a row of another model": 'Wine(client).predict_many([DiabetesRow(features=floats)])',
    "a batch taken for a row": "number: int = Wine(client).predict_batch(measurements=floats).cultivar",
    "a stream taken for an answer": "Countdown(client).predict(start=3).number",
    "a batch of a sequence": "RunningSum(client).predict_batch(value=3)",
    "a class made without a client": "Wine()",
}  # fmt: skip


@pytest.fixture(scope="module")
def checked(generated, tmp_path_factory):
    """The errors of both checkers: (file, line) to messages."""
    folder = tmp_path_factory.mktemp("checked")
    (folder / "generated_clients.py").write_text(generated.path.read_text())
    (folder / "right_calls.py").write_text(f"{HEAD}\n\n{RIGHT}")
    (folder / "wrong_calls.py").write_text(f"{HEAD}\n\n{''.join(map(_wrong, range(len(WRONG))))}")
    first = HEAD.count("\n") + 2
    lines = {name: first + 4 * number + 2 for number, name in enumerate(WRONG)}
    checkers = _start_mypy(folder), _start_pyright(folder)
    reports = [checker.communicate(timeout=240)[0] for checker in checkers]
    return SimpleNamespace(lines=lines, found={"mypy": _mypy(reports[0]), "pyright": _pyright(reports[1])})


def _wrong(number):
    line = list(WRONG.values())[number]
    return f"def wrong_{number}(client: Client, other: AsyncClient) -> None:\n    {line}\n\n\n"


def _start_mypy(folder):
    options = ["--strict", "--config-file=", "--show-error-codes", f"--cache-dir={folder / 'cache'}"]
    files = ["generated_clients.py", "right_calls.py", "wrong_calls.py"]
    return subprocess.Popen(
        [sys.executable, "-m", "mypy", *options, *files],
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(ROOT / "clients")},
        stdout=subprocess.PIPE,
        text=True,
    )


def _start_pyright(folder):
    settings = {"extraPaths": [str(ROOT / "clients")], "pythonVersion": "3.11", "strict": ["generated_clients.py"]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(folder)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def _mypy(report):
    found = defaultdict(list)
    for file, line, message in re.findall(r"^(\w+\.py):(\d+): error: (.*)$", report, re.MULTILINE):
        found[file, int(line)].append(message)
    assert "Found" in report, report
    return found


def _pyright(report):
    found = defaultdict(list)
    for each in json.loads(report)["generalDiagnostics"]:
        if each["severity"] == "error":
            place = Path(each["file"]).name, each["range"]["start"]["line"] + 1
            found[place].append(each["message"])
    return found


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.parametrize("file", ["generated_clients.py", "right_calls.py"])
def test_generated_code_and_right_calls_are_clean(checked, checker, file):
    errors = {place: messages for place, messages in checked.found[checker].items() if place[0] == file}
    assert errors == {}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_flagged(checked, checker, name):
    assert checked.found[checker]["wrong_calls.py", checked.lines[name]]


def test_wrong_calls_are_flagged_for_what_is_wrong(checked):
    for checker, found in checked.found.items():
        places = {place[1] for place in found if place[0] == "wrong_calls.py"}
        assert places == set(checked.lines.values()), checker


@pytest.mark.parametrize("width", [88, 120])
def test_a_formatter_changes_nothing(generated, width):
    command = ["ruff", "format", "--isolated", "--line-length", str(width), "--diff", generated.path]
    done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_linters_find_nothing_but_the_names_and_sizes_of_the_models_themselves(generated):
    strict = "A,ANN,B,C4,COM,D,E,F,I,N,PERF,PIE,PL,PT,PTH,RET,RUF,S,SIM,SLF,T20,TID,TRY,UP,W"
    not_ours = "A002,A003,D105,N803,N815,PLR0913,E501"
    options = [
        "--isolated",
        "--select",
        strict,
        "--ignore",
        not_ours,
        "--config",
        "lint.pydocstyle.convention='google'",
    ]
    command = [sys.executable, "-m", "ruff", "check", *options, str(generated.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_same_models_give_the_same_file(generated, served_repository, tmp_path, monkeypatch):
    monkeypatch.chdir(served_repository.parent)
    again = generate_clients(GenerateRequest(repository=Path(served_repository.name)))
    assert again == generated.path.read_text()
