# SPDX-License-Identifier: Apache-2.0
"""Values of pandas, pyarrow, torch, Pillow and whatever speaks a protocol of arrays go as they are, or not at all."""

import subprocess
import sys
from array import array as builtin_array

import ml_dtypes
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from scipy import sparse
from scipy.spatial.transform import Rotation

from repo_client import Client, DatatypeError, NanError, ShapeError
from repo_client.testing import InMemoryTransport, model_signature
from support.sent_values import sent

FLOATS = np.array([[1.5, -2.0], [0.0, 4.0]], np.float32)
NAMES = ("age", "income")


class Stream:
    """A value of a library that hands out nothing but Arrow's stream."""

    def __init__(self, held):
        self._held = held

    def __arrow_c_stream__(self, requested_schema=None):
        return self._held.__arrow_c_stream__(requested_schema)


class OneArray:
    """... or Arrow's array."""

    def __init__(self, held):
        self._held = held

    def __arrow_c_array__(self, requested_schema=None):
        return self._held.__arrow_c_array__(requested_schema)


class Lent:
    """... or DLPack."""

    def __init__(self, held):
        self._held = held

    def __dlpack__(self, **options):
        return self._held.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._held.__dlpack_device__()


class Elsewhere:
    """A value on a device that only its own library can read."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion is not allowed, use .get()")


def frame(**columns):
    return pd.DataFrame(columns)


COLUMN = {
    "series": pd.Series([1, 2], dtype="int32"),
    "index": pd.Index([1, 2], dtype="int32"),
    "nullable": pd.array([1, 2], dtype="Int32"),
    "nullable series": pd.Series([1, 2], dtype="Int32"),
    "arrow-backed": pd.Series([1, 2], dtype="int32[pyarrow]"),
    "arrow-backed extension array": pd.array([1, 2], dtype="int32[pyarrow]"),
    "categories": pd.Series(pd.Categorical.from_codes([0, 1], categories=np.array([1, 2], np.int32))),
    "arrow array": pa.array([1, 2], pa.int32()),
    "arrow slice": pa.array([0, 1, 2, 3], pa.int32())[1:3],
    "arrow chunks": pa.chunked_array([[1], [2]], pa.int32()),
    "arrow dictionary": pa.array([1, 2], pa.int32()).dictionary_encode(),
    "arrow stream": Stream(pa.chunked_array([[1], [2]], pa.int32())),
    "arrow c array": OneArray(pa.array([1, 2], pa.int32())),
}


@pytest.mark.parametrize("value", COLUMN.values(), ids=COLUMN.keys())
def test_a_column_fills_a_tensor_of_one_column(value):
    assert sent("INT32", [-1, 1], value)[0].tolist() == [[1], [2]]
    assert sent("INT32", [-1], value)[0].tolist() == [1, 2]


TEXTS = {
    "pandas": pd.Series(["é", "b"]),
    "pandas objects": pd.Series(["é", b"b"], dtype=object),
    "pandas strings": pd.Series(["é", "b"], dtype="string"),
    "pandas categories": pd.Series(["é", "b"], dtype="category"),
    "pandas arrow": pd.Series(["é", "b"], dtype=pd.ArrowDtype(pa.large_string())),
    "arrow": pa.array(["é", "b"]),
    "arrow views": pa.array(["é", "b"], pa.string_view()),
    "arrow binary": pa.array(["é".encode(), b"b"]),
    "arrow fixed binary": pa.array([b"\xc3\xa9"[:1] + b"\xa9", b"bb"], pa.binary(2)),
    "arrow dictionary": pa.array(["é", "b"]).dictionary_encode(),
    "arrow dictionary of views": pa.DictionaryArray.from_arrays([0, 1], pa.array(["é", "b"], pa.string_view())),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_go_as_utf_8(name):
    expected = ["é".encode(), b"bb" if "fixed" in name else b"b"]
    assert sent("BYTES", [-1], TEXTS[name])[0].tolist() == expected


TABLES = {
    "pandas": frame(income=FLOATS[:, 1], age=FLOATS[:, 0]),
    "pandas of several types": pd.DataFrame({"income": FLOATS[:, 1], "age": pd.array(FLOATS[:, 0], dtype="Float32")}),
    "arrow": pa.table({"income": FLOATS[:, 1], "age": FLOATS[:, 0]}),
    "arrow batch": pa.record_batch({"income": FLOATS[:, 1], "age": FLOATS[:, 0]}),
    "arrow stream": Stream(pa.table({"income": FLOATS[:, 1], "age": FLOATS[:, 0]})),
    "arrow c array": OneArray(pa.record_batch({"income": FLOATS[:, 1], "age": FLOATS[:, 0]})),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_the_columns_of_a_table_go_by_name(table):
    np.testing.assert_array_equal(sent("FP32", [-1, 2], table, columns=NAMES)[0], FLOATS)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_the_columns_of_a_table_go_as_they_are_where_no_names_were_published(table):
    np.testing.assert_array_equal(sent("FP32", [-1, 2], table)[0], FLOATS[:, ::-1])


def test_a_row_of_a_frame_goes_by_name():
    row = TABLES["pandas"].iloc[1]
    np.testing.assert_array_equal(sent("FP32", [-1, 2], row, columns=NAMES)[0], FLOATS[1:])
    np.testing.assert_array_equal(sent("FP32", [2], row, columns=NAMES)[0], FLOATS[1])
    rows = [row, TABLES["pandas"].iloc[0]]
    np.testing.assert_array_equal(sent("FP32", [-1, 2], rows, columns=NAMES)[0], FLOATS[::-1])


def test_a_row_with_another_name_is_refused_as_its_frame_is():
    row = TABLES["pandas"].iloc[1].rename({"age": "Age"})
    for value, shape in ((row, [2]), (row, [-1, 2]), ([row], [-1, 2])):
        with pytest.raises(ShapeError, match="missing: 'age'; unknown: 'Age'"):
            sent("FP32", shape, value, columns=NAMES)
    np.testing.assert_array_equal(sent("FP32", [2], pd.Series(FLOATS[1]), columns=NAMES)[0], FLOATS[1])


def test_a_column_of_a_frame_is_no_row_whatever_its_index():
    named = pd.DataFrame({"income": FLOATS[:, 1], "age": pd.array(FLOATS[:, 0], dtype="Float32")}, index=["ann", "bob"])
    np.testing.assert_array_equal(sent("FP32", [-1, 2], named, columns=NAMES)[0], FLOATS)
    assert sent("FP32", [-1, 1], pd.Series(FLOATS[:1, 0], index=["ann"]), columns=["age"])[0].tolist() == [[1.5]]


@pytest.mark.parametrize("table", [pd.DataFrame(), pa.table({})], ids=["pandas", "arrow"])
def test_a_table_without_columns_is_refused(table):
    with pytest.raises(ShapeError, match="the table has no columns"):
        sent("FP32", [-1, 2], table)


def test_a_reader_of_arrow_is_read():
    batch = TABLES["arrow batch"]
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch, batch])
    assert sent("FP32", [-1, 2], reader, columns=NAMES)[0].tolist() == [*FLOATS.tolist(), *FLOATS.tolist()]


def test_columns_that_are_only_counted_go_as_they_are():
    np.testing.assert_array_equal(sent("FP32", [-1, 2], pd.DataFrame(FLOATS), columns=NAMES)[0], FLOATS)


def test_numbers_are_names_where_the_model_has_them():
    np.testing.assert_array_equal(sent("FP32", [-1, 2], pd.DataFrame(FLOATS), columns=("1", "0"))[0], FLOATS[:, ::-1])


WRONG_COLUMNS = {
    "missing": (frame(age=[1.0]), "missing: 'income'"),
    "unknown": (frame(age=[1.0], income=[1.0], sold=[1.0]), "unknown: 'sold'"),
    "twice": (pd.DataFrame([[1.0, 2.0, 3.0]], columns=["age", "income", "age"]), "there twice: 'age'"),
    "arrow": (pa.table({"age": [1.0], "wages": [1.0]}), "missing: 'income'; unknown: 'wages'"),
}


@pytest.mark.parametrize(("table", "words"), WRONG_COLUMNS.values(), ids=WRONG_COLUMNS.keys())
def test_other_columns_are_refused_with_their_names(table, words):
    with pytest.raises(ShapeError, match="not those that the model was trained on") as caught:
        sent("FP64", [-1, 2], table, columns=NAMES)
    assert words in str(caught.value)
    assert caught.value.expected == "'age', 'income'"


def test_a_column_of_another_type_is_named():
    with pytest.raises(
        DatatypeError, match=r"column 'age': received a pandas Series of int64, expected FP32\nhint: .*cast"
    ):
        sent("FP32", [-1, 2], frame(age=[1, 2], income=FLOATS[:, 1]))


def test_a_frame_is_cast_when_that_is_asked_for():
    wide = frame(age=[1, 2], income=[0.5, 1.5])
    assert sent("FP32", [-1, 2], wide, cast="same_kind")[0].tolist() == [[1.0, 0.5], [2.0, 1.5]]


def test_a_frame_of_texts_and_one_of_one_column():
    assert sent("BYTES", [-1, 2], frame(a=["x"], b=["y"]))[0].tolist() == [[b"x", b"y"]]
    assert sent("INT64", [-1], frame(a=[1, 2]))[0].tolist() == [1, 2]


MISSING = {
    "nullable": pd.Series([1, None], dtype="Int32"),
    "categories": pd.Series(pd.Categorical.from_codes([0, -1], categories=np.array([1, 2], np.int32))),
    "arrow-backed": pd.Series([1, None], dtype="int32[pyarrow]"),
    "arrow": pa.array([1, None], pa.int32()),
    "arrow dictionary": pa.array([1, None], pa.int32()).dictionary_encode(),
}


@pytest.mark.parametrize("value", MISSING.values(), ids=MISSING.keys())
def test_missing_integers_are_refused(value):
    with pytest.raises(DatatypeError, match="INT32"):
        sent("INT32", [-1], value)


@pytest.mark.parametrize(
    "value", [pd.Series(["a", None]), pd.Series(["a", None], dtype="string"), pa.array(["a", None])]
)
def test_missing_texts_are_refused(value):
    with pytest.raises(DatatypeError, match=r"with missing values, expected BYTES\nhint: fill them"):
        sent("BYTES", [-1], value)


FLOATS_WITH_GAPS = [
    pd.Series([1.0, None], dtype="float32"),
    pd.Series([1.0, None], dtype="Float32"),
    pd.Series([1.0, None], dtype="float[pyarrow]"),
    pa.array([1.0, None], pa.float32()),
    pd.Series(np.array([1.0, np.nan], np.float32)).astype("category"),
]


@pytest.mark.parametrize("value", FLOATS_WITH_GAPS)
def test_missing_floats_are_nan_and_refused_where_nan_is(value):
    np.testing.assert_array_equal(sent("FP32", [-1], value)[0], [1.0, np.nan])
    with pytest.raises(NanError, match=r"received NaN, the first at \[1\]"):
        sent("FP32", [-1], value, nan="refuse")


LISTS = {
    "fixed": pa.FixedSizeListArray.from_arrays(pa.array([9, 9, 1, 2, 3, 4], pa.int32()), 2)[1:],
    "lists": pa.array([[1, 2], [3, 4]], pa.list_(pa.int32())),
    "large lists": pa.array([[1, 2], [3, 4]], pa.large_list(pa.int32())),
    "tensors": pa.FixedShapeTensorArray.from_numpy_ndarray(np.array([[1, 2], [3, 4]], np.int32)),
    "tensor": pa.Tensor.from_numpy(np.array([[1, 2], [3, 4]], np.int32)),
}


@pytest.mark.parametrize("value", LISTS.values(), ids=LISTS.keys())
def test_lists_of_arrow_are_rows(value):
    assert sent("INT32", [-1, 2], value)[0].tolist() == [[1, 2], [3, 4]]


def test_lists_of_arrow_are_as_long_as_one_another():
    with pytest.raises(ShapeError, match="lists of different lengths"):
        sent("INT64", [-1, 2], pa.array([[1, 2], [3]]))


def test_a_scalar_of_arrow_fills_a_tensor_of_one():
    assert sent("INT32", [-1, 1], pa.scalar(3, pa.int32()))[0].tolist() == [[3]]
    assert sent("INT32", [-1], pa.scalar([3, 4], pa.list_(pa.int32())))[0].tolist() == [3, 4]


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor(FLOATS),
        torch.tensor(FLOATS, requires_grad=True),
        torch.nn.Parameter(torch.tensor(FLOATS)),
        torch.tensor(FLOATS.T.copy()).T,
        [torch.tensor(row) for row in FLOATS],
        Lent(FLOATS),
        [Lent(row) for row in FLOATS],
        memoryview(FLOATS),
        np.ma.masked_array(FLOATS),
    ],
    ids=[
        "torch",
        "with a gradient",
        "parameter",
        "strides",
        "list of torch",
        "lent",
        "list of lent",
        "memory",
        "masked",
    ],
)
def test_arrays_of_other_libraries_are_read(value):
    back, wire = sent("FP32", [-1, 2], value)
    np.testing.assert_array_equal(back, FLOATS)
    assert wire == FLOATS.tobytes()


def test_an_array_of_the_standard_library_is_read():
    assert sent("INT32", [-1], builtin_array("i", [1, 2]))[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    "value", [torch.tensor([1.5, float("-inf")], dtype=torch.bfloat16), np.array([1.5, -np.inf], ml_dtypes.bfloat16)]
)
def test_bfloat16_keeps_its_bits(value):
    back, wire = sent("BF16", [-1], value)
    assert back.tolist() == [1.5, -np.inf]
    assert wire == b"\xc0\x3f\x80\xff"


def test_tensors_of_several_types_are_one_batch():
    rows = [torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor([2.5]), [3]]
    assert sent("BF16", [-1, 1], rows)[0].tolist() == [[1.5], [2.5], [3.0]]
    with pytest.raises(DatatypeError, match=r"a torch Tensor of float64, expected FP32"):
        sent("FP32", [-1, 1], [torch.tensor([1.5]), torch.tensor([2.5], dtype=torch.float64)])


def test_bfloat16_is_widened_only_when_asked():
    value = torch.tensor([1.5], dtype=torch.bfloat16)
    with pytest.raises(DatatypeError, match="received a torch tensor of bfloat16, expected FP32"):
        sent("FP32", [-1], value)
    assert sent("FP32", [-1], value, cast="same_kind")[0].tolist() == [1.5]


@pytest.mark.parametrize("value", [torch.tensor([np.nan], dtype=torch.bfloat16), np.array([np.nan], np.float16)])
def test_a_nan_of_16_bits_is_found(value):
    datatype = "BF16" if isinstance(value, torch.Tensor) else "FP16"
    sent(datatype, [-1], value[:0], nan="refuse")
    sent(datatype, [-1], value)
    with pytest.raises(NanError):
        sent(datatype, [-1], value, nan="refuse")


REFUSED = {
    "another type of torch": (
        torch.zeros(1, dtype=torch.float64),
        r"received a torch Tensor of float64.*\n.*\.to\(torch\.float32\)",
    ),
    "another device": (
        torch.zeros(1, device="meta"),
        r"a torch tensor on device meta, expected FP32\nhint: .*\.cpu\(\)",
    ),
    "sparse": (torch.zeros(1).to_sparse(), r"sparse.*\n.*to_dense\(\)"),
    "scipy": (sparse.csr_array(FLOATS), r"csr_array, which is sparse.*\n.*toarray\(\)"),
    "no sparse matrix": (Rotation.identity(), "a scipy Rotation, expected FP32\nhint: .*as an array of numpy"),
    "a device of its own": (Elsewhere(), r"Elsewhere that cannot be read from here.*\n.*use \.get\(\)"),
    "a matrix": (np.matrix(FLOATS), r"a numpy matrix.*\n.*numpy\.asarray"),
    "a matrix in a list": ([np.matrix(FLOATS)], "a numpy matrix"),
    "masked": (np.ma.masked_array([1.0], mask=[True]), r"masked values.*\n.*filled"),
    "fields": (np.zeros(1, [("a", "f4")]), r"a structured array.*\n.*structured_to_unstructured"),
    "times": (
        pd.Series(pd.to_datetime(["2024-01-01"])),
        r"a pandas Series of datetime64.*\nhint: pass numbers, in the unit",
    ),
    "objects": (np.array([1.0, None]), r"a numpy array of object.*\nhint: pass it with \.tolist\(\)"),
    "complex": (np.array([1j]), r"of complex128.*\nhint: .*\.real"),
    "sparse columns": (pd.Series(pd.arrays.SparseArray([1.0])), r"of Sparse.*\nhint: .*\.sparse\.to_dense\(\)"),
    "bounds": (pd.Series(pd.interval_range(0, 1)), r"of interval.*\nhint: .*\.array\.left"),
    "decimals": (pa.array([1], pa.decimal128(5)), "a pyarrow Decimal128Array of object"),
    "another type of arrow": (pa.array([1.0]), r'a pyarrow DoubleArray of float64.*\n.*\.cast\("float32"\)'),
    "intervals": (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "a pyarrow .*of (object|month_day_nano)"),
    "float8": (torch.zeros(1, dtype=torch.float8_e4m3fn), r"a torch tensor of torch\.float8_e4m3fn"),
    "a type": (torch.float32, "a value of type dtype"),
    "a buffer of arrow": (pa.py_buffer(b"abc"), r"a pyarrow \w*Buffer"),
    "groups": (pd.Series([1.5]).groupby([1]), "a value of type SeriesGroupBy"),
    "nothing at all": (pd.NA, "a value of type NAType"),
    "a dict": ({"a": 1.0}, "a value of type dict"),
}


@pytest.mark.parametrize(("value", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_tensor_is_refused_with_the_way_out(value, words):
    with pytest.raises(DatatypeError, match=words):
        sent("FP32", [-1], value)


RED = Image.new("RGB", (3, 2), (255, 0, 1))


@pytest.mark.parametrize(
    ("shape", "value", "found"),
    [
        ([-1, 2, 3, 3], RED, (1, 2, 3, 3)),
        ([-1, -1, -1, 3], RED, (1, 2, 3, 3)),
        ([2, 3, 3], RED, (2, 3, 3)),
        ([-1, 2, 3, 3], [RED, RED], (2, 2, 3, 3)),
        ([-1, 2, 3], RED.convert("L"), (1, 2, 3)),
        ([-1, 2, 3, 1], RED.convert("L"), (1, 2, 3, 1)),
        ([2, 3, 1], RED.convert("L"), (2, 3, 1)),
        ([2, 3], RED.convert("L"), (2, 3)),
        ([-1, 2, 3, -1], RED.convert("L"), (1, 2, 3, 1)),
    ],
)
def test_an_image_gets_the_dimensions_that_it_lacks(shape, value, found):
    back, _ = sent("UINT8", shape, value)
    assert back.shape == found
    first = value[-1] if isinstance(value, list) else value
    np.testing.assert_array_equal(back.reshape(-1, *found[-2:])[-1], np.asarray(first).reshape(-1, *found[-2:])[-1])


@pytest.mark.parametrize(
    ("datatype", "shape", "image", "kind", "words"),
    [
        ("UINT8", [-1, 4, 5, 3], RED, ShapeError, r"received shape \[1, 2, 3, 3\].*\n.*image\.resize\(\(5, 4\)\)"),
        ("UINT8", [-1, 2, 3, 3], RED.convert("L"), ShapeError, r'mode L: pass image\.convert\("RGB"\)'),
        ("UINT8", [-1, 2, 3, 1], RED, ShapeError, r'mode RGB: pass image\.convert\("L"\)'),
        ("UINT8", [-1, 3, 2, 3], RED, ShapeError, r"channels come first: .*transpose\(2, 0, 1\)\[numpy\.newaxis\]"),
        ("UINT8", [-1, 2, 3, 3], RED.convert("P"), DatatypeError, r'palette.*\n.*image\.convert\("RGB"\)'),
        ("UINT8", [-1, 2, 3, 3], RED.convert("HSV"), DatatypeError, r'image of HSV.*\n.*image\.convert\("RGB"\)'),
        ("UINT8", [-1, 2, 3, 3], [RED, RED.convert("YCbCr")], DatatypeError, "image of YCbCr"),
        ("UINT8", [-1, 2, 3, 4], RED.convert("CMYK"), DatatypeError, r'image of CMYK.*\n.*convert\("RGBA"\)'),
        ("UINT8", [-1, 2, 4, 3], [RED], ShapeError, r"\[2, 3, 3\] of a part of the list, expected \[2, 4, 3\]"),
        ("BYTES", [-1, 1], RED, DatatypeError, "pass the bytes of the file"),
        (
            "FP32",
            [-1, 2, 3, 3],
            RED,
            DatatypeError,
            r'a PIL Image of uint8, expected FP32\n.*asarray\(image\)\.astype.*cast="same_kind"',
        ),
        ("UINT8", [-1], RED, ShapeError, "received rank 3"),
    ],
)
def test_an_image_that_does_not_fit_says_what_to_do(datatype, shape, image, kind, words):
    with pytest.raises(kind, match=words):
        sent(datatype, shape, image)


def test_the_hint_for_bool_is_a_type_of_every_numpy():
    with pytest.raises(DatatypeError, match=r"\.astype\(numpy\.bool_\)"):
        sent("BOOL", [-1], np.array([1]))
    with pytest.raises(DatatypeError, match=r"\.to\(torch\.bool\)"):
        sent("BOOL", [-1], torch.tensor([1]))


def test_an_image_is_cast_when_that_is_asked_for():
    assert sent("FP32", [-1, 2, 3, 3], RED, cast="same_kind")[0][0, 0, 0].tolist() == [255.0, 0.0, 1.0]


def test_no_library_is_imported_to_read_lists_and_arrays():
    program = (
        "import sys, numpy\n"
        "from repo_client._checking import CallChecker\n"
        "from repo_client import ModelSignature, TensorSpec\n"
        "x = TensorSpec(name='x', datatype='FP32', shape=(-1,))\n"
        "whole = dict(name='m', version='', versions=(), platform='', max_batch_size=0, outputs=())\n"
        "checker = CallChecker(ModelSignature(inputs=(x,), **whole))\n"
        "checker.arrays({'x': [1.0]}, cast='no'); checker.arrays({'x': numpy.zeros(1, 'f4')}, cast='no')\n"
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"pandas", "pyarrow", "torch", "PIL", "scipy", "ml_dtypes"} & set(run.stdout.split())


@pytest.mark.parametrize(
    ("datatype", "value", "expected"),
    [
        ("BF16", torch.tensor([[1.5], [2.0], [3.0]], dtype=torch.bfloat16), [[1.5], [2.0], [3.0]]),
        ("BYTES", np.array([["ab"], ["c"], ["é"]]), [[b"ab"], [b"c"], ["é".encode()]]),
        ("BYTES", np.array([[b"ab"], [b"c"], [b""]]), [[b"ab"], [b"c"], [b""]]),
        ("FP32", pd.Series(FLOATS.ravel()[:3]), [[1.5], [-2.0], [0.0]]),
    ],
)
def test_a_batch_that_is_split_reaches_the_server_row_by_row(datatype, value, expected):
    spec = {"inputs": {"x": (datatype, [-1, 1])}, "outputs": {"y": (datatype, [-1, 1])}, "max_batch_size": 2}
    transport = InMemoryTransport(model_signature("m", **spec), answer=lambda inputs: {"y": inputs["x"]})
    with Client("grpc://nowhere", transport=transport) as client:
        answer = client.model("m").infer_batch({"x": value}, max_in_flight=1)
    assert answer["y"].tolist() == expected
    parts = [call.inputs["x"].tolist() for call in transport.calls if call.method == "infer"]
    assert sorted(map(len, parts)) == [1, 2]
