# SPDX-License-Identifier: Apache-2.0
"""Training code is called in a process of its own, with one row of the pipeline's inputs at a time."""

import numpy as np
import pytest

from repo_tool.errors import PipelineError
from repo_tool.workflows.pipeline_rows import Form, PipelineRows
from repo_tool.workflows.reference import MODEL_INPUT, ask_reference, find_reference

CODE = """
import numpy as np


def kinds(text, number, vector, picture):
    return {"kinds": [type(each).__name__ for each in (text, number, vector, picture)], "twice": vector * 2}


def as_text(picture: str):
    return picture + "!"


def as_document(text: dict):
    return np.float32(text["age"])


def everything(**inputs):
    return len(inputs)


def of_its_own_size(number):
    return np.ones(int(number))


def failing(number):
    return 1 / number


def dying(number):
    import os

    os._exit(3)


def reaching_out(number):
    import socket

    socket.socket()


def no_array(number):
    return {"x": object()}


def other_wires(number):
    return {f"x{int(number)}": number}


def other_inputs(table):
    return table


value = 3
"""
ROWS = PipelineRows(
    origin="rows",
    inputs={
        "text": np.array([[b'{"age": 3}'], [b'{"age": 4}']], dtype=object),
        "number": np.array([[2.0], [0.0]], dtype=np.float32),
        "vector": np.array([[1, 2], [3, 4]], dtype=np.int64),
        "picture": np.array([[b"abc"], [b"de"]], dtype=object),
    },
    forms={"text": Form.TEXT, "picture": Form.FILE},
)


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    path = tmp_path_factory.mktemp("training") / "code_of_training.py"
    path.write_text(CODE)
    return path


def asked(code, function, folder):
    folder.mkdir(exist_ok=True)
    answers = ask_reference(find_reference(f"{code}:{function}"), ROWS, folder)
    return [(start + at, row) for start, rows in answers for at, row in enumerate(rows)]


def test_each_row_comes_as_the_training_code_met_it(code, tmp_path):
    (_, first), (_, second) = asked(code, "kinds", tmp_path / "kinds")
    assert first["kinds"].tolist() == [b"str", b"float", b"ndarray", b"bytes"]
    assert (first["twice"].tolist(), second["twice"].tolist()) == ([2, 4], [6, 8])


@pytest.mark.parametrize(
    ("function", "expected"),
    [("as_text", [b"abc!", b"de!"]), ("as_document", [3.0, 4.0]), ("everything", [4, 4])],
)
def test_an_answer_without_a_name_is_the_model_s_input(code, tmp_path, function, expected):
    assert [row[MODEL_INPUT].item() for _, row in asked(code, function, tmp_path / function)] == expected


def test_rows_may_differ_in_shape(code, tmp_path):
    assert [row[MODEL_INPUT].shape for _, row in asked(code, "of_its_own_size", tmp_path / "sizes")] == [(2,), (0,)]


def test_a_file_called_like_a_module_of_python_s_own_is_not_mistaken_for_it(tmp_path):
    (tmp_path / "json.py").write_text(CODE)
    with pytest.raises(PipelineError, match="is not what Python imports as 'json'"):
        asked(tmp_path / "json.py", "kinds", tmp_path / "kinds")


def test_a_process_that_leaves_a_link_in_place_of_its_answer_has_not_answered(code, tmp_path):
    folder = tmp_path / "linked"
    folder.mkdir()
    (tmp_path / "elsewhere.json").write_text('{"wires": ["kinds"]}')
    (folder / "answer.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(PipelineError, match="died at row 0"):
        asked(code, "dying", folder)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("failing", "fails on row 1\ncause: ZeroDivisionError"),
        ("dying", "died at row 0\ncause: it ended with status 3"),
        ("reaching_out", "fails on row 0\ncause: PermissionError"),
        ("no_array", "it answers object"),
        ("other_wires", "answers other wires for row 1 than for row 0\ncause: x0 instead of x2"),
        ("other_inputs", "it takes table; the inputs are text, number, vector, picture"),
        ("value", "has int of that name"),
        ("absent", "has nothing of that name"),
    ],
)
def test_what_goes_wrong_is_told_with_the_row(code, tmp_path, function, words):
    with pytest.raises(PipelineError) as raised:
        asked(code, function, tmp_path / function)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("reference", "words"),
    [("train.py", "does not name a function"), ("absent.py:f", "no file"), ("no.such.module:f", "no Python module")],
)
def test_a_reference_that_is_not_there_is_refused(reference, words):
    with pytest.raises(PipelineError, match=words):
        find_reference(reference)


def test_its_digest_follows_the_code_and_the_name_of_the_function(code, tmp_path):
    same = tmp_path / "code_of_training.py"
    same.write_text(CODE)
    digests = [find_reference(f"{path}:{name}").digest for path, name in ((code, "failing"), (same, "failing"))]
    assert digests[0] == digests[1] != find_reference(f"{code}:kinds").digest
    same.write_text(CODE + "\n# changed\n")
    assert find_reference(f"{same}:failing").digest != digests[0]
