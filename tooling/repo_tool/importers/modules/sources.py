# SPDX-License-Identifier: Apache-2.0
"""The forms in which a PyTorch model comes, loaded: exported program, TorchScript, and a factory with weights."""

__all__ = ["load_module", "load_program", "load_script", "refuse_weights_alone"]

import importlib
import pickletools
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.first_bytes import Kind, kind_of
from repo_tool.importers.foreign import refusing

_PLAIN = ("torch", "collections", "builtins", "__builtin__", "_codecs")  # packages that state dicts are made of
_CHECKPOINT_KEYS = ("state_dict", "model_state_dict")  # of Lightning, and of PyTorch's own tutorials
_DAMAGED = "copy or save it again; the file may have been cut short"
_FACTORY_STEP = "pass the code that builds the module: add-model package.module:factory --weights {name}"


def refuse_weights_alone(path: Path) -> None:
    """Refuse files that hold no module that can be run, before PyTorch is even imported.

    Raises:
        SourceError: a state dict, safetensors, a pickled module, or no file of PyTorch's at all.
    """
    kind = kind_of(path)
    if path.suffix.lower() == ".safetensors":
        raise _weights_alone(path, "safetensors files hold named tensors and no code")
    if kind is Kind.TORCH_SAVE:
        raise _saved_by_torch_save(path)
    if kind is Kind.PICKLE:
        raise _weights_alone(path, "it is a pickle in the format before PyTorch 1.6")
    if kind not in (Kind.EXPORTED_PROGRAM, Kind.TORCHSCRIPT):
        raise SourceError(
            f"'{path.name}' is neither a TorchScript file nor an exported program",
            cause=f"it is {kind.value}",
            next_step=_DAMAGED,
        )


def _weights_alone(path: Path, cause: str) -> SourceError:
    return SourceError(
        f"'{path.name}' is a state dict, not a module", cause=cause, next_step=_FACTORY_STEP.format(name=path)
    )


def _saved_by_torch_save(path: Path) -> SourceError:
    classes = _pickled_classes(path)
    foreign = [name for name in classes if name.split(".")[0] not in _PLAIN]
    modules = [name for name in classes if name.startswith("torch.nn.modules.")]
    if not foreign and not modules:
        return _weights_alone(path, "torch.save(module.state_dict()) keeps the weights and no code")
    return SourceError(
        f"'{path.name}' is a pickled module of class {(foreign or modules)[0]}",
        cause="torch.save(module) keeps a reference to the class instead of its code",
        next_step="save it with torch.export.save, or pass package.module:factory --weights STATE_DICT",
    )


def _pickled_classes(path: Path) -> list[str]:
    """The classes that the pickle inside the archive names, read without unpickling."""
    with zipfile.ZipFile(path) as archive:
        member = next(name for name in archive.namelist() if name.split("/", 1)[-1] == "data.pkl")
        with refusing(f"'{path.name}' is damaged", next_step=_DAMAGED):
            data = archive.read(member)
            opcodes = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(data)]
    return [str(argument).replace(" ", ".") for name, argument in opcodes if name == "GLOBAL"]


def load_program(path: Path) -> Any:
    """What ``torch.export.save`` wrote.

    Raises:
        SourceError: it does not load.
    """
    with needs_extra("torch"):
        import torch
    with refusing(f"'{path.name}' does not load as an exported program", next_step=_DAMAGED):
        return torch.export.load(path)


def load_script(path: Path) -> Any:
    """What ``torch.jit.save`` wrote, on the CPU.

    Raises:
        SourceError: it does not load.
    """
    with needs_extra("torch"):
        import torch
    with refusing(f"'{path.name}' does not load as TorchScript", next_step=_DAMAGED):
        return torch.jit.load(path, map_location="cpu").eval()


