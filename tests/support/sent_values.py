# SPDX-License-Identifier: Apache-2.0
"""What a value is when it has reached a server."""

from repo_client import Client, ModelSignature, TensorSpec
from repo_client.testing import InMemoryTransport


def sent(datatype, shape, value, *, columns=(), nan="allow", **options):
    """``value`` passed to an input ``x`` of a model: the array that the server read, and the bytes it came as."""
    tensor = TensorSpec(name="x", datatype=datatype, shape=tuple(shape), columns=columns)
    output = TensorSpec(name="y", datatype=datatype, shape=tuple(shape))
    signature = ModelSignature(
        name="m", version="", versions=("1",), platform="", max_batch_size=0, inputs=(tensor,), outputs=(output,)
    )
    transport = InMemoryTransport(signature, answer=lambda inputs: {"y": inputs["x"]})
    with Client("grpc://nowhere", transport=transport) as client:
        client.model("m", nan=nan).infer({"x": value}, **options)
    call = transport.calls[-1]
    return call.inputs["x"], call.request.inputs[0].data
