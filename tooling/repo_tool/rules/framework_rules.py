# SPDX-License-Identifier: Apache-2.0
"""SIG2: the configuration against model files of other kinds than ONNX.

The verdicts are those of NVIDIA's TensorFlow and PyTorch backends (``tensorflow.cc``, ``libtorch.cc``) where they all
agree with repo-tool's own of the same name; what only one of them refuses says so.
"""

from collections.abc import Iterator, Sequence

from repo_tool.config.model import ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.rules.diagnostics import Finding, Region, Severity
from repo_tool.rules.file_kinds import is_file
from repo_tool.rules.model_signatures import FileTensor, ModelFileSignature, NoSuchSignatureError
from repo_tool.rules.python_file import fault_of_python_model, lacks_execute
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject

_NOT_IN_LIBTORCH = frozenset({DataType.UINT16, DataType.UINT32, DataType.UINT64})
_MOST_DIGITS = 10  # of a place among the tensors of a model
_TENSOR_KINDS = ("Tensor", "List[")


@rule("SIG201")
def not_a_model_file(model: ModelSubject) -> Iterator[Finding]:
    """The model file is of the kind that the backend opens.

    Looked at are TorchScript, exported programs, SavedModels, the description beside a scikit-learn estimator, and of
    the others whether there is anything in them: half a download or a pointer of git-lfs is no model.

    Wrong::

        net/1/model.pt                                        (torch.save(net.state_dict(), ...): weights without code)

    Right::

        net/1/model.pt                                        (torch.jit.trace(net, rows).save(...))
    """
    for path, error in model.file_errors():
        if not isinstance(error, NoSuchSignatureError):
            yield Finding(
                f"the file is none that the {model.backend} backend opens",
                cause=str(error),
                fix="export the model again, or fetch the whole file (git lfs pull)",
                file=path,
            )


@rule("SIG202")
def no_such_signature(model: ModelSubject) -> Iterator[Finding]:
    """TF_SIGNATURE_DEF and TF_GRAPH_TAG name what the SavedModel has.

    Wrong::

        parameters { key: "TF_SIGNATURE_DEF" value { string_value: "serving" } }           (it has serving_default)

    Right::

        parameters { key: "TF_SIGNATURE_DEF" value { string_value: "serving_default" } }
    """
    for _, error in model.file_errors():
        if isinstance(error, NoSuchSignatureError):
            key = "TF_GRAPH_TAG" if "tagged" in str(error) else "TF_SIGNATURE_DEF"
            yield Finding(
                f"the SavedModel lacks what {key} names",
                cause=str(error),
                fix="name one that it has, or export it with that one",
                field=f"parameters[{key}]",
            )


@rule("SIG203")
def file_input_count_differs(model: ModelSubject) -> Iterator[Finding]:
    """The configuration lists every input of the file, and no other.

    Wrong::

        input [ { name: "pixels" ... } ]                      (and forward takes pixels and mask)

    Right::

        input [ { name: "pixels" ... }, { name: "mask" ... } ]
    """
    # Sequence controls and batch inputs fill inputs that the configuration does not list.
    if model.config.sequence_batching is not None or model.config.batch_inputs:
        return
    listed = {len(model.config.inputs), len([tensor for tensor in model.config.inputs if not tensor.optional])}
    for _, found in model.file_signatures():
        if found.inputs is None:
            continue
        taken = {len(found.inputs), len([tensor for tensor in found.inputs if not tensor.is_optional])}
        if not listed & taken:
            yield Finding(
                f"the configuration lists {len(model.config.inputs)} inputs and the {found.framework} has"
                f" {len(found.inputs)}",
                cause=f"its inputs are {_named(found.inputs)}",
                fix="list each of them once",
                field="input",
            )