def load_module(request: ImportRequest) -> tuple[Any, tuple[str, ...]]:
    """The module that ``package.module:factory`` builds, its weights loaded, in eval mode; and notes.

    Raises:
        SourceError: it cannot be imported, is no module, the weights are not its own, or nobody said where they are.
    """
    with needs_extra("torch"):
        import torch
    _refuse_weights_twice(request)
    factory = _imported(request.source)
    if isinstance(factory, torch.nn.Module):
        module = factory
    else:
        with refusing(
            f"'{request.source}' fails when called without arguments",
            next_step="write a function without arguments that builds the module, and name that",
        ):
            module = factory()
    if not isinstance(module, torch.nn.Module):
        raise SourceError(
            f"'{request.source}' builds a {type(module).__name__}, not a torch.nn.Module",
            next_step="name a function or class that returns the module",
        )
    if request.weights is not None:
        _load_weights(module, request.weights)
        return module.eval(), ()
    return module.eval(), _as_it_is_built(module, request)


def _refuse_weights_twice(request: ImportRequest) -> None:
    if request.weights is not None and request.weights_inside:
        raise SourceError(
            "--weights and --weights-inside contradict each other",
            cause="the one fills the module from a file, the other says that its factory does",
            next_step="pass one of them",
        )


def _as_it_is_built(module: Any, request: ImportRequest) -> tuple[str, ...]:
    """The note for a module that nothing is loaded into; random numbers must not be published by oversight.

    Raises:
        SourceError: it has weights, and nobody said that the factory loads them.
    """
    weights = module.state_dict()
    if not weights:
        return ()
    if request.weights_inside:
        return ("the weights are those that the factory puts in",)
    name, extra = next(iter(weights)), len(weights) - 1
    raise SourceError(
        f"'{request.source}' builds a module, and no --weights are given for it",
        cause=f"'{name}'{f' and {extra} more tensors' if extra else ''} would be served as the factory leaves them, "
        "which most factories do untrained",
        next_step="pass --weights FILE (.safetensors or a state dict); or --weights-inside if the factory loads them",
    )


def _imported(source: str) -> Any:
    name, attribute = source.split(":")
    sys.path.insert(0, str(Path.cwd()))
    with refusing(
        f"the Python module '{name}' cannot be imported",
        next_step="run the command in the folder that holds it, or install it in this environment",
    ):
        module = importlib.import_module(name)
    if not hasattr(module, attribute):
        public = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        raise SourceError(
            f"'{name}' has nothing called '{attribute}'",
            cause=f"it has {', '.join(sorted(public)[:8]) or 'nothing that can be called'}",
            next_step="check the name after the colon",
        )
    return getattr(module, attribute)


def _load_weights(module: Any, path: Path) -> None:
    if not path.is_file():
        raise SourceError(f"there is no file of weights '{path}'", next_step="check the path given to --weights")
    state = _read_weights(path)
    with refusing(f"the weights in '{path.name}' are not those of the module", next_step="save module.state_dict()"):
        module.load_state_dict(_completed(module, state))


def _completed(module: Any, state: Any) -> Any:
    """The state with the names of ``module``: without the prefix of DataParallel, tied tensors under all their names.

    A safetensors file keeps a tensor that has two names under one of them.
    """
    from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

    if isinstance(state, dict) and not any(name.startswith("module.") for name in module.state_dict()):
        consume_prefix_in_state_dict_if_present(state, "module.")
    names: dict[int, list[str]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(name)
    for tied in names.values():
        known = [name for name in tied if name in state]
        state |= {name: state[known[0]] for name in tied if known and name not in state}
    return state


def _read_weights(path: Path) -> Any:
    import torch

    if path.suffix.lower() == ".safetensors":
        with needs_extra("torch"):
            from safetensors.torch import load_file
        with refusing(f"'{path.name}' does not read as safetensors", next_step=_DAMAGED):
            return load_file(path)
    step = "save the weights alone: torch.save(module.state_dict(), file)"
    try:
        with refusing(f"'{path.name}' does not load as a state dict", next_step=step):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except SourceError as error:
        named = re.search(r"Unsupported global: GLOBAL ([\w.]+)", str(error.__cause__))
        if named is None:
            raise
        raise SourceError(error.fact, cause=f"it holds {named[1]}, which is code", next_step=step) from error
    if not isinstance(loaded, dict):
        return loaded
    return next((loaded[name] for name in _CHECKPOINT_KEYS if name in loaded), loaded)
