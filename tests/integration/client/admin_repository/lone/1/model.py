# SPDX-License-Identifier: Apache-2.0
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(pb_utils.get_input_tensor_by_name(request, "x").as_numpy()) for request in requests]


def _answer(x):
    return pb_utils.InferenceResponse([pb_utils.Tensor("y", x + 1)])
