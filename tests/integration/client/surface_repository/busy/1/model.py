# SPDX-License-Identifier: Apache-2.0
import json
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, _):
        self.turn = 0

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        self.turn += 1
        gate = Path(pb_utils.get_input_tensor_by_name(request, "gate").as_numpy()[0, 0].decode())
        gate.with_suffix(".begun").touch()
        limit_s = json.loads(request.parameters()).get("limit_s", 20)
        if limit_s < 0:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("time runs forward"))
        deadline = time.monotonic() + limit_s
        while not gate.exists() and time.monotonic() < deadline:
            time.sleep(0.005)  # between two looks
        return pb_utils.InferenceResponse([pb_utils.Tensor("turn", np.array([[self.turn]], np.int32))])
