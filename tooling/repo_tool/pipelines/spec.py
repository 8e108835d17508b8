# SPDX-License-Identifier: Apache-2.0
"""What a ``pipeline.yaml`` says, checked for form only."""

__all__ = ["InputDeclaration", "PipelineFile", "StepDeclaration", "read_pipeline", "step_model_name"]

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pydantic
import yaml

from repo_tool.bounded_yaml import read_bounded_yaml
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.wire import Wire
from repo_tool.repository.provenance import digest_of_bytes


class _Declaration(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class InputDeclaration(_Declaration):
    """What a client sends: a wire datatype and the dims of one row."""

    datatype: str
    dims: list[int]

    @pydantic.field_validator("datatype")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in DataType.__members__:
            raise ValueError(f"'{value}' is no datatype; there are {', '.join(DataType.__members__)}")
        return value

    @property
    def wire(self) -> Wire:
        """The same as a typed wire."""
        return Wire(DataType.from_wire(self.datatype), tuple(self.dims))


class StepDeclaration(_Declaration):
    """A shipped step (``use``) or a model of the repository (``model``).

    ``inputs`` and ``outputs`` map the step's tensors to wires; a tensor left out is wired to its own name.
    """

    use: str | None = None
    model: str | None = None
    parameters: dict[str, Any] = pydantic.Field(default_factory=dict, alias="with")
    inputs: dict[str, str] = pydantic.Field(default_factory=dict)
    outputs: dict[str, str] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> "StepDeclaration":
        if (self.use is None) == (self.model is None):
            raise ValueError("a step says either `use:` (a shipped step) or `model:` (one of the repository)")
        return self

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"step '{self.use}'" if self.use else f"model '{self.model}'"


class PipelineFile(_Declaration):
    """A whole ``pipeline.yaml``."""

    name: str
    description: str = ""
    inputs: dict[str, InputDeclaration] = pydantic.Field(min_length=1)
    steps: list[StepDeclaration] = pydantic.Field(min_length=1)
    outputs: list[str] = pydantic.Field(min_length=1)
    max_batch_size: int | None = pydantic.Field(default=None, ge=1)

    @property
    def digest(self) -> str:
        """``sha256:`` and the hex digest of what it says, with the files that it names; comments do not count."""
        return digest_of_bytes(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode())

    @property
    def member_names(self) -> tuple[str, ...]:
        """The models of the repository that it uses."""
        return tuple(dict.fromkeys(step.model for step in self.steps if step.model is not None))

    @property
    def step_model_names(self) -> tuple[str, ...]:
        """The models that are generated for it: one for each run of neighbouring steps."""
        names, place = [], 0
        for is_step, group in groupby(self.steps, key=lambda step: step.model is None):
            if is_step:
                names.append(step_model_name(self.name, place=place))
            place += 1 if is_step else len(list(group))
        return tuple(names)


def step_model_name(pipeline: str, *, place: int) -> str:
    """What the model is called that is generated for the steps at ``place`` of the ensemble's steps."""
    return f"{pipeline}_{'pre' if place == 0 else f'post{place}' if place > 2 else 'post'}"


def read_pipeline(path: Path) -> PipelineFile:
    """Read a pipeline file; ``{file: labels.txt}`` in a step's parameters becomes that file's lines.

    Raises:
        PipelineError: missing, not YAML, or not of the form above.
    """
    try:
        values = read_bounded_yaml(path)
        return PipelineFile.model_validate(_with_files(values, path.parent))
    except pydantic.ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise PipelineError(
            f"'{path}' does not describe a pipeline", cause=problems, next_step="compare it with docs/pipelines.md"
        ) from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise PipelineError(
            f"'{path}' cannot be read as a pipeline", cause=str(error), next_step="give the path of a YAML file"
        ) from error


def _with_files(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        if set(value) == {"file"}:
            lines = (folder / str(value["file"])).read_text(encoding="utf-8").splitlines()
            return [line.strip() for line in lines if line.strip()]
        return {key: _with_files(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_files(inner, folder) for inner in value]
    return value
