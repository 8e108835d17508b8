# SPDX-License-Identifier: Apache-2.0
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    values = pb_utils.get_input_tensor_by_name(request, "values").as_numpy()
    seconds = pb_utils.get_input_tensor_by_name(request, "seconds")
    if seconds is not None:
        time.sleep(float(seconds.as_numpy()[0]))  # the slow model itself: as long as the request asks
    times = pb_utils.get_input_tensor_by_name(request, "times")
    if times is not None:
        values = np.tile(values, times.as_numpy()[0])
    return pb_utils.InferenceResponse([pb_utils.Tensor("next", values + 1)])
