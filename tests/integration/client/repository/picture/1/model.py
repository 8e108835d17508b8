# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    files = pb_utils.get_input_tensor_by_name(request, "file").as_numpy()
    lengths = np.array([[len(file)] for file in files[:, 0]], np.int64)
    return pb_utils.InferenceResponse([pb_utils.Tensor("length", lengths)])
