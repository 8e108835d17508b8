# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    matrix = pb_utils.get_input_tensor_by_name(request, "matrix").as_numpy()
    factor = pb_utils.get_input_tensor_by_name(request, "factor")
    scaled = matrix if factor is None else matrix * factor.as_numpy()
    # A byte order mark and a byte that is no UTF-8: words are given as they are, and bytes are not read as words.
    word = b"\xff" if scaled.sum() < 0 else "\ufeffgr\u00f6\u00dfer".encode()
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("sums", scaled.sum(axis=1)),
            pb_utils.Tensor("scaled", scaled),
            pb_utils.Tensor("class", np.array([word], dtype=object)),
        ]
    )
