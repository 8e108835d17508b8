# SPDX-License-Identifier: Apache-2.0
"""Pipelines written in Python: the same values as a pipeline file, joined with ``|``.

::

    reader = (
        Pipeline("digits_reader", inputs={"image": "BYTES [1]"})
        | step("decode_image", height=8, width=8, mode="L")
        | step("normalise", mean=[0.305], std=[0.376])
        | model("digits", inputs={"image": "tensor"}, outputs={"output": "logits"})
        | step("softmax")
    ).outputs("probabilities")

Nothing here touches a repository: ``repo-tool pipeline check`` and ``add-pipeline`` take ``file.py:reader``.
"""

__all__ = ["Pipeline", "Steps", "for_each", "model", "repeat", "step", "when", "wire"]

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal, TypedDict, TypeVar, Unpack

import pydantic
import yaml

from repo_tool.errors import PipelineError
from repo_tool.pipelines.spec import BlockDeclaration, OtherWire, PipelineFile, StepDeclaration

_INPUT = re.compile(r"\s*(\w+)\s*\[([-\d,\s]*)\]\s*")
_Model = TypeVar("_Model", bound=pydantic.BaseModel)
InputType = str | tuple[str, Sequence[int]]  # "FP32 [3, 224, 224]", or ("FP32", (3, 224, 224))


