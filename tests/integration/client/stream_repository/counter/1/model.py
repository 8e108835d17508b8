# SPDX-License-Identifier: Apache-2.0
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            _count(request, request.get_response_sender())


def _count(request, sender):
    upto = int(pb_utils.get_input_tensor_by_name(request, "upto").as_numpy()[0])
    pause = pb_utils.get_input_tensor_by_name(request, "pause_s")
    for number in range(abs(upto)):
        if request.is_cancelled():
            Path(__file__).with_name(f"{request.request_id()}.cancelled").touch()
            break
        sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("number", np.array([number], np.int32))]))
        time.sleep(0.0 if pause is None else float(pause.as_numpy()[0]))  # the slow model itself
    if upto < 0:
        failed = pb_utils.InferenceResponse([], pb_utils.TritonError("there is nothing below zero"))
        sender.send(failed, flags=FINAL)
    else:
        sender.send(flags=FINAL)
