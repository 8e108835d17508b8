# SPDX-License-Identifier: Apache-2.0
import time
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    seconds = pb_utils.get_input_tensor_by_name(request, "seconds").as_numpy()
    if seconds[0] < 0:
        raise ValueError("time runs forward")
    if request.request_id():  # a sign to whoever waits for the request to be under way
        Path(__file__).with_name(f"{request.request_id()}.begun").touch()
    time.sleep(float(seconds[0]))  # the slow model itself: as long as the request asks
    return pb_utils.InferenceResponse([pb_utils.Tensor("slept", seconds)])
