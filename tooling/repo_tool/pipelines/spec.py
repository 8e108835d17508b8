# SPDX-License-Identifier: Apache-2.0
"""What a ``pipeline.yaml`` says, checked for form only.

A step is a shipped step or one of the pipeline's own (``use``), a model of the repository (``model``), or a block of
steps: ``when`` (the rows for which a condition holds), ``for_each`` (the items of each row), ``repeat`` (again and
again). Everywhere a map goes from a thing's own tensors to the wires around it.
"""

__all__ = [
    "BlockDeclaration",
    "Declaration",
    "FileReference",
    "ForEach",
    "InputDeclaration",
    "OtherWire",
    "PipelineFile",
    "Repeat",
    "StepDeclaration",
    "When",
    "read_pipeline",
]

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml

from repo_tool.bounded_yaml import bounded_text, read_bounded_yaml
from repo_tool.datatypes import DataType
from repo_tool.errors import ModelNameError, PipelineError
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.beside import file_beside, named_files, refuse_elsewhere, with_files_as
from repo_tool.pipelines.form_mistakes import form_mistakes, no_key_twice, unreadable
from repo_tool.pipelines.wire import Wire
from repo_tool.repository.layout import check_model_name
from repo_tool.repository.provenance import digest_of, digest_of_bytes

PUBLISHED_NAME = "pipeline.json"  # in the version folder of a published pipeline, its files in `assets/` beside it
ASSETS_FOLDER = "assets"
_MOST_ROUNDS = 10_000  # of `repeat`, those of blocks inside one another multiplied
_COMPARISONS = ("is_below", "is_at_most", "is_at_least", "is_above", "equals")
Value = bool | int | float | str
MODEL_NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # as check_model_name has it
WIRE_PATTERN = "^[^\\u0000-\\u001f\\u007f]+$"
_MOST_NESTED = 16  # blocks
_DEEPEST = 60  # values of any kind, with those blocks
_LARGEST, _LARGEST_BATCH = 2**63 - 1, 2**31 - 1  # as Triton stores dims and versions, and rows
_Found = TypeVar("_Found")


def _model_name(value: str) -> str:
    try:
        return check_model_name(value)
    except ModelNameError as error:
        raise ValueError(f"{error.fact}: {error.cause}") from error


def _wire_name(value: str) -> str:
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in value):
        raise ValueError(f"{value!r} holds a control character, which no name of a tensor may")
    return value


_ModelName = Annotated[
    str,
    pydantic.Field(max_length=200, json_schema_extra={"pattern": MODEL_NAME_PATTERN}),
    pydantic.AfterValidator(_model_name),
]
_Tensor = Annotated[
    str,
    pydantic.Field(min_length=1, json_schema_extra={"pattern": WIRE_PATTERN}),
    pydantic.AfterValidator(_wire_name),
]


