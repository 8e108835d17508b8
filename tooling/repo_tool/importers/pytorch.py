# SPDX-License-Identifier: Apache-2.0
"""PyTorch: exported programs and ``package.module:factory`` brought in as ONNX, TorchScript as it is."""

__all__ = ["PytorchImporter"]

import inspect
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError
from repo_tool.importers import _torch_calls, _torch_onnx, _torch_script, _torch_sources
from repo_tool.importers._torch_calls import Call
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.first_bytes import Kind, is_factory, kind_of, looks_like
from repo_tool.importers.rows import Rows, rows_for
from repo_tool.samples import RawSample, Tensors
from repo_tool.signature import ModelSignature

_SUFFIXES = frozenset({".pt2", ".pt", ".pth", ".ts", ".safetensors"})
_KINDS = frozenset({Kind.TORCHSCRIPT, Kind.TORCH_SAVE, Kind.EXPORTED_PROGRAM})
_SCRIPT_FILE = "model.pt"
_FROZEN = "requests cannot be batched: the model was exported with, or depends on, a fixed size of the first dimension"


class PytorchImporter:
    """Modules in any form that can be run."""

    framework = "pytorch"
    extra = "torch"

    def recognises(self, source: str) -> bool:
        """Whether it is written ``package.module:factory`` or is an archive of PyTorch's."""
        return is_factory(source) or looks_like(source, suffixes=_SUFFIXES, kinds=_KINDS)

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Load, convert, answer the rows in PyTorch on the CPU.

        Raises:
            SourceError: it does not load, is no module, or cannot be converted.
            SampleError: the rows do not fit, or are needed and absent.
            ReleaseError: it needs a newer opset or IR version than allowed.
        """
        form = _form(request)
        backends = _WAYS[form]
        backend = request.backend or next(iter(backends))
        if backend not in backends:
            raise SourceError(
                f"{form} cannot be served by the backend '{backend}'",
                next_step=f"leave --backend out, or choose {' or '.join(backends)}",
            )
        return backends[backend](request, sample, folder)


def _form(request: ImportRequest) -> str:
    if is_factory(request.source):
        return _MODULE
    path = Path(request.source)
    _torch_sources.refuse_weights_alone(path)
    if request.weights is not None:
        raise SourceError(
            f"'{path.name}' holds weights of its own", next_step="leave --weights out; it is for package.module:factory"
        )
    return _SCRIPT if kind_of(path) is Kind.TORCHSCRIPT else _PROGRAM


# --- one function per way --------------------------------------------------------------------------------------------


def _program_as_onnx(request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    program = _torch_sources.load_program(Path(request.source))
    rows = _rows_for_program(program, sample)
    return _as_onnx(request, program, rows, folder)


def _module_as_onnx(request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    module, notes = _torch_sources.load_module(request)
    call, rows = _module_call(module, sample)
    program = _torch_onnx.export_module(module, call, rows.inputs)
    return _as_onnx(request, program, rows, folder, call=call, notes=notes)


def _script_as_it_is(request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    source = Path(request.source)
    script = _torch_sources.load_script(source)
    call = _torch_script.script_call(script)
    specs = _torch_calls.inputs_from_sample(sample, call.inputs, float_type=_float_type(script))
    artifact = folder / _SCRIPT_FILE
    shutil.copyfile(source, artifact)
    return _as_script(artifact, rows_for(sample, specs))


def _program_as_script(request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    program = _torch_sources.load_program(Path(request.source))
    return _traced(program.module(), _torch_onnx.program_call(program), _rows_for_program(program, sample), folder)


def _module_as_script(request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    module, notes = _torch_sources.load_module(request)
    call, rows = _module_call(module, sample)
    return _traced(module, call, rows, folder, notes=notes)


_MODULE, _PROGRAM, _SCRIPT = "package.module:factory", "an exported program", "TorchScript"
_Way = Callable[[ImportRequest, RawSample | None, Path], ImportedModel]
_WAYS: dict[str, dict[str, _Way]] = {  # by backend; the first one is the default
    _MODULE: {"onnxruntime": _module_as_onnx, "pytorch": _module_as_script},
    _PROGRAM: {"onnxruntime": _program_as_onnx, "pytorch": _program_as_script},
    _SCRIPT: {"pytorch": _script_as_it_is},
}


# --- what the ways share ---------------------------------------------------------------------------------------------


def _rows_for_program(program: Any, sample: RawSample | None) -> Rows:
    free, exported = _torch_onnx.program_inputs(program)
    return rows_for(sample, exported if sample is None else free)


def _module_call(module: Any, sample: RawSample | None) -> tuple[Call, Rows]:
    parameters = inspect.signature(module.forward).parameters.values()
    plain = [known for known in parameters if known.kind in (known.POSITIONAL_OR_KEYWORD, known.KEYWORD_ONLY)]
    needed = [known.name for known in plain if known.default is known.empty]
    optional = [known.name for known in plain if known.default is not known.empty]
    specs = _torch_calls.inputs_from_sample(sample, needed, optional=optional, float_type=_float_type(module))
    names = tuple(spec.name for spec in specs)

    def function(*values: Any) -> Any:
        return module(**dict(zip(names, values, strict=True)))

    return Call(function=function, inputs=names), rows_for(sample, specs)


def _float_type(module: Any) -> DataType:
    kinds = [str(tensor.dtype) for tensor in module.parameters() if tensor.is_floating_point()]
    return {"torch.float64": DataType.FP64, "torch.float16": DataType.FP16}.get(next(iter(kinds), ""), DataType.FP32)


def _as_onnx(
    request: ImportRequest,
    program: Any,
    rows: Rows,
    folder: Path,
    *,
    call: Call | None = None,
    notes: tuple[str, ...] = (),
) -> ImportedModel:
    reference = dict(_torch_calls.answers(call or _torch_onnx.program_call(program), rows.inputs))
    artifact, signature, more_notes = _torch_onnx.write_onnx(program, list(reference), request, folder)
    return _imported("onnxruntime", artifact, signature, rows, reference, notes=(*notes, *more_notes))


def _traced(module: Any, call: Call, rows: Rows, folder: Path, *, notes: tuple[str, ...] = ()) -> ImportedModel:
    import torch

    traced, warnings = _torch_script.trace(module, call, rows.inputs)
    artifact = folder / _SCRIPT_FILE
    torch.jit.save(traced, artifact)
    return _as_script(artifact, rows, module=call, notes=(*notes, *warnings))


def _as_script(artifact: Path, rows: Rows, *, module: Call | None = None, notes: tuple[str, ...] = ()) -> ImportedModel:
    script = _torch_script.script_call(_torch_sources.load_script(artifact))
    signature = _torch_script.read_script(script, rows.inputs)
    answers = _torch_calls.answers(module or script, rows.inputs)
    reference = dict(zip((spec.name for spec in signature.outputs), (array for _, array in answers), strict=True))
    inputs = dict(zip((spec.name for spec in signature.inputs), rows.inputs.values(), strict=True))
    return _imported("pytorch", artifact, signature, rows, reference, inputs=inputs, notes=notes)


def _imported(
    backend: str,
    artifact: Path,
    signature: ModelSignature,
    rows: Rows,
    reference: Tensors,
    *,
    notes: tuple[str, ...],
    inputs: Tensors | None = None,
) -> ImportedModel:
    frozen = () if signature.can_batch else (_FROZEN,)
    return ImportedModel(
        framework=PytorchImporter.framework,
        backend=backend,
        signature=signature,
        artifact=artifact,
        inputs=rows.inputs if inputs is None else inputs,
        inputs_were_generated=rows.generated,
        reference=reference,
        tool_versions=_tool_versions(backend),
        notes=(*notes, *frozen),
    )


def _tool_versions(backend: str) -> dict[str, str]:
    used = ("torch", "onnxscript", "onnxruntime") if backend == "onnxruntime" else ("torch",)
    return {name: metadata.version(name) for name in used}
