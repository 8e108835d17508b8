# SPDX-License-Identifier: Apache-2.0
"""Models whose names, types and manners are at the edge of what a configuration may say; all answer what they get."""

from pathlib import Path

import numpy as np

from repo_tool.config.model import ModelTensor
from repo_tool.repository.layout import ModelDirectory
from repo_tool.samples import Sample, generate, write_published_sample
from repo_tool.signature import TensorSpec

# The first input of a type goes to the first output of it, and so on; what was left out comes back as one zero.
ECHO = """# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs = [each["name"] for each in config["input"]]
        self.outputs = [(each["name"], each["data_type"]) for each in config["output"]]
        self.batches = config["max_batch_size"] > 0

    def execute(self, requests):
        return [pb_utils.InferenceResponse(list(self.answers(request))) for request in requests]

    def answers(self, request):
        rows = request.inputs()[0].shape()[0] if self.batches else 1
        for name, (output, data_type) in zip(self.inputs, self.outputs, strict=True):
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if data_type == "TYPE_BF16":  # numpy has no such type
                yield pb_utils.Tensor.from_dlpack(output, tensor.to_dlpack())
            elif tensor is None:
                yield pb_utils.Tensor(output, np.zeros((rows, 1), pb_utils.triton_string_to_numpy(data_type)))
            else:
                yield pb_utils.Tensor(output, tensor.as_numpy())
"""
COUNTDOWN = """# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            start = int(pb_utils.get_input_tensor_by_name(request, "start").as_numpy().item())
            for number in range(start, 0, -1):
                tensor = pb_utils.Tensor("number", np.array([[number]], np.int32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
SUM = """# SPDX-License-Identifier: Apache-2.0
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.total = 0

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        start = pb_utils.get_input_tensor_by_name(request, "START").as_numpy().item()
        value = pb_utils.get_input_tensor_by_name(request, "value").as_numpy().item()
        self.total = value + (0 if start else self.total)
        return pb_utils.InferenceResponse([pb_utils.Tensor("total", np.array([[self.total]], np.int64))])
