# SPDX-License-Identifier: Apache-2.0
"""Texts and bytes, few or thousands, short or long, come to the server and back as they were."""

import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from repo_client import Client, DatatypeError, InferResponse, ShapeError, UnexpectedAnswerError, WireTensor
from repo_client.testing import InMemoryTransport, model_signature

ECHO = model_signature("echo", inputs={"x": ("BYTES", [-1])}, outputs={"x": ("BYTES", [-1])})


class Echo(InMemoryTransport):
    """Gives back the very bytes that it got."""

    def infer(self, request, *, timeout_s):
        self.wire = bytes(request.inputs[0].data)
        outputs = (WireTensor(name="x", datatype="BYTES", shape=request.inputs[0].shape, data=self.wire),)
        return InferResponse(model="echo", version="1", request_id="", outputs=outputs)


def echoed(value):
    transport = Echo(ECHO)
    with Client("grpc://nowhere", transport=transport) as client:
        return client.model("echo").infer({"x": value})["x"].tolist(), transport.wire


def as_bytes(element):
    return element.encode() if isinstance(element, str) else element


def on_the_wire(elements):
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


# Few distinct elements, repeated: what is many takes another way than what is few, and what has zeros another again.
ELEMENTS = st.one_of(
    st.lists(st.text(max_size=6), max_size=8),
    st.lists(st.binary(max_size=6), max_size=8),
    st.lists(st.text(alphabet="abé€", min_size=1, max_size=6), min_size=1, max_size=8),
    st.lists(st.one_of(st.text(max_size=3), st.binary(max_size=3)), max_size=8),
)


@settings(max_examples=200, deadline=None)
@given(elements=ELEMENTS, times=st.sampled_from([1, 70]), long=st.sampled_from([0, 0, 1, 255, 256, 70_000]))
@example(elements=["a", "b\0"], times=70, long=0)
@example(elements=[b"a\0", b"\0b"], times=70, long=0)
@example(elements=[b"\0\0\0", b"abc"], times=70, long=0)
@example(elements=["", "a"], times=70, long=0)
@example(elements=["é"], times=70, long=255)
@example(elements=["a"], times=64, long=256)
def test_texts_and_bytes_come_back_equal(elements, times, long):
    whole = elements * times + (["é" * (long // 2) + "x" * (long % 2)] if long else [])
    array = np.empty(len(whole), dtype=object)
    array[:] = whole
    expected = [*map(as_bytes, whole)]
    for value in (array, whole):
        back, wire = echoed(value)
        assert wire == on_the_wire(expected)
        assert back == expected


@pytest.mark.parametrize("count", [1, 70])
@pytest.mark.parametrize("kind", ["S", "U", "O"])
def test_arrays_of_every_kind_of_text(kind, count):
    texts = np.array(["ab", "c", ""] * count).astype(kind)
    assert echoed(texts)[0] == [b"ab", b"c", b""] * count
    assert echoed(texts[::2])[0] == ([b"ab", b"c", b""] * count)[::2]


@pytest.mark.parametrize("count", [1, 70])
def test_a_text_with_surrogates_is_refused_before_the_wire(count):
    with pytest.raises(DatatypeError, match=r"the text '.*\\ud800.*', which is no UTF-8.*\nhint: .*pass bytes"):
        echoed(["ok", "\ud800"] * count)
    with pytest.raises(DatatypeError, match="no UTF-8"):
        echoed([b"ok", "\ud800"] * count)


@pytest.mark.parametrize("odd", [1, None, ["a"], 1.0])
def test_what_is_no_text_is_found_among_many(odd):
    array = np.empty(100, dtype=object)
    array[:] = ["a"] * 100
    array[70] = odd
    with pytest.raises((DatatypeError, ShapeError), match="input 'x'"):
        echoed(array)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "?", "M8[s]"])
def test_numbers_are_no_texts(dtype):
    with pytest.raises(DatatypeError, match="expected BYTES\nhint: pass bytes or str"):
        echoed(np.zeros(3, dtype))


def test_the_bytes_of_a_file_are_one_element():
    for value in (b"\0\1", bytearray(b"\0\1"), memoryview(b"\0\1")):
        assert echoed([bytes(value)])[0] == echoed(value)[0] == [b"\0\1"]


MANY = on_the_wire([b"ab"] * 100)
BROKEN = {
    "cut off": MANY[:-1],
    "a cut length": MANY + b"\1\0",
    "one too many": on_the_wire([b"ab"] * 101),
    "one too few": on_the_wire([b"ab"] * 99),
    "a length that leads too far": MANY[:-6] + b"\3\0\0\0ab",
    "a length that leads nowhere": b"\xff\0\0\0ab" + MANY[6:],
    "nothing": b"",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_of_broken_lengths_is_the_servers_fault(data):
    class Broken(Echo):
        def infer(self, request, *, timeout_s):
            outputs = (WireTensor(name="x", datatype="BYTES", shape=(100,), data=data),)
            return InferResponse(model="echo", version="1", request_id="", outputs=outputs)

    with Client("grpc://nowhere", transport=Broken(ECHO)) as client:
        model = client.model("echo")
        with pytest.raises(UnexpectedAnswerError, match="output 'x' cannot be read"):
            model.infer({"x": ["a"]})


@pytest.mark.parametrize("elements", [[b"ab"] * 100, [b"a\0"] * 100, [b"x" * 300] * 100, [b"", b"a"] * 50])
def test_an_answer_may_be_a_view(elements):
    class Viewing(Echo):
        def infer(self, request, *, timeout_s):
            outputs = (WireTensor(name="x", datatype="BYTES", shape=(100,), data=memoryview(on_the_wire(elements))),)
            return InferResponse(model="echo", version="1", request_id="", outputs=outputs)

    with Client("grpc://nowhere", transport=Viewing(ECHO)) as client:
        back = client.model("echo").infer({"x": ["a"]})["x"].tolist()
    assert back == elements
    assert {type(element) for element in back} == {bytes}