class Comparison(TypedDict, total=False):
    """What a wire is compared with, at most one of them, and what becomes of NaN."""

    is_below: float
    is_at_most: float
    is_at_least: float
    is_above: float
    equals: bool | int | float | str
    if_nan: Literal["refuse", "holds", "otherwise"]


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps one after another; ``steps | steps`` are those of both."""

    declared: tuple[dict[str, Any], ...]

    def __or__(self, after: "Steps") -> "Steps":
        return Steps(self.declared + after.declared)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline in the making; ``pipeline | steps`` is a longer one, and this one stays as it is.

    ``inputs`` are the datatype and the dims of one row by name, ``"BYTES [1]"``.
    """

    name: str
    inputs: Mapping[str, InputType] = field(kw_only=True)
    description: str = field(default="", kw_only=True)
    max_batch_size: int | None = field(default=None, kw_only=True)
    merge: bool = field(default=True, kw_only=True)
    execution_env: str | PurePath | None = field(default=None, kw_only=True)
    steps: Steps = field(default=Steps(()), kw_only=True)
    told: Mapping[str, str] = field(default_factory=dict, kw_only=True)  # what `outputs` chose

    def __or__(self, steps: Steps) -> "Pipeline":
        return replace(self, steps=self.steps | steps)

    def outputs(self, *wires: str, **renamed: str) -> "Pipeline":
        """The same, telling those wires; ``renamed`` are tensors that wires of other names fill."""
        return replace(self, told={**{name: name for name in wires}, **renamed})

    def to_file(self, *, folder: Path | None = None) -> PipelineFile:
        """As a pipeline file says it; ``folder`` is where the files lie that it names, by default the current one.

        Raises:
            PipelineError: it is not of that form.
        """
        values = {
            "name": self.name,
            "description": self.description,
            "inputs": {name: _input(given) for name, given in self.inputs.items()},
            "steps": list(self.steps.declared),
            "outputs": dict(self.told),
            "max_batch_size": self.max_batch_size,
            "merge": self.merge,
            "execution_env": None if self.execution_env is None else str(self.execution_env),
        }
        return _validated(PipelineFile, values, f"pipeline '{self.name}'").found_in(folder or Path())

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, what a pipeline file would hold.

        Raises:
            PipelineError: it is not of that form.
        """
        values = _plain_file(self.to_file())
        if all(name == wire for name, wire in self.told.items()):
            values["outputs"] = list(self.told)
        return values

    def save(self, path: str | Path) -> None:
        """Write it as a pipeline file: YAML, or JSON where the name ends in ``.json``.

        Raises:
            PipelineError: it is not of that form.
        """
        values, target = self.to_dict(), Path(path)
        if target.suffix == ".json":
            target.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            return
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
        target.write_text(text, encoding="utf-8")


def step(
    use: str,
    /,
    *,
    name: str | None = None,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    merge: bool = True,
    **parameters: Any,
) -> Steps:
    """A shipped step, or ``module:Class``; a parameter that is a ``Path`` is a file beside the pipeline.

    Raises:
        PipelineError: it is not of the form that pipeline files have.
    """
    values = {"use": use, "name": name, "with": _plain(parameters), "merge": merge}
    return _declared(StepDeclaration, values, inputs, outputs, f"step '{use}'")


def model(
    model: str,
    /,
    *,
    version: int | None = None,
    name: str | None = None,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    merge: bool = True,
) -> Steps:
    """A model of the repository: its newest version, or the one named.

    Raises:
        PipelineError: it is not of the form that pipeline files have.
    """
    values = {"model": model, "version": version, "name": name, "merge": merge}
    return _declared(StepDeclaration, values, inputs, outputs, f"model '{model}'")


def when(
    condition: str,
    steps: Steps,
    *,
    otherwise: Mapping[str, OtherWire | bool | int | float | str],
    outputs: Sequence[str] | Mapping[str, str] | None = None,
    name: str | None = None,
    **comparison: Unpack[Comparison],
) -> Steps:
    """``steps`` for the rows whose wire ``condition`` compares so: ``is_below=0.9``; BOOL needs no comparison.

    ``otherwise`` is what the other rows get: values, or ``wire("name")``; ``if_nan`` what becomes of NaN.

    Raises:
        PipelineError: it is not of the form that pipeline files have.
    """
    values = {"wire": condition, **_plain(comparison), "otherwise": _plain(otherwise)}
    return _block("when", values, steps, outputs, name)


def for_each(
    items: Mapping[str, str],
    steps: Steps,
    *,
    outputs: Sequence[str] | Mapping[str, str],
    count: str | None = None,
    pad: Mapping[str, bool | int | float | str] | None = None,
    name: str | None = None,
) -> Steps:
    """``steps`` for each item of a row: ``items={"crop": "crops"}``.

    Raises:
        PipelineError: it is not of the form that pipeline files have.
    """
    values = {"items": dict(items), "count": count, "pad": _plain(pad or {})}
    return _block("for_each", values, steps, outputs, name)


def repeat(
    steps: Steps,
    *,
    carry: Mapping[str, str],
    at_most: int,
    outputs: Sequence[str] | Mapping[str, str],
    until: str | None = None,
    name: str | None = None,
) -> Steps:
    """``steps`` again and again, with what they wrote: ``carry={"written": "read"}``.

    Raises:
        PipelineError: it is not of the form that pipeline files have.
    """
    values = {"carry": dict(carry), "at_most": at_most, "until": until}
    return _block("repeat", values, steps, outputs, name)


def wire(name: str) -> OtherWire:
    """What another wire holds, in place of a value."""
    return OtherWire(wire=name)


def _block(
    kind: str,
    control: Mapping[str, Any],
    steps: Steps,
    outputs: Sequence[str] | Mapping[str, str] | None,
    name: str | None,
) -> Steps:
    told = outputs if isinstance(outputs, Mapping) else {each: each for each in outputs or ()}
    values = {"name": name, kind: dict(control), "steps": list(steps.declared)}
    return _declared(BlockDeclaration, values, None, told, f"block '{kind}'")


def _declared(
    kind: type[StepDeclaration | BlockDeclaration],
    values: Mapping[str, Any],
    inputs: Mapping[str, str] | None,
    outputs: Mapping[str, str] | None,
    title: str,
) -> Steps:
    """One step, checked where it is written, so that a traceback leads to its line."""
    maps = {key: dict(given) for key, given in (("inputs", inputs), ("outputs", outputs)) if given}
    return Steps((_plain_file(_validated(kind, {**values, **maps}, title)),))


def _validated(kind: type[_Model], values: Mapping[str, Any], title: str) -> _Model:
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        )
        raise PipelineError(
            f"{title} is not of the form of a pipeline", cause=problems, next_step="compare it with docs/pipelines.md"
        ) from error


def _plain_file(declared: pydantic.BaseModel) -> dict[str, Any]:
    return declared.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _input(given: InputType) -> dict[str, Any]:
    if not isinstance(given, str):
        datatype, dims = given
        return {"datatype": datatype, "dims": list(dims)}
    found = _INPUT.fullmatch(given)
    if found is None:
        raise PipelineError(
            f"'{given}' is no type of an input",
            cause="it is a datatype and the dims of one row",
            next_step='write it as "FP32 [3, 224, 224]", -1 where a dimension is free',
        )
    return {"datatype": found[1], "dims": [int(size) for size in found[2].split(",") if size.strip()]}


def _plain(value: Any) -> Any:
    """What YAML can hold: numpy's numbers and arrays as Python's, paths as ``{file: …}``."""
    if isinstance(value, PurePath):
        return {"file": value.as_posix()}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, OtherWire):
        return {"wire": value.wire}
    return _plain(value.tolist()) if hasattr(value, "tolist") else value
