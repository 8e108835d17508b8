# SPDX-License-Identifier: Apache-2.0
"""Cases of the steps that work on tables."""

import numpy as np

from support.step_cases import Case, rows_of_bytes

RANDOM = np.random.default_rng(3)

TABLE = RANDOM.normal(0, 50, (5, 3)).astype(np.float32)
HOLES = np.where(RANDOM.random((5, 3)) < 0.4, np.float32(np.nan), TABLE)
COLOURS = rows_of_bytes(*(word.encode() for word in ("red", "grün", "red", "", "blue")))
NUMBERS = np.array([[7], [-1], [7], [3], [0]])
PEOPLE = rows_of_bytes(
    b'{"age": 31, "name": "Ada", "member": true, "visits": 3.0}',
    b'{"visits": 0, "age": null, "name": "", "member": false, "born": {"in": [1900]}}',
    '{"name": "Zoë \\u00e9", "visits": -2, "age": 1.5e2}'.encode(),
    b'{"age": NaN, "name": null, "visits": 9007199254740993}',
    b' {"age": 0, "name": "x", "visits": 1, "member": true} ',
)
LINES = rows_of_bytes(b"31,Ada,3,0.5", b',"a, ""b""",-2,1e3\r\n', "7,Zoë,0, 2 ".encode(), b"NA,,4,5", b"1.5,x,1,-0")

CASES = {
    "json_rows": Case(
        {"row": PEOPLE},
        {
            "columns": {"name": "BYTES", "member": "BOOL", "visits": "INT64"},
            "table": ["age"],
            "table_datatype": "FP64",
            "defaults": {"member": False},
            "missing": "empty",
            "unknown": "ignore",
        },
    ),
    "json_rows: columns alone": Case(
        {"row": PEOPLE},
        {"columns": {"age": "FP32"}, "defaults": {"age": -1}, "unknown": "ignore"},
    ),
    "csv_rows": Case(
        {"row": LINES},
        {
            "header": ["age", "name", "visits", "score"],
            "columns": {"name": "BYTES", "visits": "INT32"},
            "table": ["score", "age"],
            "missing": "empty",
            "empty_words": ["NA"],
        },
    ),
    "columns": Case(
        {"a": TABLE[:, :1], "b": NUMBERS, "both": HOLES[:, :2].astype(np.float64), "yes": NUMBERS > 0},
        {"names": ["both", "a", "yes", "b"]},
    ),
    "columns: in double precision": Case({"a": TABLE[:, :1], "b": NUMBERS}, {"names": ["b", "a"], "datatype": "FP64"}),
    "split_columns": Case({"table": TABLE}, {"names": ["a", "b c", "d"]}),
    "impute": Case({"table": HOLES}, {"values": [1.1, 2.2, 3.3]}),
    "impute: a number stands for missing": Case(
        {"table": np.where(np.isnan(HOLES), -999, HOLES).astype(np.float64)},
        {"values": [0, 1, 2], "missing_value": -999},
    ),
    "scale_columns": Case({"table": TABLE}, {"method": "standard", "mean": [1.1, 2.2, 3.3], "std": [0.3, 7.7, 2]}),
    "scale_columns: between two numbers": Case(
        {"table": TABLE.astype(np.float64)},
        {"method": "min_max", "low": [1, -2, 3], "high": [30, 7, 3], "to": [-1, 1], "clip": True},
    ),
    "scale_columns: between two numbers, single": Case(
        {"table": TABLE}, {"method": "min_max", "low": [1.1, -2.2, 3], "high": [30, 7.7, 3]}
    ),
    "category": Case({"value": COLOURS}, {"categories": ["blue", "grün", "red", ""]}),
    "category: others are one": Case(
        {"value": NUMBERS}, {"categories": [7, 3], "unknown": "replace", "replacement": 99}
    ),
    "one_hot": Case({"value": COLOURS}, {"categories": ["blue", "grün", "red", ""]}),
    "one_hot: unknown ones are zeros": Case({"value": NUMBERS}, {"categories": [7, 3], "unknown": "zeros"}),
    "ordinal": Case({"value": COLOURS}, {"categories": ["blue", "red"], "unknown": "replace", "replacement": -1}),
    "ordinal: whole numbers": Case(
        {"value": NUMBERS.astype(np.int32)}, {"categories": [0, 3, 7], "unknown": "replace", "replacement": 3}
    ),
}