@rule("SIG204")
def unknown_file_tensor(model: ModelSubject) -> Iterator[Finding]:
    """Inputs and outputs have the names of the SavedModel's signature; not every output must be listed.

    The names are those of the signature, not of the tensors behind it: ``saved_model_cli show`` prints both.

    Wrong::

        input [ { name: "serving_default_x:0" ... } ]         (and the signature calls it x)

    Right::

        input [ { name: "x" ... } ]
    """
    for _, found in model.file_signatures():
        if not found.has_names:
            continue
        for kind, declared, known in _sides(model, found):
            names = {tensor.name for tensor in known}
            for index, tensor in enumerate(declared):
                if tensor.name not in names:
                    yield Finding(
                        f"the {found.framework} has no {kind} '{tensor.name}'",
                        cause=f"its {kind}s are {_named(known)}",
                        fix="write the file's name",
                        field=f"{kind}[{index}].name",
                    )


@rule("SIG205")
def file_datatype_differs(model: ModelSubject) -> Iterator[Finding]:
    """Data types are those of the file, and ones that its backend takes.

    Wrong::

        input [ { name: "pixels" data_type: TYPE_UINT8 ... } ]                 (and the file has float32)

    Right::

        input [ { name: "pixels" data_type: TYPE_FP32 ... } ]
    """
    for place, declared, found, file in _pairs(model):
        if declared.datatype is None or not _tells_type(found, file) or declared.datatype is found.datatype:
            continue
        takes = found.datatype.config_name if found.datatype else None
        yield Finding(
            f"{place} '{declared.name}' is {declared.datatype.config_name} and the {file.framework} has"
            f" {found.type_name}",
            cause="the types must be equal" if takes else f"the {model.backend} backend takes no such input or output",
            fix=f"write data_type: {takes}" if takes else "cast to another type inside the model and export again",
            field=f"{place}.data_type",
        )


def _tells_type(tensor: FileTensor, file: ModelFileSignature) -> bool:
    return bool(tensor.type_name) and file.framework != "TorchScript"


@rule("SIG206")
def file_dims_differ(model: ModelSubject) -> Iterator[Finding]:
    """Dims have the rank and the fixed sizes of the file.

    With max_batch_size > 0 the file has one dimension more than dims, the batch, and it is free.

    Wrong::

        max_batch_size: 8
        input [ { name: "x" dims: [ -1, 4 ] ... } ]           (and the file has x: [None, 4])

    Right::

        max_batch_size: 8
        input [ { name: "x" dims: [ 4 ] ... } ]
    """
    for place, declared, found, file in _pairs(model):
        if not found.shape or declared.allow_ragged_batch:
            continue  # a shape without dimensions is not looked at by NVIDIA's backend
        expected = (-1, *declared.model_shape) if model.config.max_batch_size > 0 else declared.model_shape
        if model.config.max_batch_size > 0 and found.shape[0] != -1:
            yield Finding(
                f"the first dimension of {place} '{declared.name}' is fixed to {found.shape[0]} in the"
                f" {file.framework}",
                cause="Triton: for the model to support batching the first dimension must be -1",
                fix="export with a dynamic batch dimension, or write max_batch_size: 0 and whole shapes in dims",
                field="max_batch_size",
            )
        elif not _agree(found.shape, expected):
            yield _dims_finding(place, declared, expected, found.shape, file)


@rule("SIG207", embedded_refuses=False, releases="up to 25.02, the last with NVIDIA's TensorFlow backend")
def narrower_output(model: ModelSubject) -> Iterator[Finding]:
    """Output dims are exactly those of the SavedModel, -1 included: NVIDIA's backend wants them equal.

    Wrong::

        output [ { name: "y" dims: [ 4 ] ... } ]              (and the SavedModel has y: [None, None])

    Right::

        output [ { name: "y" dims: [ -1 ] ... } ]
    """
    if "tensorflow" not in model.release.backends:
        return
    for place, declared, found, file in _pairs(model):
        if file.framework != "SavedModel" or not found.shape or not place.startswith("output"):
            continue
        batches = model.config.max_batch_size > 0
        expected = (-1, *declared.model_shape) if batches else declared.model_shape
        fits = _agree(found.shape, expected) and not (batches and found.shape[0] != -1)
        if fits and found.shape != expected:
            yield _dims_finding(place, declared, expected, found.shape, file)


