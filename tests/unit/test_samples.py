# SPDX-License-Identifier: Apache-2.0
"""Sample rows from every kind of file, bound to inputs, refused where they do not fit."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from pyarrow import parquet

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError
from repo_tool.samples import Sample, bind, generate, read_published_sample, read_raw_sample, write_published_sample
from repo_tool.signature import TensorSpec

FEATURES = TensorSpec(name="features", datatype=DataType.FP32, shape=(-1, 2))
ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.5]]


def write_npz(path):
    np.savez(path, features=np.array(ROWS))


def write_npy(path):
    np.save(path, np.array(ROWS))


def write_csv(path):
    path.write_text("a,b\n1,2\n3,4\n5,6.5\n")


def write_parquet(path):
    parquet.write_table(pa.table({"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.5]}), path)


def write_json(path):
    path.write_text(json.dumps([{"a": a, "b": b} for a, b in ROWS]))


WRITERS = {
    "npz": write_npz,
    "npy": write_npy,
    "csv": write_csv,
    "parquet": write_parquet,
    "json": write_json,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    WRITERS[suffix](path)
    bound = bind(read_raw_sample(path), [FEATURES])
    assert bound["features"].dtype == np.float32
    assert bound["features"].tolist() == ROWS


def test_a_table_is_read_by_column_names_where_the_model_remembers_them(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("target,b,a\n0,2,1\n1,4,3\n")
    bound = bind(read_raw_sample(path), [FEATURES], columns={"features": ["a", "b"]})
    assert bound["features"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1.5,2\n3,4\n", [[1.5, 2], [3, 4]]),
        ("1.5,1.5\n1.5,1.5\n", [[1.5, 1.5], [1.5, 1.5]]),
        ("7,8\n", [[7, 8]]),
        ("0,1\n3,4\n", [[3, 4]]),  # the names that pandas gives
        ("a,2\n3,4\n", [[3, 4]]),
        ("\ufeff5,6\r\n3,4\r\n", [[5, 6], [3, 4]]),
    ],
)
def test_a_table_without_names_loses_no_row(tmp_path, text, rows):
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode())
    assert bind(read_raw_sample(path), [FEATURES])["features"].tolist() == rows


def test_null_among_the_numbers_of_a_json_file_is_a_missing_number(tmp_path):
    (tmp_path / "rows.json").write_text('[{"age": 70, "city": "Bonn"}, {"age": null, "city": null}]')
    columns = read_raw_sample(tmp_path / "rows.json").columns
    np.testing.assert_array_equal(columns["age"], [70.0, np.nan])
    assert columns["city"].tolist() == ["Bonn", None]


def test_columns_that_are_missing_or_unknown_are_named(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,c\n1,2\n")
    with pytest.raises(SampleError) as raised:
        bind(read_raw_sample(path), [FEATURES], columns={"features": ["a", "b"]})
    assert raised.value.cause == "missing: 'b'; unknown: 'c'"


def test_too_many_columns_are_counted(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b,target\n1,2,0\n")
    with pytest.raises(SampleError, match="do not fit input 'features'") as raised:
        bind(read_raw_sample(path), [FEATURES])
    assert "3 columns" in raised.value.cause


def test_string_columns_become_bytes(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"city": "Zürich"}, {"city": ""}]))
    city = TensorSpec(name="city", datatype=DataType.BYTES, shape=(-1, 1))
    assert bind(read_raw_sample(path), [city])["city"].tolist() == [["Zürich".encode()], [b""]]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([["a", "b"]]), "<U1"),
        (np.array([[1 + 2j, 0]]), "complex128"),
        (np.ones((3, 5)), "[3, 5]"),
        (np.ones(3), "[3]"),
        (np.ones((0, 2)), "same number of rows"),
    ],
    ids=["strings", "complex", "width", "rank", "no rows"],
)
def test_what_does_not_fit_is_refused(tmp_path, array, words):
    path = tmp_path / "rows.npy"
    np.save(path, array)
    with pytest.raises(SampleError) as raised:
        bind(read_raw_sample(path), [FEATURES])
    assert words in str(raised.value)


def test_integers_must_stay_what_they_are():
    count = TensorSpec(name="count", datatype=DataType.INT8, shape=(-1, 1))
    raw = read_raw_like(np.array([[1000]]))
    with pytest.raises(SampleError, match="int64 for input 'count'"):
        bind(raw, [count])
    assert bind(read_raw_like(np.array([[100]])), [count])["count"].dtype == np.int8


def read_raw_like(array):
    from repo_tool.samples import RawSample

    return RawSample(origin="rows.npy", array=array)


def test_wrong_tensor_names_are_told_both_ways(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, pixels=np.ones((1, 2)))
    with pytest.raises(SampleError) as raised:
        bind(read_raw_sample(path), [FEATURES])
    assert "takes 'features'" in raised.value.cause
    assert "has 'pixels'" in raised.value.cause


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.npz", b"no zip"), ("rows.npy", b""), ("rows.json", b"{"), ("rows.csv", b""), ("rows.parquet", b"PAR1")],
)
def test_a_damaged_file_is_refused_in_one_message(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SampleError, match="cannot be read as"):
        read_raw_sample(tmp_path / name)


def test_a_pickle_inside_a_numpy_file_is_never_opened(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SampleError, match="cannot be read as npy"):
        read_raw_sample(path)


def test_a_file_of_another_kind_lists_the_kinds(tmp_path):
    (tmp_path / "rows.xlsx").write_bytes(b"x")
    with pytest.raises(SampleError, match="no kind of sample file") as raised:
        read_raw_sample(tmp_path / "rows.xlsx")
    assert ".parquet" in raised.value.next_step


def test_generated_rows_are_always_the_same():
    every = [TensorSpec(name=datatype.name, datatype=datatype, shape=(-1, 3)) for datatype in DataType]
    first, second = generate(every), generate(every)
    for tensor in every:
        assert first[tensor.name].dtype == tensor.datatype.numpy
        assert first[tensor.name].tolist() == second[tensor.name].tolist()


arrays = st.one_of(
    numpy_strategies.arrays(np.float32, (3, 2)),
    numpy_strategies.arrays(np.int64, (3,)),
    st.lists(st.binary(max_size=8), min_size=3, max_size=3).map(
        lambda values: np.array([*values, None], dtype=object)[:3].reshape(3, 1)
    ),
)


@given(st.dictionaries(st.sampled_from(["x", "a/b", "y:0"]), arrays, min_size=1), arrays)
def test_a_published_sample_reads_back_the_same(tmp_path_factory, inputs, output):
    path = tmp_path_factory.mktemp("sample") / "sample.npz"
    write_published_sample(path, Sample(inputs=inputs, outputs={"answer": output}))
    read = read_published_sample(path)
    assert read.inputs.keys() == inputs.keys()
    for name, array in inputs.items():
        np.testing.assert_array_equal(read.inputs[name], array)
    np.testing.assert_array_equal(read.outputs["answer"], output)


@pytest.mark.parametrize(
    "arrays",
    [{"q": np.zeros(3)}, {"inputs/": np.zeros(3)}, {"outputs/": np.zeros(3)}],
)
def test_a_published_sample_of_other_arrays_is_damaged(tmp_path, arrays):
    np.savez(tmp_path / "sample.npz", **arrays)
    with pytest.raises(SampleError, match="is damaged"):
        read_published_sample(tmp_path / "sample.npz")


def test_objects_in_a_file_are_told_with_the_way_to_save_strings(tmp_path):
    np.savez(tmp_path / "rows.npz", city=np.array(["Bonn", "Rome"], dtype=object))
    with pytest.raises(SampleError) as raised:
        read_raw_sample(tmp_path / "rows.npz")
    assert "Python objects" in raised.value.cause
    assert "dtype=str" in raised.value.next_step