"""
TYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BF16",
    "STRING",
)  # fmt: skip
_CONTROL = (
    'sequence_batching { control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START '
    "int32_false_true: [ 0, 1 ] } ] } ] }"
)


def _tensor(name: str, kind: str, dims: str, more: str = "") -> str:
    return f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ] {more}}}'


def _config(most: int, inputs: list[str], outputs: list[str], more: str = "") -> str:
    group = "" if "ensemble" in more else 'backend: "python"\ninstance_group [ { kind: KIND_CPU count: 1 } ]\n'
    return f"max_batch_size: {most}\ninput [ {', '.join(inputs)} ]\noutput [ {', '.join(outputs)} ]\n{group}{more}\n"


def _every_type(dims: str, most: int) -> str:
    return _config(
        most,
        [_tensor(f"in_{kind}", kind, dims) for kind in TYPES],
        [_tensor(f"out_{kind}", kind, dims) for kind in TYPES],
    )


_CHAIN = (
    'platform: "ensemble"\nensemble_scheduling { step [ '
    '{ model_name: "a-b" model_version: -1 input_map { key: "x" value: "first" } '
    'output_map { key: "y" value: "between" } }, '
    '{ model_name: "a_b" model_version: -1 input_map { key: "x" value: "between" } '
    'output_map { key: "y" value: "last" } } ] }'
)
_COLUMNS = (
    r"""parameters { key: "columns" value { string_value: "{\"people\": [\"age\", \"height\", \"weight\"]}" } }"""
)
_X = [_tensor("x", "FP32", "2")]
_Y = [_tensor("y", "FP32", "2")]
_LONG = "a_model_whose_name_is_so_long_that_hardly_any_line_of_code_holds_it"

# Models of rows that echo, and what of their sample would be in their docstrings' examples.
SAMPLED = ("every_type", "every_single", "3d-unet.v2", "labelled", "large", _LONG)

# By name: the configuration, the code, and the label files.
ODD_MODELS: dict[str, tuple[str, str, dict[str, str]]] = {
    "every_type": (_every_type("2", 4), ECHO, {}),
    "every_single": (_every_type("1", 4), ECHO, {}),
    "every_whole": (_every_type("-1, 2", 0), ECHO, {}),
    "3d-unet.v2": (
        _config(
            2,
            [_tensor("x:0", "FP32", "2"), _tensor("class", "INT64", "1"), _tensor("1", "UINT8", "-1, 2")],
            [_tensor("x:0", "FP32", "2"), _tensor("float", "INT64", "1"), _tensor("__2", "UINT8", "-1, 2")],
        ),
        ECHO,
        {},
    ),
    "clashes": (
        _config(
            8,
            [_tensor(name, "INT32", "1") for name in ("a.b", "a_b", "a b", "self", "timeout_s", "np", "rows")],
            [_tensor(name, "INT32", "1") for name in ("a.b", "a_b", "a b", "int", "property", "np", "Annotated")],
        ),
        ECHO,
        {},
    ),
    "a-b": (_config(4, _X, _Y), ECHO, {}),
    "a_b": (_config(4, _X, _Y), ECHO, {}),
    "ab_result": (_config(4, _X, _Y), ECHO, {}),
    "chain": (_config(4, [_tensor("first", "FP32", "2")], [_tensor("last", "FP32", "2")], _CHAIN), "", {}),
    "optional": (
        _config(
            4,
            [_tensor("x", "FP32", "1"), _tensor("weight", "FP32", "1", "optional: true ")],
            [_tensor("y", "FP32", "1"), _tensor("weight", "FP32", "1")],
        ),
        ECHO,
        {},
    ),
    "all_optional": (
        _config(
            4,
            [_tensor("a", "FP32", "1", "optional: true "), _tensor("b", "INT8", "1", "optional: true ")],
            [_tensor("a", "FP32", "1"), _tensor("b", "INT8", "1")],
        ),
        ECHO,
        {},
    ),
    "labelled": (
        _config(
            4,
            [_tensor("scores", "FP32", "3"), _tensor("others", "FP64", "2")],
            [
                _tensor("scores", "FP32", "3", 'label_filename: "words.txt" '),
                _tensor("scores_label", "FP64", "2", 'label_filename: "twice.txt" '),
            ],
        ),
        ECHO,
        {"words.txt": "it's\nsay \"x\"\nback\\slash \u00e9\n", "twice.txt": "crane\ncrane\n"},
    ),
    _LONG: (
        _config(
            4,
            [_tensor("an_input_whose_name_leaves_little_of_a_line", "FP32", "2, 2, 2, 2"), _tensor("b", "INT16", "1")],
            [
                _tensor("an_output_whose_name_leaves_little_of_a_line", "FP32", "2, 2, 2, 2"),
                _tensor("c", "INT16", "1"),
            ],
        ),
        ECHO,
        {},
    ),
    "large": (
        _config(
            4,
            [_tensor("image", "FP32", "3, 20, 20"), _tensor("words", "STRING", "2")],
            [_tensor("image", "FP32", "3, 20, 20"), _tensor("words", "STRING", "2")],
        ),
        ECHO,
        {},
    ),
    "liar": (_config(4, [_tensor("x", "FP32", "-1")], [_tensor("y", "FP32", "2")]), ECHO, {}),
    "table": (
        _config(
            4,
            [_tensor("people", "FP32", "3")],
            [_tensor("people", "FP32", "3")],
            _COLUMNS,
        ),
        ECHO,
        {},
    ),
    "countdown": (
        _config(
            4,
            [_tensor("start", "INT32", "1")],
            [_tensor("number", "INT32", "1")],
            "model_transaction_policy { decoupled: true }",
        ),
        COUNTDOWN,
        {},
    ),
    "running_sum": (
        _config(1, [_tensor("value", "INT64", "1")], [_tensor("total", "INT64", "1")], _CONTROL),
        SUM,
        {},
    ),
}  # fmt: skip


def write_odd_models(folder: Path) -> None:
    """Write all of them as a model repository."""
    for name, (config, code, labels) in ODD_MODELS.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(f'name: "{name}"\n{config}', encoding="utf-8")
        if code:
            (version / "model.py").write_text(code, encoding="utf-8")
        for file, text in labels.items():
            (folder / name / file).write_text(text, encoding="utf-8")
    for name in SAMPLED:
        config = ModelDirectory(folder / name).read_config()
        specs = [_spec(tensor) for tensor in config.inputs]
        # Small numbers, which every type holds as they are.
        inputs = {
            name: np.rint(rows).astype(rows.dtype) if rows.dtype.kind == "f" else rows
            for name, rows in generate(specs, rows=3).items()
        }
        outputs = dict(zip([tensor.name for tensor in config.outputs], inputs.values(), strict=True))
        sample = Sample(inputs=inputs, outputs=outputs)
        write_published_sample(folder / name / "1" / "sample.npz", sample)


def _spec(tensor: ModelTensor) -> TensorSpec:
    assert tensor.datatype is not None
    return TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=(-1, *tensor.dims))
