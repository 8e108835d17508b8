# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            _answer(request)


def _answer(request):
    prompt, count, weights = (tensor.as_numpy() for tensor in sorted(request.inputs(), key=_place))
    sender = request.get_response_sender()
    for index in range(abs(int(count[0]))):
        text = prompt[0] + b" " + str(index).encode()
        tensors = [
            pb_utils.Tensor("text", np.array([text], dtype=object)),
            pb_utils.Tensor("index", np.array([index])),
            pb_utils.Tensor("weights", weights),
            pb_utils.Tensor("square", np.zeros(3 if prompt[0] == b"short" else (2, 2), np.float32)),
        ]
        sender.send(pb_utils.InferenceResponse(tensors))
    if count[0] < 0:
        sender.send(pb_utils.InferenceResponse([], error=pb_utils.TritonError("the words ran out")))
    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _place(tensor):
    return ["prompt", "count", "weights"].index(tensor.name())
