# SPDX-License-Identifier: Apache-2.0
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    seconds = pb_utils.get_input_tensor_by_name(request, "seconds").as_numpy()
    if seconds.min() < 0:
        raise ValueError("time runs forward")
    time.sleep(float(seconds.max()))  # the slow model itself: as long as the request asks
    return pb_utils.InferenceResponse([pb_utils.Tensor("slept", seconds)])
