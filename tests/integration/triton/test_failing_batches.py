# SPDX-License-Identifier: Apache-2.0
"""Requests that fail together are answered with an error each, and the server lives on."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from repo_tool.triton import EmbeddedServer, ServerOptions
from support.inference import infer
from support.onnx_cases import Case, at_most, config

ROW = np.ones((1, 4), np.float32)
TOGETHER = "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 2000000 }"


def test_a_batch_that_fails_leaves_the_server_alive(tmp_path):
    tensors = [("x", "FP32", [4])], [("y", "FP32", [4])]
    Case("picky", at_most(3), config(*tensors, batch=4, extra=TOGETHER)).write(tmp_path)
    Case("alone", at_most(3), config(*tensors, batch=4)).write(tmp_path)
    with EmbeddedServer(tmp_path, ServerOptions(graceful_stop_s=0)) as server:
        assert all(outcome.is_ready for outcome in server.load_all())
        with grpc.InferenceServerClient(server.grpc_url) as client, ThreadPoolExecutor(4) as threads:
            asked = [threads.submit(infer, client, "picky", {"x": ROW}) for _ in range(4)]
            for answer in asked:
                with pytest.raises(InferenceServerException, match="ConstantOfShape"):
                    answer.result()
            assert (infer(client, "alone", {"x": ROW})["y"] == ROW).all()
