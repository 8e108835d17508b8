# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    total = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().sum(axis=(1, 2))[:, None]
    weight = pb_utils.get_input_tensor_by_name(request, "weight")
    if weight is not None:
        total = total * weight.as_numpy()
    label = np.where(total > 0, b"high", b"low").astype(object)
    return pb_utils.InferenceResponse([pb_utils.Tensor("label", label), pb_utils.Tensor("total", total)])
