# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [_answer(request) for request in requests]


def _answer(request):
    facts = {
        "request_id": request.request_id(),
        "timeout_us": request.timeout(),
        "parameters": json.loads(request.parameters()),
        "correlation_id": request.correlation_id(),
        "flags": request.flags(),
    }
    return pb_utils.InferenceResponse([pb_utils.Tensor("facts", np.array([json.dumps(facts).encode()], object))])
