# SPDX-License-Identifier: Apache-2.0
"""The steps that ship with repo-tool: found by name, their parameters checked, their outputs typed."""

__all__ = ["Step", "StepKind", "plain_wires", "step_kind", "step_names"]

import dataclasses
import importlib
import inspect
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import pydantic

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines import steps
from repo_tool.pipelines.beside import paths_in
from repo_tool.pipelines.wire import Wire
from repo_tool.samples import Array, Tensors

_FOLDER = Path(steps.__file__).parent


def step_names() -> tuple[str, ...]:
    """The steps there are."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.py") if not path.stem.startswith("_")))


@dataclass(frozen=True, slots=True)
class StepKind:
    """A step's class, whose contract is told in ``repo_tool.pipelines.steps``; parameters make it a `Step`."""

    name: str
    code: type[Any]
    source: Path  # the file that is copied beside the generated model

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its input tensors; none where its parameters name them, which `Step.inputs` knows."""
        told = list(inspect.signature(self.code.run).parameters.values())[1:]
        return tuple(each.name for each in told if each.kind is not inspect.Parameter.VAR_KEYWORD)

    @property
    def packages(self) -> tuple[str, ...]:
        """What it imports beside numpy, by the names of the package index."""
        return getattr(self.code, "packages", ())

    @property
    def heavy(self) -> bool:
        """Whether an instance for each core is worth its memory."""
        return getattr(self.code, "heavy", False)

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of its parameters."""
        return _adapter(cast(Hashable, self.code)).json_schema()

    def with_parameters(self, given: Mapping[str, Any]) -> "Step":
        """The step, with its parameters checked and the others at their defaults.

        Raises:
            PipelineError: one is unknown, missing, of another type, or can never work.
        """
        names = [field.name for field in dataclasses.fields(self.code)]
        for unknown in sorted(set(given) - set(names)):
            raise self._misfit(f"{unknown}: no such parameter", did_you_mean(unknown, names))
        for problem in _misread(given, self.parameters):
            raise self._misfit(problem)
        try:
            return Step(self, _adapter(cast(Hashable, self.code)).validate_python(dict(given)))
        except pydantic.ValidationError as error:
            raise self._misfit(_problems(error)) from error

    def _misfit(self, problems: str, near: str = "") -> PipelineError:
        names = ", ".join(field.name for field in dataclasses.fields(self.code))
        fact = f"the parameters of step '{self.name}' do not fit"
        return PipelineError(fact, cause=problems, next_step=near or f"it takes {names or 'none'}")


@dataclass(frozen=True, slots=True)
class Step:
    """A step with its parameters."""

    kind: StepKind
    code: Any

    @property
    def name(self) -> str:
        """As pipeline files call it."""
        return self.kind.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its input tensors."""
        named: Callable[[], tuple[str, ...]] | None = getattr(self.code, "input_names", None)
        return self.kind.inputs if named is None else named()

    @property
    def parameters(self) -> dict[str, Any]:
        """All of them as plain values; files as ``Path``."""
        return {field.name: getattr(self.code, field.name) for field in dataclasses.fields(self.code)}

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that go with it."""
        return tuple(dict.fromkeys(paths_in(self.parameters)))

    def output_wires(self, inputs: Mapping[str, Wire]) -> dict[str, Wire]:
        """What the step makes of such inputs.

        Raises:
            PipelineError: it cannot work on them.
        """
        try:
            found = self.code.outputs(plain_wires(inputs))
        except ValueError as error:
            raise PipelineError(
                f"step '{self.name}' cannot work on its inputs", cause=str(error), next_step="mend the step before it"
            ) from error
        return {name: Wire(DataType.from_wire(datatype), tuple(dims)) for name, (datatype, dims) in found.items()}

    def run(self, tensors: Tensors) -> dict[str, Array]:
        """Run it here, on rows.

        Raises:
            ValueError: a row cannot be processed; the text begins with the row.
        """
        run: Callable[..., dict[str, Array]] = self.code.run
        return run(**tensors)

    def graph(self, op: Any, inputs: Mapping[str, Wire], values: Mapping[str, Any]) -> dict[str, Any]:
        """Its nodes in an ONNX graph, its outputs by name.

        Raises:
            NotImplementedError: it has none, with the reason.
        """
        graph = getattr(self.code, "graph", None)
        if graph is None:
            raise NotImplementedError("it is not arithmetic")
        values_out: dict[str, Any] = graph(op, plain_wires(inputs), **values)
        return values_out


@cache
def _adapter(code: Any) -> "pydantic.TypeAdapter[Any]":
    """What pydantic makes of a step's class, which takes it some milliseconds."""
    return pydantic.TypeAdapter(code)


def plain_wires(wires: Mapping[str, Wire]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """As a step's own file knows them."""
    return {name: (wire.datatype.wire_name, wire.dims) for name, wire in wires.items()}


def step_kind(name: str) -> StepKind:
    """The shipped step called ``name``.

    Raises:
        PipelineError: there is none.
    """
    if name in step_names():
        module = importlib.import_module(f"repo_tool.pipelines.steps.{name}")
        code = getattr(module, "".join(word.capitalize() for word in name.split("_")))
        return StepKind(name, code, _FOLDER / f"{name}.py")
    raise PipelineError(
        f"no step is called '{name}'",
        cause=f"there are {', '.join(step_names())}",
        next_step=did_you_mean(name, step_names()) or "choose one of them, or write `model:` for a model",
    )


def _problems(error: pydantic.ValidationError) -> str:
    told = (f"{_place(each['loc'])}: {each['msg'].lower().removeprefix('value error, ')}" for each in error.errors())
    return "; ".join(dict.fromkeys(told))


def _place(steps: tuple[int | str, ...]) -> str:
    """Without the alternatives of a type, such as ``list[int]``, which pydantic counts among them."""
    return ".".join(str(step) for step in steps if not str(step).endswith("]")) or "together"


def _misread(given: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """What YAML took for another type than its author: pydantic would make 0 or 1 of ``no`` and ``yes``."""
    for name, value in given.items():
        types = set(_types(schema.get("properties", {}).get(name, {})))
        for place, leaf in _leaves(name, value):
            if isinstance(leaf, bool) and types and ("boolean" not in types or place.endswith("key ")):
                yield (
                    f"{place}{json.dumps(leaf)} is a truth value; YAML takes yes, no, on and off as such: "
                    f"put the word in quotes"
                )
            if isinstance(leaf, float) and "integer" in types and "number" not in types:
                yield f"{place}{leaf} is no whole number; leave out the point, or put it in quotes for a text"


def _types(schema: Any) -> Iterator[str]:
    """All that a parameter may hold at any depth, as JSON schema calls it."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str):
            yield schema["type"]
        for inner in schema.values():
            yield from _types(inner)
    if isinstance(schema, list):
        for inner in schema:
            yield from _types(inner)


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{place}: the key ", key
            yield from _leaves(f"{place}.{key}", inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(f"{place}[{index}]", inner)
    else:
        yield f"{place}: ", value
