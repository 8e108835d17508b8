# SPDX-License-Identifier: Apache-2.0
"""The steps that work on tables: what they read, and that a row which is not as announced is refused by its column."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.wire import Wire
from support.step_cases import complaint_of, rows_of_bytes

COLUMNS = {"age": "FP32", "name": "BYTES", "member": "BOOL", "visits": "INT32", "small": "UINT8"}
GOOD = {"age": 1.5, "name": "Ada", "member": True, "visits": 3, "small": 255}


def step(name, **parameters):
    return step_kind(name).with_parameters(parameters)


def json_rows(**parameters):
    return step("json_rows", **{"columns": COLUMNS, **parameters})


def read(made, *rows):
    return made.run(
        {"row": rows_of_bytes(*(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))}
    )


def csv_rows(**parameters):
    answer = {"header": ["age", "name", "visits"], "columns": {"age": "FP32", "name": "BYTES", "visits": "INT32"}}
    return step("csv_rows", **{**answer, **parameters})


def test_an_object_becomes_typed_columns():
    answer = read(json_rows(), GOOD)
    assert {name: array.item() for name, array in answer.items()} == {**GOOD, "name": b"Ada"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"age": "31"}, "column 'age' is the text '31', not a number"),
        ({"age": True}, "column 'age' is a truth value, not a number"),
        ({"age": [1]}, "column 'age' is a list, not a number"),
        ({"age": {"a": 1}}, "column 'age' is an object, not a number"),
        ({"age": None}, "column 'age' is null"),
        ({"age": float("nan")}, "column 'age' is NaN"),
        ({"age": float("inf")}, "column 'age' is inf, too large for FP32"),
        ({"age": 1e39}, r"column 'age' is 1e\+39, too large for FP32"),
        ({"age": 10**400}, "column 'age' is 1000000000000000000000000000000000000000, too large for FP32"),
        ({"name": 3}, "column 'name' is the number 3, not a text"),
        ({"name": "\ud800"}, "column 'name' is no Unicode text"),
        ({"member": 1}, "column 'member' is the number 1, not true or false"),
        ({"visits": 1.5}, "column 'visits' is 1.5, not a whole number"),
        ({"visits": 2**31}, "column 'visits' is 2147483648, out of the range of INT32"),
        ({"visits": 10**400}, "column 'visits' is 1000000000000000000000000000000000000000, out of the range of INT32"),
        (
            {"small": -(10**400)},
            "column 'small' is -100000000000000000000000000000000000000, out of the range of UINT8",
        ),
        ({"visits": float("inf")}, "column 'visits' is inf, not a whole number"),
        ({"small": -1}, "column 'small' is -1, out of the range of UINT8"),
        ({"agee": 3}, "there is no column 'agee'$"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_row_and_column(changes, words):
    with pytest.raises(ValueError, match=f"^row 1: {words}"):
        read(json_rows(), GOOD, GOOD | changes)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"\xff{}", "not a JSON object"),
        (b"[1, 2]", "it is a list, not a JSON object"),
        (b'{"age": 1, "age": 2}', "the key 'age' is there twice"),
        (b'{"age": ' + b"[" * 100_000, "nested deeper than 64"),
        (b'{"age": ' + b"[" * 65 + b"]" * 65 + b"}", "nested deeper than 64"),
        (b'{"age": ' + b"9" * 5000 + b"}", "not a JSON object"),
        (b" " * 1_000_001, "it has 1000001 bytes, and at most 1000000 are taken"),
    ],
    ids=[
        "nothing",
        "half",
        "not UTF-8",
        "a list",
        "a key twice",
        "a bomb",
        "too deep",
        "a number of 5000 digits",
        "too long",
    ],
)
def test_what_is_no_object_is_refused_by_row(row, words):
    with pytest.raises(ValueError, match=f"^row 1: .*{words}") as raised:
        read(json_rows(), GOOD, row)
    assert len(str(raised.value)) < 400


def test_the_key_that_is_there_twice_is_found_among_very_many():
    keys = "".join(f'"{key}": 0, ' for key in range(100_000))
    with pytest.raises(ValueError, match=r"row 0: .*the key 'twice' is there twice"):
        read(json_rows(most_bytes=2_000_000), f'{{{keys}"twice": 1, "twice": 2}}'.encode())
    with pytest.raises(ValueError, match=r"row 0: column 'age' is missing$"):
        read(json_rows(most_bytes=2_000_000, unknown="ignore"), f'{{{keys}"age ": 1}}'.encode())


def test_a_misspelt_column_gets_the_nearest_name():
    misspelt = {("agee" if name == "age" else name): value for name, value in GOOD.items()}
    with pytest.raises(ValueError, match="row 0: there is no column 'agee'; did you mean 'age'"):
        read(json_rows(), misspelt)
    with pytest.raises(ValueError, match="row 0: column 'age' is missing; did you mean 'agee'"):
        read(json_rows(unknown="ignore"), misspelt)


def test_a_key_of_any_length_and_signs_is_shown_short():
    with pytest.raises(ValueError, match="row 0: there is no column 'x�") as raised:
        read(json_rows(), GOOD | {"x\x1b" + "y" * 100_000: 1})
    assert len(str(raised.value)) < 200


def test_what_is_missing_is_empty_where_that_is_wanted():
    answer = read(json_rows(missing="empty", defaults={"visits": 7}), {"member": False, "small": 0, "age": None})
    assert np.isnan(answer["age"].item())
    assert answer["name"].item() == b""
    assert answer["visits"].item() == 7
    with pytest.raises(ValueError, match="row 0: column 'member' is missing"):
        read(json_rows(missing="empty"), {"visits": 1, "small": 0})


def test_a_table_has_the_order_that_is_told_and_not_that_of_the_row():
    answer = read(step("json_rows", table=["b", "a"], table_datatype="FP64"), {"a": 1, "b": 0.1}, {"b": 2, "a": 3})
    np.testing.assert_array_equal(answer["table"], [[0.1, 1], [2, 3]])
    assert list(answer) == ["table"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"columns": {}},
        {"table": ["age"]},
        {"columns": {"age": "FP16"}},
        {"defaults": {"aeg": 1}},
        {"defaults": {"age": "none"}},
        {"defaults": {"visits": 2**40}},
    ],
    ids=["no column", "twice", "no datatype of JSON", "a default of nothing", "of another type", "out of range"],
)
def test_columns_that_contradict_one_another_are_refused(parameters):
    with pytest.raises(PipelineError, match="do not fit"):
        json_rows(**parameters)


def test_a_line_of_csv_becomes_typed_columns():
    answer = read(csv_rows(), b'1.5,"a, ""b""\n",-3\r\n')
    assert {name: array.item() for name, array in answer.items()} == {"age": 1.5, "name": b'a, "b"\n', "visits": -3}
    assert read(csv_rows(delimiter=";"), b"1;x;3")["visits"].item() == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "it holds 0 lines of CSV"),
        (b"1,a,2\n1,a,2", "it holds 2 lines of CSV"),
        (b"1,a", "it has 2 fields, and the header 3"),
        (b'1,"a,2', "not a line of CSV"),
        (b"\xff,a,2", "not a line of CSV"),
        (b"x,a,2", "column 'age' is 'x', not a number"),
        (b"1e39,a,2", "column 'age' is '1e39', no finite FP32"),
        (b"nan,a,2", "column 'age' is 'nan', not a number"),
        (b"1_000,a,2", "column 'age' is '1_000', not a number"),
        ("١٢,a,2".encode(), "column 'age' is '١٢', not a number"),
        (b"1,a,1_000", "column 'visits' is '1_000', not a whole number"),
        (b"1,a," + b"9" * 5000, "column 'visits' is 9{40}, out of the range of INT32"),
        (b"1" * 50_000 + b"x,a,2", "column 'age' is '1{40}', not a number"),
        (b"1,a,2.5", "column 'visits' is '2.5', not a whole number"),
        (b"1,a,2147483648", "column 'visits' is 2147483648, out of the range of INT32"),
        (b"1,a,", "column 'visits' is empty"),
        (b"1," + b"a" * 100_000 + b",1", "it has 100004 bytes, and at most 100000 are taken"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_by_row_and_column(line, words):
    with pytest.raises(ValueError, match=f"^row 1: {words}"):
        read(csv_rows(), b"1,a,2", line)


def test_a_field_is_as_long_as_the_line_may_be():
    assert len(read(csv_rows(most_bytes=200_000), b"1," + b"a" * 150_000 + b",1")["name"].item()) == 150_000


@pytest.mark.parametrize("number", ["1.", ".5", "-1.5E+3", "+7", "1e-400", "00012"])
def test_a_number_of_csv_is_what_spreadsheets_write(number):
    assert read(csv_rows(), f"{number},a,2".encode())["age"].item() == np.float32(float(number))


def test_an_empty_field_takes_the_default_of_its_column():
    answer = read(csv_rows(defaults={"age": "7.5", "name": "nobody"}, empty_words=["?"]), b"?,,3")
    assert (answer["age"].item(), answer["name"].item()) == (7.5, b"nobody")
    for wrong in ({"age": "old"}, {"aeg": "1"}):
        with pytest.raises(PipelineError, match="do not fit"):
            csv_rows(defaults=wrong)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(st.sampled_from([*COLUMNS, "agee"]), VALUES).map(lambda row: json.dumps(row).encode()),
    st.tuples(*(VALUES for _ in COLUMNS)).map(lambda row: json.dumps(dict(zip(COLUMNS, row, strict=True))).encode()),
    VALUES.map(lambda value: json.dumps(value).encode()),
)


@given(row=ROWS, unknown=st.sampled_from(["refuse", "ignore"]), missing=st.sampled_from(["refuse", "empty"]))
def test_any_bytes_are_typed_columns_or_refused_by_their_row(row, unknown, missing):
    json_step = json_rows(unknown=unknown, missing=missing)
    for made, good in ((json_step, json.dumps(GOOD).encode()), (csv_rows(missing=missing), b"1,a,2")):
        complaint = complaint_of(made, {"row": rows_of_bytes(good, row)})
        assert complaint is None or complaint.startswith("row 1: ")
        assert complaint is None or (complaint.isprintable() and len(complaint) < 400)


def test_columns_go_into_a_table_and_back():
    parts = {"a": np.array([[1.5]], dtype=np.float32), "b c": np.array([[7]])}
    table = step("columns", names=["b c", "a"]).run(parts)["table"]
    assert table.tolist() == [[7, 1.5]]
    back = step("split_columns", names=["b c", "a"]).run({"table": table})
    assert {name: array.item() for name, array in back.items()} == {"b c": 7, "a": 1.5}


def test_imputing_and_scaling_give_what_scikit_learn_gives():
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    random = np.random.default_rng(5)
    rows = random.normal(3, 20, (50, 4))
    rows[:, 3] = 2.5  # never changes
    holes = np.where(random.random(rows.shape) < 0.2, np.nan, rows)
    imputer = SimpleImputer(strategy="median").fit(holes)
    imputed = step("impute", values=imputer.statistics_.tolist()).run({"table": holes})["imputed"]
    np.testing.assert_array_equal(imputed, imputer.transform(holes))
    standard = StandardScaler().fit(rows)
    ours = step("scale_columns", method="standard", mean=standard.mean_.tolist(), std=standard.scale_.tolist())
    for table in (rows, rows.astype(np.float32)):
        np.testing.assert_array_equal(ours.run({"table": table})["scaled"], standard.transform(table))
    bounded = MinMaxScaler((-1, 1), clip=True).fit(rows[:20])
    limits = {"low": bounded.data_min_.tolist(), "high": bounded.data_max_.tolist()}
    ours = step("scale_columns", method="min_max", **limits, to=[-1, 1], clip=True)
    for table in (rows, rows.astype(np.float32)):
        np.testing.assert_array_equal(ours.run({"table": table})["scaled"], bounded.transform(table))


@pytest.mark.parametrize(
    "parameters",
    [
        {"method": "standard", "mean": [1], "std": [0]},
        {"method": "standard", "mean": [1]},
        {"method": "standard", "low": [1], "high": [2]},
        {"method": "min_max", "low": [1, 2], "high": [2]},
        {"method": "min_max", "low": [3], "high": [2]},
        {"method": "min_max", "low": [1], "high": [2], "to": [1, 0]},
        {"method": "standard", "mean": [float("nan")], "std": [1]},
        {"method": "standard", "mean": [1], "std": [float("nan")]},
        {"method": "standard", "mean": [1], "std": [-1]},
        {"method": "standard", "mean": [1], "std": [1], "low": [1], "high": [2]},
        {"method": "min_max", "low": [float("-inf")], "high": [2]},
        {"method": "min_max", "low": [1], "high": [2], "to": [0, float("nan")]},
    ],
)
def test_numbers_that_cannot_scale_are_refused(parameters):
    with pytest.raises(PipelineError, match="do not fit"):
        step("scale_columns", **parameters)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("impute", {"values": []}),
        ("impute", {"values": [float("nan")]}),
        ("json_rows", {"table": ["a"], "most_bytes": -1}),
        ("csv_rows", {"header": ["a"], "table": ["a"], "most_bytes": 0}),
    ],
)
def test_numbers_that_mean_nothing_are_refused(name, parameters):
    with pytest.raises(PipelineError, match="do not fit"):
        step(name, **parameters)


CATEGORIES = pytest.mark.parametrize("name", ["one_hot", "ordinal", "category"])


@CATEGORIES
def test_an_unknown_category_is_refused_with_the_nearest(name):
    made = step(name, categories=["red", "blue"])
    with pytest.raises(ValueError, match="row 1: 'blu' is no known category; did you mean 'blue'"):
        made.run({"value": rows_of_bytes(b"red", b"blu")})
    with pytest.raises(ValueError, match="row 0: '�'"):
        made.run({"value": rows_of_bytes(b"\xff")})
    many = step(name, categories=[f"red {place}" for place in range(2000)])
    with pytest.raises(ValueError, match=r"row 0: 'red' is no known category$"):
        many.run({"value": rows_of_bytes(b"red")})


@CATEGORIES
@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ([True, False], r"categories\[0\]: true is a truth value; YAML takes yes, no, on and off as such"),
        (["DE", False, "SE"], r"categories\[1\]: false is a truth value"),
        ([1.0, 2.0], r"categories\[0\]: 1.0 is no whole number"),
        (["DE", 5], r"categories.0: input should be a valid integer"),
    ],
)
def test_what_yaml_reads_otherwise_is_no_category(name, categories, words):
    with pytest.raises(PipelineError) as raised:
        step(name, categories=categories)
    assert re.match(words, raised.value.cause)


@CATEGORIES
def test_a_category_that_the_type_of_the_wire_cannot_hold_is_refused(name):
    value = {"value": Wire(DataType.INT32, (1,))}
    with pytest.raises(PipelineError) as raised:
        step(name, categories=[5, 2**32]).output_wires(value)
    assert raised.value.cause == "'value' is INT32, which cannot be 4294967296"
    step(name, categories=[5, 2**32]).output_wires({"value": Wire(DataType.INT64, (1,))})
    with pytest.raises(PipelineError):
        step("category", categories=[5], unknown="replace", replacement=2**31).output_wires(value)


@pytest.mark.parametrize("name", ["category", "ordinal"])
@pytest.mark.parametrize("given", [{"unknown": "replace"}, {"replacement": 3}])
def test_a_replacement_goes_with_its_word(name, given):
    with pytest.raises(PipelineError) as raised:
        step(name, categories=[1, 2], **given)
    assert "needs a replacement" in raised.value.cause


def test_categories_have_their_places():
    red, blue = rows_of_bytes(b"red"), rows_of_bytes(b"blue")
    assert step("one_hot", categories=["red", "blue"]).run({"value": blue})["one_hot"].tolist() == [[0, 1]]
    assert step("ordinal", categories=["red", "blue"]).run({"value": blue})["code"].tolist() == [[1]]
    others = step("category", categories=["red"], unknown="replace", replacement="other")
    assert [others.run({"value": given})["category"].item() for given in (blue, red)] == [b"other", b"red"]


@CATEGORIES
def test_categories_that_are_there_twice_are_refused(name):
    with pytest.raises(PipelineError, match="do not fit"):
        step(name, categories=["a", "a"])
