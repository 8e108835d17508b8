# SPDX-License-Identifier: Apache-2.0
"""The steps that ship with repo-tool: found by name, their parameters checked, their outputs typed."""

__all__ = ["Step", "step", "step_names"]

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines import steps
from repo_tool.pipelines.wire import Wire
from repo_tool.samples import Array, Tensors

_FOLDER = Path(steps.__file__).parent


def step_names() -> tuple[str, ...]:
    """The steps there are."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.py") if not path.stem.startswith("_")))


@dataclass(frozen=True, slots=True)
class Step:
    """One shipped step."""

    name: str
    module: ModuleType

    @property
    def source(self) -> Path:
        """The file that is copied beside the generated model."""
        return _FOLDER / f"{self.name}.py"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its input tensors."""
        return tuple(name for name, parameter in self._arguments() if parameter.kind is not parameter.KEYWORD_ONLY)

    def check_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with their defaults, as plain values.

        Raises:
            PipelineError: one is unknown, missing or of another type.
        """
        fields: dict[str, Any] = {
            name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
            for name, parameter in self._arguments()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        model = pydantic.create_model(self.name, __config__=pydantic.ConfigDict(extra="forbid"), **fields)
        try:
            checked: dict[str, Any] = model.model_validate(dict(parameters)).model_dump()
        except pydantic.ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
            raise PipelineError(
                f"the parameters of step '{self.name}' do not fit",
                cause=problems,
                next_step=f"it takes {', '.join(fields) or 'none'}",
            ) from error
        return checked

    def output_wires(self, inputs: Mapping[str, Wire], parameters: Mapping[str, Any]) -> dict[str, Wire]:
        """What the step makes of such inputs.

        Raises:
            PipelineError: it cannot work on them.
        """
        plain = {name: (wire.datatype.wire_name, wire.dims) for name, wire in inputs.items()}
        try:
            found = self.module.outputs(plain, **parameters)
        except ValueError as error:
            raise PipelineError(
                f"step '{self.name}' cannot work on its inputs", cause=str(error), next_step="mend the step before it"
            ) from error
        return {name: Wire(DataType.from_wire(datatype), tuple(dims)) for name, (datatype, dims) in found.items()}

    def run(self, tensors: Tensors, parameters: Mapping[str, Any]) -> dict[str, Array]:
        """Run it here, on rows."""
        run: Callable[..., dict[str, Array]] = self.module.run
        return run(**tensors, **parameters)

    def _arguments(self) -> list[tuple[str, inspect.Parameter]]:
        return list(inspect.signature(self.module.run).parameters.items())


def step(name: str) -> Step:
    """The shipped step called ``name``.

    Raises:
        PipelineError: there is none.
    """
    if name in step_names():
        return Step(name, importlib.import_module(f"repo_tool.pipelines.steps.{name}"))
    near = get_close_matches(name, step_names(), n=1)
    raise PipelineError(
        f"no step is called '{name}'",
        cause=f"there are {', '.join(step_names())}",
        next_step=f"did you mean '{near[0]}'?" if near else "choose one of them, or write `model:` for a model",
    )
