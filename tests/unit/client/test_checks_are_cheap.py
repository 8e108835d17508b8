# SPDX-License-Identifier: Apache-2.0
"""A right call costs no copy of its arrays, and a wrong one is found whatever hides it."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from repo_client import (
    Client,
    DatatypeError,
    InputError,
    NanError,
    ShapeError,
    UnknownTensorError,
    UnsupportedCallError,
)
from repo_client.testing import InMemoryTransport, model_signature

LARGE = np.arange(40_000, dtype=np.float32).reshape(4, 10_000)
BOTH = model_signature(
    "m",
    inputs={"x": ("FP32", [-1, 10_000]), "weight": ("FP32", [-1, 1])},
    outputs={"y": ("FP32", [-1, 1])},
    max_batch_size=8,
    optional=["weight"],
)


class Looking(InMemoryTransport):
    """Looks at the bytes of the first input while they are lent."""

    def infer(self, request, *, timeout_s):
        self.lent = request.inputs[0].data
        return super().infer(request, timeout_s=timeout_s)


@pytest.fixture
def transport():
    return Looking(BOTH)


@pytest.fixture
def client(transport):
    with Client("grpc://nowhere", transport=transport) as client:
        yield client


SHARED = {
    "numpy": LARGE,
    "torch": torch.from_numpy(LARGE),
    "pyarrow": pa.FixedSizeListArray.from_arrays(pa.array(LARGE.ravel()), LARGE.shape[1]),
}


@pytest.mark.parametrize("value", SHARED.values(), ids=SHARED.keys())
def test_a_large_array_is_lent_and_not_copied(client, transport, value):
    client.model("m").infer({"x": value})
    assert np.shares_memory(np.frombuffer(transport.lent, np.float32), LARGE)


def test_an_array_in_several_pieces_goes_in_row_major_order(client, transport):
    client.model("m").infer({"x": np.asfortranarray(LARGE)})
    assert transport.lent == LARGE.tobytes()


def test_a_read_only_array_goes_too(client, transport):
    fixed = LARGE.copy()
    fixed.flags.writeable = False
    client.model("m").infer({"x": fixed})
    assert transport.lent == LARGE.tobytes()


def test_inputs_go_in_the_order_of_the_signature(client, transport):
    client.model("m").infer({"weight": [[1.0]] * 4, "x": LARGE})
    assert list(transport.calls[-1].inputs) == ["x", "weight"]


def test_a_frame_may_hold_the_inputs_themselves():
    spec = {"inputs": {"age": ("INT64", [-1, 1]), "name": ("BYTES", [-1, 1])}, "outputs": {"y": ("FP32", [-1, 1])}}
    transport = InMemoryTransport(model_signature("m", **spec, max_batch_size=8))
    with Client("grpc://nowhere", transport=transport) as client:
        client.model("m").infer(pd.DataFrame({"name": ["a", "b"], "age": [1, 2]}))
    inputs = transport.calls[-1].inputs
    assert {name: array.tolist() for name, array in inputs.items()} == {"age": [[1], [2]], "name": [[b"a"], [b"b"]]}


def test_none_leaves_an_optional_input_out_and_no_other(client, transport):
    client.model("m").infer({"x": LARGE, "weight": None})
    assert list(transport.calls[-1].inputs) == ["x"]
    with pytest.raises(DatatypeError, match="input 'x': received a value of type NoneType"):
        client.model("m").infer({"x": None})


@pytest.mark.parametrize("inputs", [LARGE, [1.0], None, "x", 1.0])
def test_inputs_go_by_name(client, inputs):
    with pytest.raises(InputError, match=r"expected a mapping of them by name\nhint: pass \{'x': value\}"):
        client.model("m").infer(inputs)


@pytest.mark.parametrize("name", ["X", "wieght", "WEIGHT"])
def test_the_nearest_input_is_told_whatever_its_case(client, name):
    with pytest.raises(
        UnknownTensorError, match=f"no input '{name}'\nhint: did you mean '{'x' if name == 'X' else 'weight'}'"
    ):
        client.model("m").infer({"x": LARGE, name: [[1.0]]})


def test_nan_is_refused_only_where_asked(client, transport):
    holed = LARGE.copy()
    holed[2, 7] = np.nan
    client.model("m").infer({"x": holed})
    sent = len(transport.calls)
    strict = client.model("m", nan="refuse")
    with pytest.raises(
        NanError, match=r"model 'm', input 'x': received NaN, the first at \[2, 7\]\nhint: fill"
    ) as caught:
        strict.infer({"x": holed})
    assert (caught.value.model, caught.value.tensor) == ("m", "x")
    with pytest.raises(NanError, match="input 'weight'"):
        strict.infer({"x": LARGE, "weight": [[1.0]] * 3 + [[float("nan")]]})
    assert [call.method for call in transport.calls[sent:]] == ["metadata", "config"]
    strict.infer({"x": LARGE})
    strict.infer({"x": LARGE, "weight": [[np.inf]] * 4})


HINTS = {
    "one row": ([-1, 30], (30,), r"the batch dimension is first: send one row as array\[numpy\.newaxis\]"),
    "too deep": ([-1, 30], (1, 1, 31), "its rank is 2; the batch dimension is first"),
    "channels last": ([-1, 3, 224, 224], (2, 224, 224, 3), r"another order: array\.transpose\(0, 3, 1, 2\)"),
    "channels first": ([-1, -1, -1, 3], (2, 3, 5, 7), r"another order: array\.transpose\(0, 2, 3, 1\)"),
    "not flat": ([-1, 64], (5, 8, 8), r"another shape: array\.reshape\(-1, 64\)"),
    "flat": ([-1, 8, 8], (5, 64), r"another shape: array\.reshape\(-1, 8, 8\)"),
    "too few rows": ([3, 4], (2, 4, 1), "its rank is 2$"),
    "no batch at all": ([3, 4], (4,), "its rank is 2$"),
    "another size": ([-1, 30], (1, 31), "-1 is a dimension that you choose"),
}


@pytest.mark.parametrize(("declared", "received", "hint"), HINTS.values(), ids=HINTS.keys())
def test_a_wrong_shape_says_how_to_make_it_right(declared, received, hint):
    signature = model_signature("m", inputs={"x": ("FP32", declared)}, outputs={"y": ("FP32", [1])})
    with (
        Client("grpc://nowhere", transport=InMemoryTransport(signature)) as client,
        pytest.raises(ShapeError, match=f"hint: .*{hint}"),
    ):
        client.model("m").infer({"x": np.zeros(received, np.float32)})


def test_options_are_one_of_their_choices(client):
    with pytest.raises(InputError, match="nan is 'Refuse'\nhint: it is one of 'allow', 'refuse'"):
        client.model("m", nan="Refuse")
    with pytest.raises(InputError, match="cast is 'unsafe'\nhint: it is one of 'no', 'same_kind'"):
        client.model("m").infer({"x": LARGE}, cast="unsafe")
    with pytest.raises(InputError, match="outputs is 5\nhint: pass a list of names"):
        client.model("m").infer({"x": LARGE}, outputs=5)


def test_a_data_type_of_the_future_is_told_at_the_call():
    signature = model_signature("m", inputs={"x": ("FP8", [-1])}, outputs={"y": ("FP32", [1])})
    with Client("grpc://nowhere", transport=InMemoryTransport(signature)) as client:
        model = client.model("m")
        with pytest.raises(UnsupportedCallError, match="input 'x': its data type FP8 is none that this client knows"):
            model.infer({"x": LARGE})


@pytest.mark.parametrize("shape", [(10_000,), (2, 10_000, 1), (4, 9_999), ()])
def test_another_shape_is_refused(client, shape):
    with pytest.raises(ShapeError, match=r"expected \[-1, 10000\]"):
        client.model("m").infer({"x": np.zeros(shape, np.float32)})
