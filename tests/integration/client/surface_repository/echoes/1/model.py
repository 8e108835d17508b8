# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, _):
        self.said = []

    def execute(self, requests):
        for request in requests:
            if pb_utils.get_input_tensor_by_name(request, "START").as_numpy().flat[0]:
                self.said = []
            self.said.append(int(pb_utils.get_input_tensor_by_name(request, "x").as_numpy().flat[0]))
            sender = request.get_response_sender()
            for number in self.said:
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("y", np.array([[number]], np.int32))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
