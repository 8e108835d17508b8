# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    both = np.concatenate([tensor.as_numpy() for tensor in request.inputs()])
    parameters = np.array([request.parameters().encode()], object)
    return pb_utils.InferenceResponse([pb_utils.Tensor("both", both), pb_utils.Tensor("parameters", parameters)])
