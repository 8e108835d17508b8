# SPDX-License-Identifier: Apache-2.0
"""Values of every origin come back from a real server as they went, by all four clients."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from repo_client import DatatypeError, NanError

GRID = np.arange(12_000, dtype=np.float32).reshape(3, 4_000)  # large enough to be lent and not copied
TEXTS = [f"Nº {number} €" for number in range(10_000)]

VALUES = {
    "array": ("FP32", GRID, GRID),
    "array in pieces": ("FP32", GRID.T, GRID.T),
    "lists": ("INT64", [[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
    "torch": ("FP32", torch.from_numpy(GRID), GRID),
    "bfloat16": ("BF16", torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16), np.array([[1.5, -2.0]], np.float32)),
    "rounded to bfloat16": ("BF16", np.float32([[1.5, 3.14159]]), np.float32([[1.5, 3.140625]])),
    "scalars of numpy": ("FP32", [[np.float64(0.5), np.int8(2)], GRID[0, :2]], np.float32([[0.5, 2], [0, 1]])),
    "pandas": ("FP64", pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}), np.array([[1.0, 3.0], [2.0, 4.0]])),
    "pyarrow": ("FP32", pa.FixedSizeListArray.from_arrays(pa.array(GRID.ravel()), 4_000), GRID),
    "image": ("UINT8", Image.new("L", (4, 2), 7), np.full((2, 4), 7, np.uint8)),
    "a text": ("STRING", "é", np.array([["é".encode()]], object)),
    "texts": ("STRING", [TEXTS], np.array([[text.encode() for text in TEXTS]], object)),
    "an array of texts": ("STRING", np.array([TEXTS]), np.array([[text.encode() for text in TEXTS]], object)),
    "a frame of texts": ("STRING", pd.DataFrame({"a": ["x"], "b": ["ü"]}), np.array([[b"x", "ü".encode()]], object)),
}


@pytest.mark.parametrize(("datatype", "value", "expected"), VALUES.values(), ids=VALUES.keys())
def test_a_value_comes_back_as_it_went(client, datatype, value, expected):
    back = client.model("echo").infer({f"in_{datatype}": value})[f"out_{datatype}"]
    assert (back.dtype, back.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(back, expected)


def test_the_answer_is_decoded_where_it_is_text(client):
    answer = client.model("echo").infer({"in_STRING": [TEXTS], "in_FP32": GRID})
    assert answer.text("out_STRING").tolist() == [TEXTS]
    with pytest.raises(DatatypeError, match="is no text but float32"):
        answer.text("out_FP32")


def test_a_hole_is_refused_where_the_model_was_opened_so(client):
    holed = pd.DataFrame({"a": [1.0, None]})
    back = client.model("echo").infer({"in_FP64": holed})["out_FP64"]
    np.testing.assert_array_equal(back, [[1.0], [np.nan]])
    with pytest.raises(NanError, match=r"input 'in_FP64': received NaN, the first at \[1, 0\]"):
        client.model("echo", nan="refuse").infer({"in_FP64": holed})
