# SPDX-License-Identifier: Apache-2.0
"""``derive`` relies on it: Triton repeats the one row of a warm-up file until a batch is full, and runs that batch."""

import numpy as np
import onnx
import pytest

from repo_tool.config import pbtxt
from repo_tool.config.derive import DeriveOptions, derive
from repo_tool.datatypes import DataType
from repo_tool.errors import ServerStartError
from repo_tool.signature import ModelSignature, TensorSpec
from repo_tool.triton import EmbeddedServer, ServerOptions
from support.onnx_cases import at_most

SIGNATURE = ModelSignature(
    inputs=(TensorSpec(name="x", datatype=DataType.FP32, shape=(-1, 4)),),
    outputs=(TensorSpec(name="y", datatype=DataType.FP32, shape=(-1, 4)),),
)


@pytest.mark.parametrize(("most", "is_ready"), [(32, True), (31, False)])
def test_the_largest_batch_is_run_before_the_model_is_ready(tmp_path, most, is_ready):
    options = DeriveOptions(name="picky", backend="onnxruntime", cores=1, warmup_shapes={"x": (4,)}, row_bytes=32)
    config = derive(SIGNATURE, options)
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 32]
    model = tmp_path / "picky"
    (model / "1").mkdir(parents=True)
    (model / "warmup").mkdir()
    onnx.save(at_most(most), model / "1" / "model.onnx")
    (model / "warmup" / "x").write_bytes(np.zeros(4, np.float32).tobytes())
    (model / "config.pbtxt").write_text(pbtxt.render(config))
    assert loads(tmp_path) is is_ready


def loads(repository):
    """Whether Triton makes the model ready. Refusing a failed warm-up is a race in 2.51, which now and then ends it."""
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0)) as server:
        try:
            return all(outcome.is_ready for outcome in server.load_all())
        except ServerStartError:
            return False
