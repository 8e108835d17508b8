# SPDX-License-Identifier: Apache-2.0
"""PyTorch: exported programs and ``package.module:factory`` brought in as ONNX, TorchScript as it is."""

__all__ = ["PytorchImporter"]

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.first_bytes import Kind, is_factory, kind_of, looks_like
from repo_tool.importers.modules import calls, conversion, serving, sizes, sources, torch_script
from repo_tool.importers.modules.calls import Call
from repo_tool.importers.modules.serving import Subject
from repo_tool.importers.python_source import names_predictor
from repo_tool.importers.rows import Rows, rows_for
from repo_tool.samples import RawSample

_SUFFIXES = frozenset({".pt2", ".pt", ".pth", ".ts", ".safetensors"})
_KINDS = frozenset({Kind.TORCHSCRIPT, Kind.TORCH_SAVE, Kind.EXPORTED_PROGRAM})


class PytorchImporter:
    """Modules in any form that can be run."""

    framework = "pytorch"
    extra = "torch"

    def recognises(self, source: str) -> bool:
        """Whether it is written ``package.module:factory`` or is an archive of PyTorch's."""
        if is_factory(source):
            return not names_predictor(source)
        return looks_like(source, suffixes=_SUFFIXES, kinds=_KINDS)

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Load, convert, answer the rows in PyTorch on the CPU.

        Without ``request.backend`` the model is served by ONNX Runtime if it answers there as in PyTorch, in batches
        and in another length, and as TorchScript otherwise.

        Raises:
            SourceError: it does not load, is no module, or cannot be converted.
            SampleError: the rows do not fit, or are needed and absent.
            ReleaseError: it needs a newer opset or IR version than allowed.
        """
        form = _form(request)
        bring_in, backends = _WAYS[form]
        if request.backend not in (None, *backends):
            raise SourceError(
                f"{form} cannot be served by the backend '{request.backend}'",
                next_step=f"leave --backend out, or choose {' or '.join(backends)}",
            )
        return bring_in(request, sample, folder)


def _form(request: ImportRequest) -> str:
    if is_factory(request.source):
        return _MODULE
    path = Path(request.source)
    sources.refuse_weights_alone(path)
    if request.weights is not None:
        raise SourceError(
            f"'{path.name}' holds weights of its own", next_step="leave --weights out; it is for package.module:factory"
        )
    return _SCRIPT if kind_of(path) is Kind.TORCHSCRIPT else _PROGRAM


# --- one function per form -------------------------------------------------------------------------------------------


def _module(request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    module, notes = sources.load_module(request)
    call, rows, more = _called(module, sample)
    subject = Subject(framework=PytorchImporter.framework, call=call, rows=rows, notes=(*notes, *more))
    return serving.serve(subject, request, folder)


def _called(module: Any, sample: RawSample | None) -> tuple[Call, Rows, tuple[str, ...]]:
    """The module as a call over rows; one of bfloat16 in 32 bits, unless its forward takes 32-bit floats as it is."""
    names, rows, function = _forward(module, sample)
    try:
        return calls.call_of(module, function, names, rows.inputs), rows, ()
    except SourceError:
        if not _is_of_bfloat16(module):
            raise
        module.float()
        return calls.call_of(module, function, names, rows.inputs), rows, (_WIDENED,)


def _program(request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    program = sources.load_program(Path(request.source))
    free, exported = conversion.program_inputs(program)
    rows = rows_for(sample, exported if sample is None else free)
    call = conversion.program_call(program, rows.inputs)
    subject = Subject(framework=PytorchImporter.framework, call=call, rows=rows, program=program)
    return serving.serve(subject, request, folder)


def _script(request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    source = Path(request.source)
    script = sources.load_script(source)
    names = torch_script.script_arguments(script)
    rows = rows_for(sample, calls.inputs_from_sample(sample, names, float_type=_float_type(script)))
    call = calls.call_of(script, script, names, rows.inputs)
    trial = serving.tried(Subject(framework=PytorchImporter.framework, call=call, rows=rows))
    served, notes = torch_script.served_script(script, call, rows.inputs)
    artifact = folder / serving.SCRIPT_FILE
    if served is script:
        shutil.copyfile(source, artifact)
    else:
        served.save(artifact)
    subject = Subject(framework=PytorchImporter.framework, call=call, rows=rows, notes=notes)
    axes = sizes.free_axes(call, rows.inputs, sizes.axes_of(rows.inputs))
    return serving.imported_script(subject, trial, axes, artifact)


_MODULE, _PROGRAM, _SCRIPT = "package.module:factory", "an exported program", "TorchScript"
_Way = Callable[[ImportRequest, RawSample | None, Path], ImportedModel]
_WAYS: dict[str, tuple[_Way, tuple[str, ...]]] = {  # with the backends that may be asked for
    _MODULE: (_module, ("onnxruntime", "pytorch")),
    _PROGRAM: (_program, ("onnxruntime", "pytorch")),
    _SCRIPT: (_script, ("pytorch",)),
}


# --- what a module takes ---------------------------------------------------------------------------------------------


def _forward(module: Any, sample: RawSample | None) -> tuple[tuple[str, ...], Rows, Callable[..., Any]]:
    """The names of what ``forward`` is given, rows of it, and how it is called.

    Arguments with a default are inputs when the sample has them; those behind ``*`` are given by name. A ``forward``
    that names none is given what the sample has.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    named = [known for known in parameters if known.kind not in (known.VAR_POSITIONAL, known.VAR_KEYWORD)]
    needed = [known.name for known in named if known.default is known.empty]
    if not named and sample is not None:
        needed = list(sample.tensors or sample.columns) or [_ONE_INPUT]
    optional = [known.name for known in named if known.default is not known.empty]
    specs = calls.inputs_from_sample(sample, needed, optional=optional, float_type=_float_type(module))
    names = tuple(spec.name for spec in specs)
    by_place = {known.name for known in named if known.kind is known.POSITIONAL_ONLY}
    if not named and any(known.kind is known.VAR_POSITIONAL for known in parameters):
        by_place = set(names)

    def call(*values: Any) -> Any:
        given = dict(zip(names, values, strict=True))
        return module(*[given.pop(name) for name in names if name in by_place], **given)

    return names, rows_for(sample, specs), call


def _float_type(module: Any) -> DataType | None:
    """The type of the module's weights; None where it has none, or one that NumPy has not."""
    kinds = [str(tensor.dtype) for tensor in module.parameters() if tensor.is_floating_point()]
    return _FLOATS.get(next(iter(kinds), ""))


def _is_of_bfloat16(module: Any) -> bool:
    return any(str(tensor.dtype) == "torch.bfloat16" for tensor in module.parameters())


_ONE_INPUT = "input"
_WIDENED = "the weights of bfloat16 are served as float32, which holds the same values; answers are more exact"
_FLOATS = {"torch.float64": DataType.FP64, "torch.float32": DataType.FP32, "torch.float16": DataType.FP16}