def _dims_finding(
    place: str, declared: ModelTensor, expected: Sequence[int], shape: Sequence[int], file: ModelFileSignature
) -> Finding:
    dims = list(shape[1:] if len(expected) > len(declared.model_shape) else shape)
    return Finding(
        f"{place} '{declared.name}' is declared {list(expected)} and the {file.framework} has {list(shape)}",
        cause="max_batch_size > 0 puts the batch dimension in front of dims"
        if len(expected) > len(declared.model_shape)
        else "dims is the whole shape",
        fix=f"write dims: {dims}" if dims else "write dims: [ 1 ] reshape { shape: [ ] }",
        field=f"{place}.dims",
    )


@rule("SIG208")
def no_libtorch_type(model: ModelSubject) -> Iterator[Finding]:
    """Models of the PyTorch backend have an output, and no unsigned tensors of 16 bits and more.

    Wrong::

        backend: "pytorch"
        input [ { name: "ids" data_type: TYPE_UINT32 ... } ]

    Right::

        backend: "pytorch"
        input [ { name: "ids" data_type: TYPE_INT64 ... } ]
    """
    if model.backend != "pytorch" or model.config.runtime.endswith(".py"):
        return
    if not model.config.outputs:
        yield Finding(
            "no output is listed",
            cause="Triton: model configuration must contain at least one output",
            fix="list what forward returns, e.g. OUTPUT__0",
            field="output",
        )
    for kind, tensors in (("input", model.config.inputs), ("output", model.config.outputs)):
        for index, tensor in enumerate(tensors):
            if tensor.datatype in _NOT_IN_LIBTORCH:
                yield Finding(
                    f"{kind}[{index}] '{tensor.name}' is {tensor.datatype.config_name}",
                    cause=f"Triton: unsupported datatype {tensor.datatype.config_name}: libtorch has no such tensors",
                    fix="use TYPE_INT64 or TYPE_INT32, and export the model with it",
                    field=f"{kind}[{index}].data_type",
                )


@rule("SIG209", severity=Severity.WARNING, embedded_refuses=True)
def torch_names_by_position(model: ModelSubject) -> Iterator[Finding]:
    """Tensors of PyTorch models are named after forward's arguments, or by place as NAME__0, NAME__1.

    Outputs always go by place. With other names NVIDIA's backend takes the order of the configuration, silently;
    repo-tool's own refuses the model.

    Wrong::

        input [ { name: "images" ... } ]                      (and forward takes pixels)
        output [ { name: "scores" ... } ]

    Right::

        input [ { name: "pixels" ... } ]
        output [ { name: "scores__0" ... } ]
    """
    if model.backend != "pytorch" or model.config.runtime.endswith(".py"):
        return
    for index, output in enumerate(model.config.outputs):
        if not _has_place(output.name):
            yield _by_position("output", index, output)
    for _, found in model.file_signatures():
        if found.inputs is None:
            continue
        arguments = {tensor.name for tensor in found.inputs}
        strange = [(i, each) for i, each in enumerate(model.config.inputs) if each.name not in arguments]
        for index, tensor in strange if any(not _has_place(each.name) for _, each in strange) else ():
            yield _by_position("input", index, tensor)


def _by_position(kind: str, index: int, tensor: ModelTensor) -> Finding:
    return Finding(
        f"{kind}[{index}] '{tensor.name}' is neither an argument of forward nor ends in __{index}",
        cause="NVIDIA's backend goes by the order of the configuration then, and repo-tool's refuses the model",
        fix=f"call it {tensor.name or kind.upper()}__{index}",
        field=f"{kind}[{index}].name",
    )


def _has_place(name: str) -> bool:
    _, mark, place = name.partition("__")
    return bool(mark) and place.isascii() and place.isdigit() and len(place) < _MOST_DIGITS


@rule("SIG210", embedded_refuses=False)
def argument_not_a_tensor(model: ModelSubject) -> Iterator[Finding]:
    """Every argument of forward is a tensor, also one with a default value, or the only one is a dictionary of them.

    Wrong::

        def forward(self, x: Tensor, scale: float = 1.0)

    Right::

        def forward(self, x: Tensor)
    """
    for path, found in model.file_signatures():
        for tensor in found.inputs or () if found.framework == "TorchScript" else ():
            if tensor.type_name and not tensor.type_name.startswith(_TENSOR_KINDS):
                yield Finding(
                    f"forward's argument '{tensor.name}' is {tensor.type_name}",
                    cause=f"Triton: an input of type '{tensor.type_name}' was detected in the model",
                    fix="script or trace a module whose forward takes tensors only",
                    file=path,
                )


