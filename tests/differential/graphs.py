# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models with random tensors, and the configuration that fits each: the neighbourhood of SIG."""

from functools import cache

from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2

from differential.drafts import Draft

_TYPES = {
    "TYPE_FP32": TensorProto.FLOAT, "TYPE_INT64": TensorProto.INT64, "TYPE_FP16": TensorProto.FLOAT16,
    "TYPE_INT8": TensorProto.INT8, "TYPE_UINT8": TensorProto.UINT8, "TYPE_BOOL": TensorProto.BOOL,
    "TYPE_FP64": TensorProto.DOUBLE, "TYPE_INT32": TensorProto.INT32, "TYPE_STRING": TensorProto.STRING,
}  # fmt: skip
_NAMES = ("x", "y", "ids", "mask", "a.b", "scores", "label")


def an_onnx_model(random, name):
    """A graph that passes each input on to an output, and its configuration for the onnxruntime backend."""
    draft = Draft(name, model_config_pb2.ModelConfig(backend="onnxruntime"))
    config = draft.config
    config.max_batch_size = random.choice((0, 4, 8))
    config.instance_group.add(kind=2, count=1)
    config.parameters["intra_op_thread_count"].string_value = "1"
    inputs, outputs, nodes = [], [], []
    for index, tensor in enumerate(random.sample(_NAMES, random.choice((1, 1, 2, 3)))):
        datatype = random.choice(sorted(_TYPES))
        shape = _a_shape(random, batches=config.max_batch_size > 0)
        output = f"out_{index}"
        inputs.append(helper.make_tensor_value_info(tensor, _TYPES[datatype], shape))
        outputs.append(helper.make_tensor_value_info(output, _TYPES[datatype], shape))
        nodes.append(helper.make_node("Identity", [tensor], [output]))
        _declare(random, config.input.add(name=tensor), datatype, shape, config)
        if index == 0 or random.random() < 0.8:
            _declare(random, config.output.add(name=output), datatype, shape, config)
    graph = helper.make_graph(nodes, "case", inputs, outputs)
    version = random.choice((9, 17, 17, 17, 21, 22))
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", version)], ir_version=random.choice((8, 8, 8, 10, 11))
    )
    file = "model.onnx"
    if random.random() < 0.1:
        file = config.default_model_filename = "other.onnx"
    draft.files[f"1/{file}"] = made.SerializeToString()
    return draft


def _a_shape(random, *, batches):
    rank = random.choice((1, 1, 2, 2, 3)) if batches else random.choice((0, 1, 1, 2, 3))
    shape = [random.choice((1, 2, 4, "M", "K")) for _ in range(rank)]
    if batches and random.random() < 0.95:
        shape[0] = "N"
    return shape


def _declare(random, tensor, datatype, shape, config):
    tensor.data_type = model_config_pb2.DataType.Value(datatype)
    dims = [dim if isinstance(dim, int) else -1 for dim in shape]
    dims = dims[1:] if config.max_batch_size else dims
    if not dims:
        tensor.dims.append(1)
        if config.max_batch_size:
            tensor.reshape.SetInParent()
        return
    tensor.dims.extend(dims)
    if tensor.DESCRIPTOR.name == "ModelInput" and random.random() < 0.15:
        tensor.dims[:] = [3 if dim == -1 else dim for dim in dims]


@cache
def _measured():
    from support.onnx_cases import CASES

    return CASES


def a_measured_case(random, name, folder):
    """One of the cases measured on NVIDIA's backend, to be changed a little."""
    case = random.choice(_measured())
    case.write(folder)
    files = {
        path.relative_to(folder / case.name).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted((folder / case.name).rglob("*"))
    }
    text = files.pop("config.pbtxt").decode().replace(f'name: "{case.name}"\n', f'name: "{name}"\n', 1)
    draft = Draft(name, model_config_pb2.ModelConfig(), files, text.encode())
    draft.did(f"the measured case {case.name}")
    return draft
