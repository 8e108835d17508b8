# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    if (x == 13).any():
        return pb_utils.InferenceResponse(error=pb_utils.TritonError("thirteen brings bad luck"))
    word = pb_utils.get_input_tensor_by_name(request, "word")
    words = np.full((len(x), 1), b"none", object) if word is None else word.as_numpy()
    tensors = {
        "y": x * 2,
        "rows": np.full((len(x), 1), len(x), np.int32),
        "words": words,
        "padded": np.zeros((len(x), int(x.max())), np.int32) if x.max() > 0 else np.zeros((len(x), 0), np.int32),
    }
    if (x == 14).any():
        tensors["y"] = tensors["y"][1:]  # a row short, as no model that batches should be
    wanted = request.requested_output_names()
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, tensors[name]) for name in tensors if name in wanted])
