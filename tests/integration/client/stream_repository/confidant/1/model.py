# SPDX-License-Identifier: Apache-2.0
import json
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    told = request.parameters()
    _dawdle(request, json.loads(told).get("dawdle_s", 0))
    both = np.concatenate([tensor.as_numpy() for tensor in request.inputs()])
    parameters = np.array([told.encode()], object)
    return pb_utils.InferenceResponse([pb_utils.Tensor("both", both), pb_utils.Tensor("parameters", parameters)])


def _dawdle(request, seconds):
    """Let the time pass, and leave a sign when the request is taken back meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)  # the slow model itself
        if request.is_cancelled():
            Path(__file__).with_name(f"{request.request_id()}.cancelled").touch()
            return
