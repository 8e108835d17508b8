# SPDX-License-Identifier: Apache-2.0
"""Requests to a Triton under test, through NVIDIA's own client."""

import numpy as np
from tritonclient import grpc
from tritonclient.utils import np_to_triton_dtype


def infer(client, model, feeds, *, outputs=None):
    """The answer as arrays by name; ``outputs`` names the ones to ask for (all of them when None)."""
    requested = None if outputs is None else [grpc.InferRequestedOutput(name) for name in outputs]
    result = client.infer(model, [_input(name, array) for name, array in feeds.items()], outputs=requested)
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def _input(name, array):
    array = np.asarray(array)
    tensor = grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor
