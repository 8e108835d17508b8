# SPDX-License-Identifier: Apache-2.0
"""Small ONNX repositories and what NVIDIA's ONNX Runtime backend (24.10, CPU) did with each, as measured.

A case is a model, a configuration, the verdict at load with key words of the reason, and requests with their answers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from support.arrays import EXTREMES, rows

F32 = TensorProto.FLOAT
I64 = TensorProto.INT64
WEIGHTS = np.arange(8, dtype=np.float32).reshape(4, 2)


def save_file(model, folder):
    (folder / "model.onnx").write_bytes(model.SerializeToString())


@dataclass(frozen=True)
class Request:
    """Feeds, and either the whole answer or key words of the error."""

    feeds: dict
    answer: dict | None = None
    error: str = ""


@dataclass(frozen=True)
class Case:
    """One repository with one model."""

    name: str
    model: onnx.ModelProto | None
    config: str  # without the name
    refused: str = ""  # key words of the reason; empty: it loads
    requests: tuple[Request, ...] = ()
    save: Callable[[onnx.ModelProto, Path], None] = save_file

    def write(self, repository: Path) -> None:
        folder = repository / self.name / "1"
        folder.mkdir(parents=True)
        if self.model is not None:
            self.save(self.model, folder)
        (folder.parent / "config.pbtxt").write_text(f'name: "{self.name}"\n{self.config}\n')


def tensor(name, shape, element_type=F32):
    return helper.make_tensor_value_info(name, element_type, shape)


def model(nodes, inputs, outputs, initializers=(), *, opset=17, ir=8, domains=()):
    graph = helper.make_graph(nodes, "case", inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, version) for domain, version in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def node(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs, outputs, **attributes)


def linear(rows="N", *, declared_columns=2, **versions):
    """``y [rows, 2] = x [rows, 4] @ WEIGHTS``."""
    return model(
        [node("MatMul", ["x", "w"], ["y"])],
        [tensor("x", [rows, 4])],
        [tensor("y", [rows, declared_columns])],
        [numpy_helper.from_array(WEIGHTS, "w")],
        **versions,
    )


def relu(shape=("N", "M")):
    return model([node("Relu", ["x"], ["y"])], [tensor("x", list(shape))], [tensor("y", list(shape))])


def identity(element_type, shape=("N", 3)):
    return model(
        [node("Identity", ["x"], ["y"])],
        [tensor("x", list(shape), element_type)],
        [tensor("y", list(shape), element_type)],
    )


def addition(*, opset=17):
    """``y = a + b``, both required."""
    return model(
        [node("Add", ["a", "b"], ["y"])],
        [tensor("a", ["N", 4]), tensor("b", ["N", 4])],
        [tensor("y", ["N", 4])],
        opset=opset,
    )


def addition_with_default():
    """``y = x + k`` where ``k`` is an initializer that a request may override; without a batch dimension."""
    return model(
        [node("Add", ["x", "k"], ["y"])],
        [tensor("x", ["N", 4]), tensor("k", [4])],
        [tensor("y", ["N", 4])],
        [numpy_helper.from_array(np.full(4, 10, np.float32), "k")],
    )


def reduced(axes, *, keep, declared, x=("N", 4)):
    """``y = sum of x over axes``."""
    return model(
        [node("ReduceSum", ["x", "axes"], ["y"], keepdims=keep)],
        [tensor("x", list(x))],
        [tensor("y", declared)],
        [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )


def classifier():
    return model(
        [
            node("MatMul", ["x", "w"], ["scores"]),
            node("Softmax", ["scores"], ["probabilities"]),
            node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ],
        [tensor("x", ["N", 4])],
        [tensor("label", ["N"], I64), tensor("probabilities", ["N", 2])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )


def with_sequence():
    sequence = helper.make_tensor_sequence_value_info("q", F32, None)
    return model(
        [node("Relu", ["x"], ["y"]), node("SequenceConstruct", ["x"], ["q"])],
        [tensor("x", ["N", 4])],
        [tensor("y", ["N", 4]), sequence],
    )


def with_zipmap():
    keys = helper.make_map_type_proto(I64, helper.make_tensor_type_proto(F32, None))
    prob = helper.make_value_info("prob", helper.make_sequence_type_proto(keys))
    return model(
        [
            node("Relu", ["x"], ["y"]),
            node("ZipMap", ["x"], ["prob"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3]),
        ],
        [tensor("x", ["N", 4])],
        [tensor("y", ["N", 4]), prob],
        domains=[("ai.onnx.ml", 1)],
    )


def with_optional_type():
    optional = helper.make_optional_type_proto(helper.make_tensor_type_proto(F32, ["N", 4]))
    return model(
        [node("Relu", ["x"], ["y"]), node("Optional", ["x"], ["o"])],
        [tensor("x", ["N", 4])],
        [tensor("y", ["N", 4]), helper.make_value_info("o", optional)],
    )


def cast_from(element_type, shape=("N", 4), *, opset=21, ir=10):
    return model(
        [node("Cast", ["x"], ["y"], to=F32)],
        [tensor("x", list(shape), element_type)],
        [tensor("y", list(shape))],
        opset=opset,
        ir=ir,
    )


def at_most(rows):
    """Any number of rows by its signature; it fails above ``rows``."""
    nodes = [
        node("Shape", ["x"], ["all"]),
        node("Gather", ["all", "first"], ["count"]),
        node("Sub", ["most", "count"], ["left"]),
        node("ConstantOfShape", ["left"], ["room"]),  # refuses a negative shape
        node("ReduceSum", ["room"], ["nothing"], keepdims=0),
        node("Add", ["x", "nothing"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([rows], np.int64), "most"),
    ]
    return model(nodes, [tensor("x", ["N", 4])], [tensor("y", ["N", 4])], constants)


def skipping_first_row():
    starts = [numpy_helper.from_array(np.array([value], np.int64), name) for name, value in (("s", 1), ("e", 1 << 60))]
    axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
    return model(
        [node("Slice", ["x", "s", "e", "axes"], ["y"])],
        [tensor("x", ["N", 4])],
        [tensor("y", ["M", 4])],
        [*starts, axes],
    )


def io(kind, name, data_type, dims, extra=""):
    values = ", ".join(str(dim) for dim in dims)
    return f'{kind} {{ name: "{name}" data_type: TYPE_{data_type} dims: [ {values} ] {extra} }}'


def config(inputs, outputs, *, batch=4, extra="", instances="instance_group { count: 1 kind: KIND_CPU }"):
    lines = ['backend: "onnxruntime"', f"max_batch_size: {batch}"]
    lines += [io("input", *each) for each in inputs] + [io("output", *each) for each in outputs]
    return "\n".join([*lines, instances, extra])


def parameter(key, value):
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


X, Y2 = ("x", "FP32", [4]), ("y", "FP32", [2])
Y4 = ("y", "FP32", [4])
LINEAR = config([X], [Y2])
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)
LINEAR_REQUEST = Request({"x": ROWS}, {"y": ROWS @ WEIGHTS})
RELU_REQUEST = Request({"x": ROWS}, {"y": ROWS})

START = (
    'sequence_batching { control_input [ { name: "b"'
    " control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] } ] }"
)

NAMES = (
    Case(
        "control_given",
        model(
            [node("Add", ["x", "b"], ["y"])],
            [tensor("x", ["N", 4]), tensor("b", ["N", 1])],
            [tensor("y", ["N", 4])],
        ),
        config([X], [Y4], extra=START),
    ),
    Case(
        "control_missing_in_graph",
        linear(),
        config([X], [Y2], extra=START),
        "configuration expects 2 inputs, model provides 1",
    ),
    Case(
        "control_missing_in_cfg",
        addition(),
        config([("a", "FP32", [4])], [Y4], extra="sequence_batching { }"),
        "configuration expects 1 inputs, model provides 2",
    ),
    Case(
        "in_name_wrong",
        linear(),
        config([("X", "FP32", [4])], [Y2]),
        "unexpected inference input 'X', allowed inputs are: x",
    ),
    Case(
        "out_name_wrong",
        linear(),
        config([X], [("Y", "FP32", [2])]),
        "unexpected inference output 'Y', allowed outputs are: y",
    ),
    Case(
        "input_missing_in_cfg",
        addition(),
        config([("a", "FP32", [4])], [Y4]),
        "configuration expects 1 inputs, model provides 2",
    ),
    Case(
        "input_extra_in_cfg",
        linear(),
        config([X, ("z", "FP32", [4])], [Y2]),
        "configuration expects 2 inputs, model provides 1",
    ),
    Case(
        "input_unused_by_graph",
        model([node("Relu", ["x"], ["y"])], [tensor("x", ["N", 4]), tensor("u", ["N", 1])], [tensor("y", ["N", 4])]),
        config([X, ("u", "FP32", [1])], [Y4]),
        requests=(Request({"x": ROWS, "u": ROWS[:, :1]}, {"y": ROWS}),),
    ),
    Case(
        "output_subset",
        classifier(),
        config([X], [("probabilities", "FP32", [2])]),
        requests=(Request({"x": ROWS[:1] * 0}, {"probabilities": np.full((1, 2), 0.5, np.float32)}),),
    ),
    Case(
        "output_extra_in_cfg",
        linear(),
        config([X], [Y2, ("z", "FP32", [2])]),
        "unexpected inference output 'z', allowed outputs are: y",
    ),
    Case(
        "no_output_in_cfg",
        linear(),
        config([X], []),
        requests=(Request({"x": ROWS}, error="At least one output should be requested"),),
    ),
)

ELEMENT_TYPES = {"FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE}


def _identity_case(name):
    element_type = ELEMENT_TYPES.get(name) or TensorProto.DataType.Value(name)
    request = Request({"x": rows(name)}, {"y": rows(name)})
    return Case(name, identity(element_type), config([("x", name, [3])], [("y", name, [3])]), requests=(request,))


TYPES = (
    *(_identity_case(name) for name in EXTREMES),
    Case(
        "in_dtype_wrong",
        linear(),
        config([("x", "FP64", [4])], [Y2]),
        "configuration expects datatype TYPE_FP64 for input 'x', model provides TYPE_FP32",
    ),
    Case(
        "out_dtype_wrong",
        linear(),
        config([X], [("y", "FP64", [2])]),
        "configuration expects datatype TYPE_FP64 for output 'y', model provides TYPE_FP32",
    ),
    Case(
        "BF16",
        identity(TensorProto.BFLOAT16),
        config([("x", "BF16", [3])], [("y", "BF16", [3])]),
        "unsupported datatype TYPE_BF16 for input 'x' for model 'BF16'",
    ),
    Case(
        "BF16_inside_only",
        model(
            [node("Cast", ["x"], ["b"], to=TensorProto.BFLOAT16), node("Cast", ["b"], ["y"], to=F32)],
            [tensor("x", ["N", 4])],
            [tensor("y", ["N", 4])],
        ),
        config([X], [Y4]),
        requests=(RELU_REQUEST,),
    ),
    Case(
        "FP8_in_onnx",
        cast_from(TensorProto.FLOAT8E4M3FN),
        config([("x", "UINT8", [4])], [Y4]),
        "configuration expects datatype TYPE_UINT8 for input 'x', model provides TYPE_<invalid>",
    ),
    Case("INT4_in_onnx", cast_from(TensorProto.INT4), config([("x", "INT8", [4])], [Y4]), "TYPE_<invalid>"),
    Case(
        "COMPLEX64_in_onnx",
        identity(TensorProto.COMPLEX64),
        config([("x", "FP32", [3])], [("y", "FP32", [3])]),
        "onnx runtime error 1: Load model from",
    ),
)

MISMATCH = "but the model configuration specifies"
UNBATCHABLE = (
    "for the model to support batching the shape should have at least 1 dimension and the first dimension must be -1"
)
SCALAR = "should only provide 1 in the model configuration"
SPLIT = "failed to split the output tensor 'y' in responses: expected batch size of"
TO_SCALAR = "reshape { shape: [ ] }"

SHAPES = (
    Case(
        "in_dims_wrong",
        linear(),
        config([("x", "FP32", [5])], [Y2]),
        f"the model expects 2 dimensions (shape [-1,4]) {MISMATCH} 2",
    ),
    Case(
        "in_rank_wrong",
        linear(),
        config([("x", "FP32", [4, 1])], [Y2]),
        f"the model expects 2 dimensions (shape [-1,4]) {MISMATCH} 3",
    ),
    Case(
        "in_dims_free_onnx_fixed",
        linear(),
        config([("x", "FP32", [-1])], [Y2]),
        f"tensor 'x': the model expects 2 dimensions (shape [-1,4]) {MISMATCH}",
    ),
    Case(
        "in_dims_fixed_onnx_free",
        relu(),
        config([X], [("y", "FP32", [-1])]),
        requests=(RELU_REQUEST,),
    ),
    Case(
        "out_dims_wrong",
        linear(),
        config([X], [("y", "FP32", [3])]),
        f"tensor 'y': the model expects 2 dimensions (shape [-1,2]) {MISMATCH}",
    ),
    Case(
        "out_dims_free_onnx_fixed",
        linear(),
        config([X], [("y", "FP32", [-1])]),
        f"tensor 'y': the model expects 2 dimensions (shape [-1,2]) {MISMATCH}",
    ),
    Case(
        "out_dims_fixed_onnx_really_free",
        relu(),
        config([X], [Y4]),
        f"tensor 'y': the model expects 2 dimensions (shape [-1,-1]) {MISMATCH}",
    ),
    Case(
        "out_dims_free_onnx_free",
        relu(),
        config([("x", "FP32", [-1])], [("y", "FP32", [-1])]),
        requests=(RELU_REQUEST,),
    ),
    Case("out_dims_fixed_onnx_inferred", linear(declared_columns="M"), LINEAR, requests=(LINEAR_REQUEST,)),
    Case("batch_dim_fixed_mb4", linear(1), LINEAR, f"tensor 'x': {UNBATCHABLE}"),
    Case(
        "batch_fixed_only_out",
        reduced([0], keep=1, declared=[1, 4]),
        config([X], [Y4]),
        f"tensor 'y': {UNBATCHABLE}",
    ),
    Case(
        "batch_dim_fixed_mb0",
        linear(1),
        config([("x", "FP32", [1, 4])], [("y", "FP32", [1, 2])], batch=0),
        requests=(Request({"x": ROWS[:1]}, {"y": ROWS[:1] @ WEIGHTS}),),
    ),
    Case(
        "batch_dyn_mb0",
        linear(),
        config([("x", "FP32", [-1, 4])], [("y", "FP32", [-1, 2])], batch=0),
        requests=(LINEAR_REQUEST,),
    ),
    Case(
        "out_not_batched_runtime",
        reduced([0], keep=1, declared=["N", 4]),
        config([X], [Y4]),
        f"tensor 'y': {UNBATCHABLE}",
    ),
    Case(
        "out_rows_differ_runtime",
        skipping_first_row(),
        config([X], [Y4]),
        requests=(Request({"x": ROWS[:1]}, error=SPLIT), Request({"x": np.tile(ROWS, (2, 1))[:3]}, error=SPLIT)),
    ),
    Case(
        "vector_out_mb4",
        reduced([1], keep=0, declared=["N"]),
        config([X], [("y", "FP32", [1], TO_SCALAR)]),
        requests=(Request({"x": ROWS}, {"y": ROWS.sum(axis=1, keepdims=True)}),),
    ),
    Case(
        "vector_out_mb4_noreshape",
        reduced([1], keep=0, declared=["N"]),
        config([X], [("y", "FP32", [1])]),
        f"the model expects 1 dimensions (shape [-1]) {MISMATCH} 2 dimensions",
    ),
    Case(
        "sklearn_style_label_as_dims1",
        classifier(),
        config([X], [("label", "INT64", [1]), ("probabilities", "FP32", [2])]),
        f"tensor 'label': the model expects 1 dimensions (shape [-1]) {MISMATCH}",
    ),
    Case(
        "sklearn_style_nozipmap",
        classifier(),
        config([X], [("label", "INT64", [1], TO_SCALAR), ("probabilities", "FP32", [2])]),
        requests=(
            Request(
                {"x": ROWS * 0},
                {"label": np.zeros((2, 1), np.int64), "probabilities": np.full((2, 2), 0.5, np.float32)},
            ),
        ),
    ),
    Case(
        "in_reshape",
        relu(("N", 2, 2)),
        config([("x", "FP32", [4], "reshape { shape: [ 2, 2 ] }")], [("y", "FP32", [2, 2])]),
        requests=(Request({"x": ROWS}, {"y": ROWS.reshape(2, 2, 2)}),),
    ),
    Case(
        "out_reshape",
        relu(("N", 2, 2)),
        config([("x", "FP32", [2, 2])], [("y", "FP32", [4], "reshape { shape: [ 2, 2 ] }")]),
        requests=(Request({"x": ROWS.reshape(2, 2, 2)}, {"y": ROWS}),),
    ),
    Case(
        "scalar_out_mb0",
        reduced([0], keep=0, declared=[], x=[4]),
        config([X], [("y", "FP32", [1])], batch=0),
        requests=(Request({"x": ROWS[0]}, {"y": np.array([6], np.float32)}),),
    ),
    Case(
        "scalar_out_mb4",
        reduced([0, 1], keep=0, declared=[]),
        config([X], [("y", "FP32", [1])]),
        requests=(Request({"x": ROWS[:1]}, {"y": np.array([[6]], np.float32)}), Request({"x": ROWS}, error=SPLIT)),
    ),
    Case(
        "scalar_in_mb0",
        relu(()),
        config([("x", "FP32", [1])], [("y", "FP32", [1])], batch=0),
        requests=(Request({"x": np.array([3], np.float32)}, {"y": np.array([3], np.float32)}),),
    ),
    Case(
        "symbol_rankless_out",
        model(
            [node("Reshape", ["x", "s"], ["y"])],
            [tensor("x", ["N"]), tensor("s", ["K"], I64)],
            [helper.make_tensor_value_info("y", F32, None)],
        ),
        config([("x", "FP32", [-1]), ("s", "INT64", [-1])], [("y", "FP32", [-1])], batch=0),
        f"scalar tensor 'y', {SCALAR}",
    ),
    Case(
        "ragged_input",
        relu(("N",)),
        config([("x", "FP32", [-1], "allow_ragged_batch: true")], [("y", "FP32", [-1])]),
        f"tensor 'y': the model expects 1 dimensions (shape [-1]) {MISMATCH} 2",
    ),
    Case(  # NVIDIA's backend loads it: the one difference, and it is said
        "ragged_input_summed",
        reduced([0], keep=1, declared=[1], x=["N"]),
        config([("x", "FP32", [-1], "allow_ragged_batch: true")], []),
        "ragged batches are not supported by the embedded backend",
    ),
    Case(
        "ragged_input_of_rank_2",
        relu(),
        config([("x", "FP32", [-1], "allow_ragged_batch: true")], [("y", "FP32", [-1])]),
        "configuration expects model provides input with shape [-1]",
    ),
    Case(
        "zero_size_mb0",
        linear(),
        config([("x", "FP32", [-1, 4])], [("y", "FP32", [-1, 2])], batch=0),
        requests=(Request({"x": ROWS[:0]}, {"y": np.empty((0, 2), np.float32)}),),
    ),
    Case(
        "zero_size_inner",
        relu(),
        config([("x", "FP32", [-1])], [("y", "FP32", [-1])]),
        requests=(Request({"x": ROWS[:, :0]}, {"y": ROWS[:, :0]}),),
    ),
    Case(
        "zero_size_batch0_mb4",
        relu(),
        config([("x", "FP32", [-1])], [("y", "FP32", [-1])]),
        requests=(Request({"x": ROWS[:0]}, error="byte size"),),
    ),
)


def _in_folder(proto, folder):
    (folder / "model.onnx").mkdir()
    save_file(proto, folder / "model.onnx")


def _under_another_name(proto, folder):
    (folder / "other.onnx").write_bytes(proto.SerializeToString())


def _with_external_data(proto, folder):
    copy = onnx.ModelProto.FromString(proto.SerializeToString())  # saving empties the weights of what it is given
    onnx.save_model(
        copy, str(folder / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0
    )


OTHER_NAME = 'default_model_filename: "other.onnx"'
OPTIONAL_K = ("k", "FP32", [4], "optional: true")
X_MB0, Y4_MB0 = ("x", "FP32", [-1, 4]), ("y", "FP32", [-1, 4])
SEQUENCE = "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O"

KINDS = (
    Case("sequence_out_listed", with_sequence(), config([X], [Y4, ("q", "FP32", [4])]), f"{SEQUENCE} 'q'"),
    Case("sequence_out_unlisted", with_sequence(), config([X], [Y4]), f"{SEQUENCE} 'q'"),
    Case("zipmap_unlisted", with_zipmap(), config([X], [Y4]), f"{SEQUENCE} 'prob'"),
    Case(
        "onnx_optional_type",
        with_optional_type(),
        config([X], [Y4]),
        "Unsupported ONNX Type 'ONNX_TYPE_UNKNOWN' for I/O 'o'",
    ),
    Case(
        "optional_initializer_mb0",
        addition_with_default(),
        config([X_MB0, OPTIONAL_K], [Y4_MB0], batch=0),
        requests=(
            Request({"x": ROWS}, {"y": ROWS + 10}),
            Request({"x": ROWS, "k": np.ones(4, np.float32)}, {"y": ROWS + 1}),
        ),
    ),
    Case(
        "optional_initializer_mb4",
        addition_with_default(),
        config([X, OPTIONAL_K], [Y4]),
        "optional input 'k' is not supported for models that support batching",
    ),
    Case(
        "optional_plain_input",
        addition(),
        config([("a", "FP32", [-1, 4]), ("b", "FP32", [-1, 4], "optional: true")], [Y4_MB0], batch=0),
        "configuration expects 1 inputs, model provides 2",
    ),
    Case("opset22_ir10", linear(opset=22, ir=10), LINEAR, "onnx runtime error 1: Load model from"),
    Case(
        "opset21_ir11",
        linear(opset=21, ir=11),
        LINEAR,
        "Unsupported model IR version: 11, max supported IR version: 10",
    ),
    Case("opset21_ir10", linear(opset=21, ir=10), LINEAR, requests=(LINEAR_REQUEST,)),
    Case(
        "unknown_op",
        model(
            [node("Nope", ["x"], ["y"], domain="my.ops")],
            [tensor("x", ["N", 4])],
            [tensor("y", ["N", 4])],
            domains=[("my.ops", 1)],
        ),
        config([X], [Y4]),
        "my.ops:Nope(-1) is not a registered",
    ),
    Case("external_data", linear(), LINEAR, requests=(LINEAR_REQUEST,), save=_with_external_data),
    Case("model_dir", linear(), LINEAR, requests=(LINEAR_REQUEST,), save=_in_folder),
    Case(
        "default_filename",
        linear(),
        config([X], [Y2], extra=OTHER_NAME),
        requests=(LINEAR_REQUEST,),
        save=_under_another_name,
    ),
    Case(
        "default_filename_missing",
        linear(),
        config([X], [Y2], extra=OTHER_NAME),
        "default_filename_missing/1/other.onnx",
    ),
    Case("file_missing", None, LINEAR, "file_missing/1/model.onnx"),
)


def _with_parameter(key, value, *, refused="", error=""):
    name = f"param_{key}_{value}".replace(":", "_")
    request = Request({"x": ROWS}, error=error) if error else LINEAR_REQUEST
    requests = () if refused else (request,)
    return Case(name, linear(), config([X], [Y2], extra=parameter(key, value)), refused, requests)


NINE_ZEROS = 'inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 9 ] zero_data: true } }'
WARMUP = f'model_warmup {{ name: "w" batch_size: 1 {NINE_ZEROS} }}'


def _accelerated(kind, name):
    return f'optimization {{ execution_accelerators {{ {kind}_execution_accelerator [ {{ name: "{name}" }} ] }} }}'


PARAMETERS = (
    _with_parameter("intra_op_thread_count", "1"),
    _with_parameter("intra_op_thread_count", "abc", refused="failed to convert 'abc' to integral number"),
    _with_parameter("intra_op_thread_count", "-3"),
    # NVIDIA's backend takes the whole server down with it; ours may not.
    _with_parameter(
        "intra_op_thread_count", "99999999999", refused="failed to convert '99999999999' to integral number"
    ),
    _with_parameter("execution_mode", "1"),
    _with_parameter("execution_mode", "2", refused="execution_mode are 0 or 1 but got 2"),
    _with_parameter("enable_mem_arena", "Off"),
    _with_parameter("enable_mem_arena", "maybe", refused="failed to convert 'maybe' to boolean"),
    _with_parameter("enable_mem_pattern", "2", refused="failed to convert '2' to boolean"),
    _with_parameter("memory.enable_memory_arena_shrinkage", "cpu:0"),
    _with_parameter(
        "memory.enable_memory_arena_shrinkage", "bogus", error="Unsupported device specified in the memory arena"
    ),
    _with_parameter("allow_spinning", "0"),
    _with_parameter("cudnn_conv_algo_search", "9"),
    Case(
        "accel_openvino",
        linear(),
        config([X], [Y2], extra=_accelerated("cpu", "openvino")),
        "unknown Execution Accelerator 'openvino' is requested",
    ),
    Case(
        "accel_tensorrt_on_cpu",
        linear(),
        config([X], [Y2], extra=_accelerated("gpu", "tensorrt")),
        requests=(LINEAR_REQUEST,),
    ),
    Case(
        "graph_level_2",
        linear(),
        config([X], [Y2], extra="optimization { graph { level: 2 } }"),
        requests=(LINEAR_REQUEST,),
    ),
    Case(
        "kind_gpu",
        linear(),
        config([X], [Y2], instances="instance_group { count: 1 kind: KIND_GPU }"),
        "has kind KIND_GPU but no GPUs are available",
    ),
    Case("no_instance_group", linear(), config([X], [Y2], instances=""), requests=(LINEAR_REQUEST,)),
    Case(
        "warm_wrong_shape",
        linear(),
        config([X], [Y2], extra=WARMUP),
        "unexpected shape for input 'x' for model 'warm_wrong_shape'. Expected [-1,4], got [1,9]",
    ),
)

CASES = (*NAMES, *TYPES, *SHAPES, *KINDS, *PARAMETERS)