class _Declaration(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class InputDeclaration(_Declaration):
    """What a client sends: a wire datatype and the dims of one row, -1 where they are free."""

    datatype: str
    dims: list[Annotated[int, pydantic.Field(ge=-1, le=_LARGEST)]] = pydantic.Field(min_length=1)

    @pydantic.field_validator("datatype")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in DataType.__members__:
            raise ValueError(f"'{value}' is no datatype; there are {', '.join(DataType.__members__)}")
        return value

    @pydantic.field_validator("dims")
    @classmethod
    def _sized(cls, value: list[int]) -> list[int]:
        if 0 in value:
            raise ValueError("a dimension is at least 1, or -1 where it is free")
        return value

    @property
    def wire(self) -> Wire:
        """The same as a typed wire."""
        return Wire(DataType.from_wire(self.datatype), tuple(self.dims))


class FileReference(_Declaration):
    """``{file: labels.txt}`` among a step's parameters: a file beside the pipeline file."""

    file: str = pydantic.Field(min_length=1)


class StepDeclaration(_Declaration):
    """A step (``use``: a shipped one, or ``module:Class``) or a model of the repository (``model``).

    ``inputs`` and ``outputs`` map the step's tensors to wires; a tensor left out is wired to its own name.
    """

    name: str | None = None
    use: str | None = None
    model: str | None = None
    version: int | None = pydantic.Field(default=None, ge=1, le=_LARGEST)  # of the model; None: its newest
    parameters: dict[str, Any] = pydantic.Field(default_factory=dict, alias="with")
    inputs: dict[str, _Tensor] = pydantic.Field(default_factory=dict)
    outputs: dict[str, _Tensor] = pydantic.Field(default_factory=dict)
    merge: bool = True  # whether it may become part of one ONNX graph with its neighbours

    @pydantic.field_validator("version", mode="before")
    @classmethod
    def _newest(cls, value: Any) -> Any:
        return None if value == -1 else value  # Triton's own word for the newest

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> "StepDeclaration":
        if (self.use is None) == (self.model is None):
            raise ValueError("a step says either `use:` (a shipped step) or `model:` (one of the repository)")
        if self.use is not None and self.version is not None:
            raise ValueError("`version:` belongs to a model of the repository, and this is a step")
        if self.model is not None and self.parameters:
            raise ValueError("`with:` belongs to a step, and this is a model of the repository")
        return self

    @property
    def title(self) -> str:
        """How messages call it."""
        kind, what = ("step", self.use) if self.use else ("model", self.model)
        return f"{kind} '{self.name}' ({what})" if self.name else f"{kind} '{what}'"


class OtherWire(_Declaration):
    """``{wire: name}``: what another wire holds, in place of a value."""

    wire: str


class When(_Declaration):
    """Its steps see only the rows whose ``wire`` (dims [1]) is so; for the others its outputs are ``otherwise``.

    A wire of datatype BOOL needs no comparison, and a number is compared as a value of the wire's datatype. NaN
    compares with nothing: ``if_nan`` says what becomes of it. A value of ``otherwise`` fills the whole tensor.
    """

    wire: str
    is_below: float | None = None
    is_at_most: float | None = None
    is_at_least: float | None = None
    is_above: float | None = None
    equals: Value | None = None
    if_nan: Literal["refuse", "holds", "otherwise"] = "refuse"  # the request, or as if the condition held, or did not
    otherwise: dict[str, OtherWire | Value]

    @pydantic.model_validator(mode="after")
    def _one_comparison(self) -> "When":
        if len(self._given()) > 1:
            raise ValueError(f"a condition has one comparison, not {' and '.join(self._given())}")
        return self

    def _given(self) -> list[str]:
        return [name for name in _COMPARISONS if getattr(self, name) is not None]

    @property
    def comparison(self) -> tuple[str, Value]:
        """Its name and the value on its right; for a BOOL wire ``equals`` and True."""
        name = next(iter(self._given()), None)
        return (name, getattr(self, name)) if name else ("equals", True)


class ForEach(_Declaration):
    """Its steps see each item as a row: ``items`` maps wires inside to wires [k, ...] of which they are the items.

    Items of a wire [k] are [1], and results [1] become [k] again. ``count`` is an integer wire [1]: how many of the k
    there are, the rest of the results being ``pad`` (0, "" or False where nothing is given). Other wires that the steps
    read are the same for all items of a row.
    """

    items: dict[_Tensor, str] = pydantic.Field(min_length=1)
    count: str | None = None
    pad: dict[str, Value] = pydantic.Field(default_factory=dict)


class Repeat(_Declaration):
    """Its steps run again with what they wrote: ``carry`` maps wires that they write to wires that they read.

    Each row stops as soon as its ``until`` (BOOL [1], written inside) holds, and after ``at_most`` rounds.
    """

    carry: dict[_Tensor, str] = pydantic.Field(min_length=1)
    until: str | None = None
    at_most: int = pydantic.Field(ge=1, le=_MOST_ROUNDS)


class BlockDeclaration(_Declaration):
    """Steps under a condition, for each item or again and again.

    ``outputs`` names the wires written inside that are seen outside, as a list or as {inside: outside}. A ``when`` may
    leave it out: what its ``otherwise`` names.
    """

    name: str | None = None
    when: When | None = None
    for_each: ForEach | None = None
    repeat: Repeat | None = None
    steps: list["Declaration"] = pydantic.Field(min_length=1)
    outputs: dict[str, _Tensor] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("outputs", mode="before")
    @classmethod
    def _mapped(cls, value: Any) -> Any:
        return _as_map(value)

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> "BlockDeclaration":
        if sum(each is not None for each in (self.when, self.for_each, self.repeat)) != 1:
            raise ValueError("a block says one of `when:`, `for_each:` and `repeat:`")
        if _rounds([self]) > _MOST_ROUNDS:
            raise ValueError(f"blocks inside one another repeat {_rounds([self])} rounds, and at most {_MOST_ROUNDS}")
        if not self.told:
            raise ValueError("a block names under `outputs:` the wires that are seen outside")
        return self

    @property
    def kind(self) -> Literal["when", "for_each", "repeat"]:
        """Its key."""
        return "when" if self.when else "for_each" if self.for_each else "repeat"

    @property
    def control(self) -> When | ForEach | Repeat:
        """What stands under that key."""
        found = self.when or self.for_each or self.repeat
        assert found is not None  # noqa: S101  # as validated
        return found

    @property
    def told(self) -> dict[str, str]:
        """``outputs``, or what ``otherwise`` names."""
        return self.outputs or ({name: name for name in self.when.otherwise} if self.when else {})

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"block '{self.name}' ({self.kind})" if self.name else f"block '{self.kind}'"


def _rounds(steps: Iterable[StepDeclaration | BlockDeclaration]) -> int:
    """How often the innermost steps run for a row, at most; the items of ``for_each`` are rows of their own."""
    blocks = [step for step in steps if isinstance(step, BlockDeclaration)]
    return max(((block.repeat.at_most if block.repeat else 1) * _rounds(block.steps) for block in blocks), default=1)


def _kind_of(value: Any) -> str:
    if isinstance(value, BlockDeclaration):
        return "block"
    keys = value.keys() if isinstance(value, Mapping) else ()
    return "block" if {"when", "for_each", "repeat", "steps"} & set(keys) else "step"


Declaration = Annotated[
    Annotated[StepDeclaration, pydantic.Tag("step")] | Annotated[BlockDeclaration, pydantic.Tag("block")],
    pydantic.Discriminator(_kind_of),
]


class PipelineFile(_Declaration):
    """A whole ``pipeline.yaml``; ``outputs`` map the tensors that a client reads to wires."""

    name: _ModelName
    description: str = ""
    inputs: dict[_Tensor, InputDeclaration] = pydantic.Field(min_length=1)
    steps: list[Declaration] = pydantic.Field(min_length=1)
    outputs: dict[_Tensor, str] = pydantic.Field(min_length=1)
    max_batch_size: int | None = pydantic.Field(
        default=None, ge=0, le=_LARGEST_BATCH
    )  # 0: one request is one batch, never joined
    merge: bool = True
    execution_env: str | None = None  # a conda-pack archive beside the file, for the Python-backend models
    _folder: Path = pydantic.PrivateAttr(default=Path())

    @pydantic.model_validator(mode="before")
    @classmethod
    def _shallow(cls, value: Any) -> Any:
        _refuse_deep(value)
        return value

    @pydantic.field_validator("outputs", mode="before")
    @classmethod
    def _mapped(cls, value: Any) -> Any:
        return _as_map(value)

    @property
    def folder(self) -> Path:
        """Where the files lie that it names."""
        return self._folder

    def found_in(self, folder: Path) -> "PipelineFile":
        """The same, its files being in ``folder``."""
        found = self.model_copy()
        found._folder = folder
        return found

    def with_outputs(self, wires: Iterable[str]) -> "PipelineFile":
        """The same pipeline telling those wires, too."""
        return self.model_copy(update={"outputs": {**self.outputs, **{wire: wire for wire in wires}}})

    def all_steps(self) -> Iterator[StepDeclaration]:
        """Steps and models, those inside blocks included."""
        yield from _within(self.steps)

    @property
    def digest(self) -> str:
        """``sha256:`` and the hex digest of what it says, with what stands in the files that it names.

        Comments, the names of the files and where they lie do not count.

        Raises:
            PipelineError: one of the files is not there.
        """
        values = self.with_file_names(self._digest_of).model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if self.execution_env is not None:
            values["execution_env"] = self._digest_of(self.execution_env)
        sources = {name: self._digest_of(name) for name in self.source_names}
        return digest_of_bytes(json.dumps([values, sources], sort_keys=True).encode())

    def _digest_of(self, name: str) -> str:
        return digest_of(self.file(name), through_pointers=True)

    def with_file_names(self, told: Callable[[str], str]) -> "PipelineFile":
        """The same, the parameters of its steps naming ``told(name)`` in the place of each file."""
        return self.model_copy(update={"steps": [_with_file_names(step, told) for step in self.steps]})

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files that the parameters of its steps name."""
        return tuple(dict.fromkeys(name for step in self.all_steps() for name in named_files(step.parameters)))

    @property
    def source_names(self) -> tuple[str, ...]:
        """The Python files of its own steps that lie beside it: ``my_steps.py`` for ``use: my_steps:Sharpen``."""
        modules = [step.use.partition(":")[0] for step in self.all_steps() if step.use and ":" in step.use]
        paths = dict.fromkeys(f"{module.removesuffix('.py').replace('.', '/')}.py" for module in modules)
        return tuple(path for path in paths if (self.folder / path).is_file())

    def file(self, name: str) -> Path:
        """The path of a file that it names.

        Raises:
            PipelineError: it is not there, or not in ``folder``.
        """
        return file_beside(name, self.folder, f"pipeline '{self.name}'")

    @property
    def member_names(self) -> tuple[str, ...]:
        """The models of the repository that it uses, also inside blocks and merged ones."""
        return tuple(dict.fromkeys(step.model for step in self.all_steps() if step.model is not None))


def _refuse_deep(value: Any) -> None:
    """What lies in itself without end is no pipeline, and all that walks one may call itself."""
    seen = [(value, 0, 0)]
    while seen:
        found, depth, blocks = seen.pop()
        if blocks > _MOST_NESTED or depth > _DEEPEST:
            what = f"{_MOST_NESTED} blocks" if blocks > _MOST_NESTED else f"{_DEEPEST} values"
            raise ValueError(f"more than {what} lie in one another")
        if isinstance(found, Mapping):
            is_block = bool(depth) and "steps" in found
            seen += [(inner, depth + 1, blocks + is_block) for inner in found.values()]
        elif isinstance(found, list | tuple):
            seen += [(inner, depth + 1, blocks) for inner in found]


def _as_map(value: Any) -> Any:
    """A list of names as the map of each to itself."""
    if not isinstance(value, list):
        return value
    if not all(isinstance(name, str) for name in value):
        raise ValueError("a list of names, or a map of names to wires")
    twice = [name for name in value if value.count(name) > 1]
    if twice:
        raise ValueError(f"'{twice[0]}' stands there twice")
    return {name: name for name in value}


def _within(steps: Iterable[StepDeclaration | BlockDeclaration]) -> Iterator[StepDeclaration]:
    for step in steps:
        if isinstance(step, StepDeclaration):
            yield step
        else:
            yield from _within(step.steps)


def _with_file_names(
    step: StepDeclaration | BlockDeclaration, told: Callable[[str], str]
) -> StepDeclaration | BlockDeclaration:
    if isinstance(step, BlockDeclaration):
        return step.model_copy(update={"steps": [_with_file_names(inner, told) for inner in step.steps]})
    parameters = with_files_as(step.parameters, lambda name: {"file": told(name)})
    return step.model_copy(update={"parameters": parameters})


def _values(path: Path) -> Any:
    # PyYAML follows YAML 1.1, to which JSON's 1e-05 is text.
    if path.suffix == ".json":
        return json.loads(bounded_text(path), object_pairs_hook=no_key_twice)
    return read_bounded_yaml(path)


def read_pipeline(path: Path) -> PipelineFile:
    """Read a pipeline file, or the ``pipeline.json`` of a published one; the files that it names must be there.

    Raises:
        PipelineError: missing, not YAML, or not of the form above.
    """
    try:
        pipeline = PipelineFile.model_validate(_values(path))
    except pydantic.ValidationError as error:
        near = _meant(error)
        raise PipelineError(
            f"'{path}' does not describe a pipeline",
            cause=form_mistakes(error),
            next_step=near or "compare it with docs/pipelines.md",
        ) from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise unreadable(path, error) from error
    pipeline = pipeline.found_in(_folder_of(path))
    for name in pipeline.file_names:
        pipeline.file(name)
    if pipeline.execution_env is not None:  # often made elsewhere, and only there where models are made
        refuse_elsewhere(pipeline.execution_env, pipeline.folder, f"pipeline '{pipeline.name}'")
    return pipeline


def _folder_of(path: Path) -> Path:
    if path.name != PUBLISHED_NAME:
        return path.parent
    folder = path.parent / ASSETS_FOLDER
    if folder.is_symlink():
        raise PipelineError(
            f"'{folder}' is a link",
            cause="the files of a published pipeline lie in its version folder",
            next_step="add the pipeline again: repo-tool add-pipeline",
        )
    return folder


def _meant(error: pydantic.ValidationError) -> str:
    """What the first unknown key may have been meant to be."""
    kinds: list[type[pydantic.BaseModel]] = [PipelineFile, StepDeclaration, BlockDeclaration, InputDeclaration]
    kinds += [When, ForEach, Repeat]
    known = {field.alias or name for kind in kinds for name, field in kind.model_fields.items()}
    unknown = [each["loc"][-1] for each in error.errors() if each["type"] == "extra_forbidden"]
    return did_you_mean(str(unknown[0]), known) if unknown else ""
