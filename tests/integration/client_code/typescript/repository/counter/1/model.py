# SPDX-License-Identifier: Apache-2.0
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.totals = {}

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        amount = pb_utils.get_input_tensor_by_name(request, "amount").as_numpy()
        start = pb_utils.get_input_tensor_by_name(request, "START").as_numpy()
        sequence = request.correlation_id()  # 0 in the requests that fill a batch up
        total = amount if start.any() else amount + self.totals.get(sequence, 0)
        self.totals[sequence] = total
        return pb_utils.InferenceResponse([pb_utils.Tensor("total", total)])
