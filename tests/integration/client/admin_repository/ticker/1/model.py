# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for tick in range(pb_utils.get_input_tensor_by_name(request, "times").as_numpy()[0]):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("tick", np.array([tick], np.int32))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
