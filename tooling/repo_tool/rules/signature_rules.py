# SPDX-License-Identifier: Apache-2.0
"""SIG: the configuration against the ONNX file, with the verdicts of NVIDIA's ONNX Runtime backend (r24.10)."""

from collections.abc import Iterable, Iterator, Sequence

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.file_kinds import is_file, is_folder
from repo_tool.rules.onnx_file import OnnxModel, OnnxTensor, is_onnx_installed
from repo_tool.rules.registry import repository_rule, rule
from repo_tool.rules.subjects import ModelSubject, RepositorySubject


@repository_rule("SIG001", severity=Severity.NOTE)
def onnx_not_installed(repository: RepositorySubject) -> Iterator[Finding]:
    """ONNX files are only compared with their configurations where the package onnx is installed.

    Wrong::

        pip install triton-repo-tool                          (SIG rules and the ONNX half of REL are skipped)

    Right::

        pip install 'triton-repo-tool[onnx]'
    """
    if is_onnx_installed():
        return
    skipped = [m.name for m in repository.own_models() if m.config_error is None and m.backend == "onnxruntime"]
    if skipped:
        yield Finding(
            f"{len(skipped)} ONNX model(s) were not compared with their configurations",
            cause="the package onnx is not installed, so the SIG rules were skipped",
            fix="pip install 'triton-repo-tool[onnx]'",
        )


@rule("SIG101")
def not_an_onnx_file(model: ModelSubject) -> Iterator[Finding]:
    """The model file is an ONNX model.

    Half a download, a git-lfs pointer and a renamed pickle are not.

    Wrong::

        iris/1/model.onnx                                     (a text file that points to git-lfs)

    Right::

        iris/1/model.onnx                                     (after git lfs pull)
    """
    for path, error in model.onnx_errors():
        yield Finding(
            "the file is no ONNX model",
            cause=str(error),
            fix="export the model again, or fetch the whole file (git lfs pull)",
            file=path,
        )


@rule("SIG102")
def not_a_tensor(model: ModelSubject) -> Iterator[Finding]:
    """Every input and output of the ONNX file is a tensor, whether the configuration lists it or not.

    The usual offender is the ZipMap that skl2onnx adds to classifiers: a sequence of maps.

    Wrong::

        convert_sklearn(model)

    Right::

        convert_sklearn(model, options={"zipmap": False})
    """
    for path, onnx_model in model.onnx_models():
        for tensor in onnx_model.every_tensor():
            if tensor.kind != "tensor":
                yield Finding(
                    f"'{tensor.name}' is no tensor: {tensor.kind}",
                    cause="Triton: Unsupported ONNX Type, expected 'ONNX_TYPE_TENSOR'",
                    fix="export without it, e.g. with options={'zipmap': False} for scikit-learn",
                    file=path,
                )


@rule("SIG103")
def input_count_differs(model: ModelSubject) -> Iterator[Finding]:
    """The configuration lists every input of the ONNX file, unused ones too, and no other.

    Inputs with ``optional: true`` do not count: they stand for initializers. What Triton fills itself counts as listed:
    the controls and states of sequences, and the targets of batch inputs.

    Wrong::

        input [ { name: "a" ... } ]                           (and the file has the inputs a and b)

    Right::

        input [ { name: "a" ... }, { name: "b" ... } ]
    """
    filled = len(list(_filled_by_triton(model.config)))
    for _, onnx_model in model.onnx_models():
        listed = len([tensor for tensor in model.config.inputs if not tensor.optional])
        if listed + filled != len(onnx_model.inputs):
            yield Finding(
                f"the configuration lists {listed} inputs"
                + (f" and has Triton fill {filled} more" if filled else "")
                + f", and the ONNX file has {len(onnx_model.inputs)}",
                cause=f"the file's inputs are {_named(onnx_model.inputs)}",
                fix="list each of them once; only an initializer can be optional",
                field="input",
            )