@rule("SIG211")
def not_a_python_model(model: ModelSubject) -> Iterator[Finding]:
    """model.py is Python and has a class TritonPythonModel.

    Wrong::

        class Model:
            def execute(self, requests): ...

    Right::

        class TritonPythonModel:
            def execute(self, requests): ...
    """
    if model.backend != "python" or model.config.runtime not in ("", "model.py"):
        return
    for version in model.served_versions:
        path = model.artifact(version)
        if path is None or not is_file(path):
            continue
        fault = fault_of_python_model(path, python_version=model.release.python_version)
        if fault is not None:
            yield Finding(
                fault.message,
                cause=fault.cause,
                fix="mend the file, or export the model again",
                file=model.relative(path),
                region=Region(line=fault.line) if fault.line else None,
            )


@rule("SIG212", embedded_refuses=False, releases="before 26.03")
def exported_program_too_new(model: ModelSubject) -> Iterator[Finding]:
    """model.pt2 is for releases from 26.03 on; the PyTorch backend of older ones opens model.pt only.

    Wrong::

        net/1/model.pt2                                       (for Triton 25.10)

    Right::

        net/1/model.pt                                        (torch.jit.trace(net, rows).save(...))
    """
    if model.backend != "pytorch" or model.release.name >= "26.03":
        return
    for path, found in model.file_signatures():
        if found.framework != "TorchScript":
            yield Finding(
                f"Triton {model.release.name} opens no {found.framework}",
                cause="its PyTorch backend runs TorchScript; .pt2 came with 26.03",
                fix="export TorchScript or ONNX, or choose a newer release",
                file=path,
            )


@rule("SIG213", severity=Severity.WARNING)
def no_execute(model: ModelSubject) -> Iterator[Finding]:
    """The class TritonPythonModel has a method execute.

    Triton loads it without one, and every request fails.

    Wrong::

        class TritonPythonModel:
            def run(self, requests): ...

    Right::

        class TritonPythonModel:
            def execute(self, requests): ...
    """
    if model.backend != "python" or model.config.runtime not in ("", "model.py"):
        return
    for path in filter(None, map(model.artifact, model.served_versions)):
        if is_file(path) and lacks_execute(path):
            yield Finding(
                "the class TritonPythonModel has no method execute",
                cause="Triton loads it, calls execute for each request, and every one fails",
                fix="write execute(self, requests), which returns a response for each request",
                file=model.relative(path),
            )


def _sides(
    model: ModelSubject, found: ModelFileSignature
) -> Iterator[tuple[str, Sequence[ModelTensor], Sequence[FileTensor]]]:
    if found.inputs is not None:
        yield "input", model.config.inputs, found.inputs
    if found.outputs is not None:
        yield "output", model.config.outputs, found.outputs


def _pairs(model: ModelSubject) -> Iterator[tuple[str, ModelTensor, FileTensor, ModelFileSignature]]:
    """Each declared tensor with the file's of that name, or of its place where the names tell places."""
    for _, found in model.file_signatures():
        for kind, declared, known in _sides(model, found):
            by_name = {tensor.name: tensor for tensor in known}
            by_place = not found.has_names and (kind == "output" or any(each.name not in by_name for each in declared))
            for index, tensor in enumerate(declared):
                place = int(tensor.name.partition("__")[2]) if _has_place(tensor.name) else len(known)
                other = (known[place] if place < len(known) else None) if by_place else by_name.get(tensor.name)
                if other is not None:
                    yield f"{kind}[{index}]", tensor, other, found


def _agree(found: Sequence[int], expected: Sequence[int]) -> bool:
    return len(found) == len(expected) and all(have in (-1, want) for have, want in zip(found, expected, strict=True))


def _named(tensors: Sequence[FileTensor]) -> str:
    return ", ".join(sorted(tensor.name for tensor in tensors)) or "none"
