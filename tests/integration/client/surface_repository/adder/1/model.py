# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, _):
        self.sums, self.ended = {}, 0

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        if not tensors["READY"].flat[0]:  # the empty place of another sequence in the batch
            return pb_utils.InferenceResponse([])
        key = request.correlation_id()
        if tensors["START"].flat[0]:
            self.sums[key] = 0
        self.sums[key] += int(tensors["x"].flat[0])
        total = self.sums[key]
        if tensors["END"].flat[0]:
            del self.sums[key]
            self.ended += 1
        if tensors["x"].flat[0] == 13:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("thirteen brings bad luck"))
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("sum", np.array([[total]], np.int32)),
                pb_utils.Tensor("id", np.array([[str(key).encode()]], object)),
                pb_utils.Tensor("ended", np.array([[self.ended]], np.int32)),
            ]
        )