def _filled_by_triton(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """The inputs that no request gives, each with its field; one that carries two controls counts twice."""
    for index, batch_input in enumerate(config.batch_inputs):
        for number, name in enumerate(batch_input.target_names):
            yield f"batch_input[{index}].target_name[{number}]", name
    if config.sequence_batching is None:
        return
    for index, control_input in enumerate(config.sequence_batching.control_inputs):
        for _ in control_input.controls:
            yield f"sequence_batching.control_input[{index}].name", control_input.name
    for index, state in enumerate(config.sequence_batching.states):
        yield f"sequence_batching.state[{index}].input_name", state.input_name


@rule("SIG104")
def unknown_input(model: ModelSubject) -> Iterator[Finding]:
    """Every input of the configuration is an input of the ONNX file, and so is each that Triton fills itself.

    Those are the controls and states of sequences, and the targets of batch inputs.

    Wrong::

        input [ { name: "X" ... } ]                           (and the file calls it x)

    Right::

        input [ { name: "x" ... } ]
    """
    for _, onnx_model in model.onnx_models():
        known = (*onnx_model.inputs, *onnx_model.overridable_initializers)
        declared = [(f"input[{index}].name", tensor.name) for index, tensor in enumerate(model.config.inputs)]
        yield from _unknown("input", dict.fromkeys((*declared, *_filled_by_triton(model.config))), known)


@rule("SIG105")
def unknown_output(model: ModelSubject) -> Iterator[Finding]:
    """Every output of the configuration is an output of the ONNX file; it need not list all of them.

    Wrong::

        output [ { name: "probs" ... } ]                      (and the file calls it probabilities)

    Right::

        output [ { name: "probabilities" ... } ]
    """
    for _, onnx_model in model.onnx_models():
        declared = ((f"output[{index}].name", tensor.name) for index, tensor in enumerate(model.config.outputs))
        yield from _unknown("output", declared, onnx_model.outputs)


def _unknown(kind: str, declared: Iterable[tuple[str, str]], known: Sequence[OnnxTensor]) -> Iterator[Finding]:
    names = {tensor.name for tensor in known}
    for field, name in declared:
        if name not in names:
            yield Finding(
                f"the ONNX file has no {kind} '{name}'",
                cause=f"its {kind}s are {_named(known)}",
                fix="write the file's name",
                field=field,
            )


@rule("SIG106")
def datatype_differs(model: ModelSubject) -> Iterator[Finding]:
    """Data types are those of the ONNX file, and ones that the ONNX Runtime backend takes.

    It takes BOOL, the integers of 8 to 64 bits, FP16, FP32, FP64 and STRING; BF16, FP8 and INT4 only inside the graph.

    Wrong::

        input [ { name: "x" data_type: TYPE_FP64 ... } ]      (and the file has float)

    Right::

        input [ { name: "x" data_type: TYPE_FP32 ... } ]
    """
    for place, declared, found, _ in _pairs(model):
        if declared.datatype is None or declared.datatype is found.datatype:
            continue
        takes = found.datatype.config_name if found.datatype else None
        yield Finding(
            f"{place} '{declared.name}' is {declared.datatype.config_name} and the ONNX file has"
            f" {takes or found.element_type_name}",
            cause="the types must be equal" if takes else "the ONNX Runtime backend takes no such input or output",
            fix=f"write data_type: {takes}" if takes else "cast to another type inside the graph and export again",
            field=f"{place}.data_type",
        )


@rule("SIG107")
def batch_dimension_not_free(model: ModelSubject) -> Iterator[Finding]:
    """With max_batch_size > 0 the first dimension of every listed tensor is free in the ONNX file.

    Wrong::

        max_batch_size: 8                                     (and the file has x: [1, 4])

    Right::

        max_batch_size: 8                                     (and the file has x: [N, 4])
    """
    for place, declared, found, _ in _pairs(model):
        if model.config.max_batch_size > 0 and found.shape and found.shape[0] != -1 and not declared.allow_ragged_batch:
            yield Finding(
                f"the first dimension of {place} '{declared.name}' is fixed to {found.shape[0]} in the ONNX file",
                cause="Triton: for the model to support batching the first dimension must be -1",
                fix="export with a dynamic batch dimension, or write max_batch_size: 0 and whole shapes in dims",
                field="max_batch_size",
            )


@rule("SIG108")
def input_dims_differ(model: ModelSubject) -> Iterator[Finding]:
    """Input dims have the rank and the fixed sizes of the ONNX file; where the file is free they may be narrower.

    With max_batch_size > 0 the file has one dimension more than dims: the batch.

    Wrong::

        dims: [ -1 ]                                          (and the file has x: [N, 4])

    Right::

        dims: [ 4 ]
    """
    for place, declared, found, onnx_model in _pairs(model):
        if place.startswith("input") and not declared.allow_ragged_batch:
            yield from _dims_differ(model.config, place, declared, found, onnx_model)


@rule("SIG109")
def output_dims_differ(model: ModelSubject) -> Iterator[Finding]:
    """Output dims are exactly those of the ONNX file, -1 included: here they may not be narrower.

    Symbolic dimensions are refined by shape inference first, as ONNX Runtime does. A 1-D output of a model that
    batches has no dimension left for dims, which wants one: reshape it.

    Wrong::

        output [ { name: "label" data_type: TYPE_INT64 dims: [ 1 ] } ]                           (the file: [N])

    Right::

        output [ { name: "label" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } } ]    (the file: [N])
    """
    for place, declared, found, onnx_model in _pairs(model):
        if place.startswith("output"):
            yield from _dims_differ(model.config, place, declared, found, onnx_model)


def _dims_differ(
    config: ModelConfig, place: str, declared: ModelTensor, found: OnnxTensor, onnx_model: OnnxModel
) -> Iterator[Finding]:
    batches = config.max_batch_size > 0
    if not found.shape or (batches and found.shape[0] != -1):
        return  # SIG110 and SIG107 say it better
    expected = (-1, *declared.model_shape) if batches else declared.model_shape
    is_exact = place.startswith("output") and onnx_model.is_standard
    if _agree(found.shape, expected, is_exact=is_exact):
        return
    yield Finding(
        f"{place} '{declared.name}' is declared {list(expected)} and the ONNX file has {list(found.shape)}",
        cause="max_batch_size > 0 puts the batch dimension in front of dims" if batches else "dims is the whole shape",
        fix=_dims_fix(found.shape, batches=batches),
        field=f"{place}.dims",
    )


def _agree(found: Sequence[int], expected: Sequence[int], *, is_exact: bool) -> bool:
    if len(found) != len(expected):
        return False
    return all(have == want or (have == -1 and not is_exact) for have, want in zip(found, expected, strict=True))


def _dims_fix(shape: Sequence[int], *, batches: bool) -> str:
    dims = list(shape[1:] if batches else shape)
    return f"write dims: {dims}" if dims else "write dims: [ 1 ] reshape { shape: [ ] }"


@rule("SIG110")
def scalar_dims(model: ModelSubject) -> Iterator[Finding]:
    """A 0-d tensor of the ONNX file is declared with ones only.

    An output without a declared rank counts as 0-d.

    Wrong::

        dims: [ 4 ]                                           (and the file has y: [])

    Right::

        dims: [ 1 ]
    """
    for place, declared, found, onnx_model in _pairs(model):
        is_known = found.has_rank or onnx_model.is_standard
        if not found.shape and is_known and any(dim != 1 for dim in declared.model_shape):
            yield Finding(
                f"{place} '{declared.name}' is declared {list(declared.model_shape)} and is "
                + ("0-d in the ONNX file" if found.has_rank else "without a shape in the ONNX file"),
                cause="Triton: scalar tensor should only provide 1 in the model configuration",
                fix="write dims: [ 1 ]" if found.has_rank else "export with a declared shape, which counts as 0-d now",
                field=f"{place}.dims",
            )


@rule("SIG111")
def optional_input(model: ModelSubject) -> Iterator[Finding]:
    """``optional: true`` is for inputs that have a default value in the ONNX file, in models that do not batch.

    Wrong::

        max_batch_size: 8
        input [ { name: "k" optional: true ... } ]

    Right::

        max_batch_size: 0
        input [ { name: "k" optional: true ... } ]            (and k has an initializer in the file)
    """
    for place, declared, _, _ in _pairs(model):
        if declared.optional and model.config.max_batch_size > 0:
            yield Finding(
                f"{place} '{declared.name}' is optional in a model that batches",
                cause="Triton: optional input is not supported for models that support batching",
                fix="remove optional, or write max_batch_size: 0",
                field=f"{place}.optional",
            )


@rule("SIG112")
def ragged_input(model: ModelSubject) -> Iterator[Finding]:
    """An input with allow_ragged_batch is one free dimension in the ONNX file, since Triton joins the rows end to end.

    Wrong::

        allow_ragged_batch: true                              (and the file has x: [N, M])

    Right::

        allow_ragged_batch: true                              (and the file has x: [M])
    """
    for place, declared, found, _ in _pairs(model):
        if declared.allow_ragged_batch and found.shape != (-1,):
            yield Finding(
                f"{place} '{declared.name}' is ragged and has shape {list(found.shape)} in the ONNX file",
                cause="Triton joins ragged rows end to end into one dimension: [-1]",
                fix="remove allow_ragged_batch",
                field=f"{place}.allow_ragged_batch",
            )


@rule("SIG113", severity=Severity.WARNING)
def unsplittable_output(model: ModelSubject) -> Iterator[Finding]:
    """With max_batch_size > 0 no output is 0-d: Triton cannot split it among the requests of a batch.

    The model loads, and every batch larger than one fails.

    Wrong::

        max_batch_size: 8                                     (and the file has mean: [])

    Right::

        max_batch_size: 0                                     (and the file has mean: [])
    """
    for place, declared, found, onnx_model in _pairs(model):
        is_scalar = not found.shape and found.has_rank and onnx_model.is_standard
        if place.startswith("output") and is_scalar and model.config.max_batch_size > 0:
            yield Finding(
                f"{place} '{declared.name}' is 0-d in a model that batches",
                cause="it loads, and every batch larger than one fails: the output cannot be split",
                fix="write max_batch_size: 0, or export an output with one row per request",
                field=place,
            )


@rule("SIG114")
def unknown_operator(model: ModelSubject) -> Iterator[Finding]:
    """Operators of other domains come with a library that model_operations names.

    Wrong::

        backend: "onnxruntime"                                (and the file uses my.operators:Halve)

    Right::

        backend: "onnxruntime"
        model_operations { op_library_filename: "libmy_operators.so" }
    """
    if model.config.op_library_filenames:
        return
    for path, onnx_model in model.onnx_models():
        for operator in onnx_model.unknown_operators:
            yield Finding(
                f"the operator {operator} is not one of ONNX Runtime's",
                cause="it is not a registered function or operator there, and no library is named",
                fix="export without it, or name its library in model_operations",
                file=path,
            )


@rule("SIG115")
def missing_weights(model: ModelSubject) -> Iterator[Finding]:
    """The files in which an ONNX file keeps its weights lie beside it.

    Wrong::

        net/1/model.onnx                                      (its weights are in model.onnx.data, which stayed behind)

    Right::

        net/1/model.onnx
        net/1/model.onnx.data
    """
    for path, onnx_model in model.onnx_models():
        artifact = model.directory.path / path
        folder = artifact if is_folder(artifact) else artifact.parent
        for name in onnx_model.external_files:
            if not _leads_out(name) and not is_file(folder / name):
                yield Finding(
                    f"its weights are in '{name}', and there is no such file",
                    cause="ONNX Runtime opens the file when it loads the model",
                    fix="copy the file too, or export again into one file",
                    file=path,
                )


@rule("SIG116", severity=Severity.WARNING, embedded_refuses=True)
def weights_elsewhere(model: ModelSubject) -> Iterator[Finding]:
    """The weights of an ONNX file lie in the version directory.

    Newer ONNX Runtimes refuse other places; older ones read any file of the machine as weights.

    Wrong::

        external_data { key: "location" value: "../shared.bin" }

    Right::

        external_data { key: "location" value: "model.onnx.data" }
    """
    for path, onnx_model in model.onnx_models():
        for name in filter(_leads_out, onnx_model.external_files):
            yield Finding(
                f"its weights are in '{name}', outside of the version directory",
                cause="ONNX Runtime checks that from 1.24 on, and refuses the model",
                fix="copy the file beside the model and save the model again",
                file=path,
            )


def _leads_out(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/")


def _pairs(model: ModelSubject) -> Iterator[tuple[str, ModelTensor, OnnxTensor, OnnxModel]]:
    """Each declared tensor with the one of that name in each served version's file, as far as there is one."""
    for _, onnx_model in model.onnx_models():
        inputs = {tensor.name: tensor for tensor in (*onnx_model.inputs, *onnx_model.overridable_initializers)}
        outputs = {tensor.name: tensor for tensor in onnx_model.outputs}
        config = model.config
        for kind, declared, known in (("input", config.inputs, inputs), ("output", config.outputs, outputs)):
            for index, tensor in enumerate(declared):
                found = known.get(tensor.name)
                if found is not None and found.kind == "tensor":
                    yield f"{kind}[{index}]", tensor, found, onnx_model


def _named(tensors: Sequence[OnnxTensor]) -> str:
    return ", ".join(sorted(tensor.name for tensor in tensors)) or "none"
