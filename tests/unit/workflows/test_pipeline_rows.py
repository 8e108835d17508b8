# SPDX-License-Identifier: Apache-2.0
"""The rows of a pipeline's sample, from whatever people keep them in."""

import json

import numpy as np
import pytest

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError
from repo_tool.pipelines.wire import Wire
from repo_tool.workflows.pipeline_rows import Form, read_pipeline_rows

BYTES = {"raw": Wire(DataType.BYTES, (1,))}
TABLE = {"age": Wire(DataType.FP32, (1,)), "city": Wire(DataType.BYTES, (1,))}


def values(rows, name="raw"):
    return rows.inputs[name][:, 0].tolist()


@pytest.mark.parametrize(
    ("file", "content", "expected", "form"),
    [
        ("a.png", b"\x89PNG", [b"\x89PNG"], Form.FILE),
        ("a.wav", b"RIFF", [b"RIFF"], Form.FILE),
        ("a.txt", b"one\n\ntwo\n", [b"one", b"two"], Form.TEXT),
        ("a.jsonl", b'{"x": 1}\n{"x": 2}\n', [b'{"x": 1}', b'{"x": 2}'], Form.DOCUMENT),
        ("a.json", b'[{"x": 1, "y": null}, {"x": 2}]', [b'{"x": 1, "y": null}', b'{"x": 2}'], Form.DOCUMENT),
        ("a.json", b'["one", "two"]', [b"one", b"two"], Form.TEXT),
        ("a.json", b'[{"raw": "one"}, {"raw": "two"}]', [b"one", b"two"], Form.TEXT),
        ("a.csv", b"x,y\n1,red\n2,blue\n", [b"1,red", b"2,blue"], Form.TEXT),
        ("a.csv", b"1,2\n3,4\n", [b"1,2", b"3,4"], Form.TEXT),
        ("a.csv", b"raw\none\ntwo\n", [b"one", b"two"], Form.TEXT),
    ],
)
def test_one_input_of_bytes_takes_what_makes_a_row(tmp_path, file, content, expected, form):
    (tmp_path / file).write_bytes(content)
    rows = read_pipeline_rows(tmp_path / file, BYTES)
    assert (values(rows), rows.forms["raw"]) == (expected, form)


def test_a_folder_is_read_by_name_and_what_is_beside_its_pictures_left_out(tmp_path):
    for name in ("b.jpg", "a.png", "labels.csv", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    assert values(read_pipeline_rows(tmp_path, BYTES)) == [b"a.png", b"b.jpg"]


@pytest.mark.parametrize(("array", "form"), [(["a", "b"], Form.TEXT), ([b"a", b"b"], Form.FILE)])
def test_npz_tells_text_from_bytes(tmp_path, array, form):
    np.savez(tmp_path / "rows.npz", raw=np.array(array))
    rows = read_pipeline_rows(tmp_path / "rows.npz", BYTES)
    assert (values(rows), rows.forms["raw"]) == ([b"a", b"b"], form)


def test_several_inputs_are_read_as_the_columns_of_a_table(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([{"age": 3, "city": "Bonn"}, {"age": None, "city": "Köln"}]))
    rows = read_pipeline_rows(tmp_path / "rows.json", TABLE)
    assert values(rows, "city") == [b"Bonn", "Köln".encode()]
    assert np.array_equal(values(rows, "age"), [3.0, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("make", "inputs", "words"),
    [
        (lambda path: path.mkdir(), BYTES, "no sample in"),
        (lambda path: path.mkdir(), TABLE, "a folder of files cannot be the rows of inputs age, city"),
        (lambda path: None, BYTES, "no sample file"),
    ],
)
def test_what_is_no_sample_is_refused(tmp_path, make, inputs, words):
    make(tmp_path / "sample")
    with pytest.raises(SampleError, match=words):
        read_pipeline_rows(tmp_path / "sample", inputs)
