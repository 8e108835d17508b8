# SPDX-License-Identifier: Apache-2.0
"""What is left of another library's words in an error of ours."""

import pytest

from repo_tool.errors import SourceError
from repo_tool.importers.foreign import refusing


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("\x1b[31mno\x1b[0m\n  such\n", "ValueError: no such"),
        ("", "ValueError"),
        (
            "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/rnn.h:48 "
            "onnxruntime::RNN<T>::RNN(const onnxruntime::OpKernelInfo&) [with T = float] it was false. Sorry.",
            "ValueError: it was false. Sorry.",
        ),
        (
            "[08:44:47] /workspace/src/common/json.cc:409: Expecting a comma\n\nStack trace:\n  [bt] (0) lib.so(+0x1)",
            "ValueError: Expecting a comma",
        ),
        ("util/stream/input.cpp:77: Failed to read", "ValueError: Failed to read"),
        ("x" * 1000, "ValueError: " + "x" * 388 + " ..."),
    ],
    ids=["colours", "nothing", "where in C++", "a stack of C++", "a place in C++", "too much"],
)
def test_the_cause_is_what_a_person_can_use(said, cause):
    with pytest.raises(SourceError) as refused, refusing("it fails", next_step="try again"):
        raise ValueError(said)
    assert refused.value.cause == cause


def test_errors_of_ours_and_want_of_memory_pass():
    for error in (SourceError("known"), MemoryError()):
        with pytest.raises(type(error)) as raised, refusing("it fails", next_step="try again"):
            raise error
        assert raised.value is error
