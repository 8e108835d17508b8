# SPDX-License-Identifier: Apache-2.0
"""What a ``repo-tool.yaml`` says: the models, pipelines and options of a repository, checked for form only."""

__all__ = [
    "DEFAULT_FILE",
    "Complaint",
    "FileOptions",
    "ModelDeclaration",
    "PipelineDeclaration",
    "RepositoryFile",
    "WrittenFile",
    "file_schema",
    "read_repository_file",
]

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from repo_tool.errors import ModelNameError, ReleaseError, SpecificationError
from repo_tool.near_names import did_you_mean
from repo_tool.refinement.precision import Precision
from repo_tool.releases import known_releases, release
from repo_tool.repository.layout import check_model_name
from repo_tool.workflows.plan_yaml import Written, WrittenFloat, read_yaml

DEFAULT_FILE = Path("repo-tool.yaml")
SCHEMA_VERSION = 1
_MOST_COMPLAINTS = 20
_PLAIN_ITEM = re.compile(r"[\w.+-]+|\s*[{<].*", re.DOTALL)  # a word or number, or a message


def _release_name(value: Any) -> Any:
    """Unquoted, 26.10 is a number to YAML and would lose its zero."""
    name = value.written if isinstance(value, WrittenFloat) else value
    if isinstance(name, str):
        try:
            release(name)
        except ReleaseError as error:
            raise ValueError(f"{error.fact}; {error.next_step}") from error
    return name


def _model_name(value: str) -> str:
    try:
        return check_model_name(value)
    except ModelNameError as error:
        raise ValueError(f"{error.fact}; {error.cause}") from error


def _field_values(value: Any) -> Any:
    """What is set for each field, as protobuf text; a message is written as such text, or field by field."""
    return {path: _field_value(inner, path) for path, inner in value.items()} if isinstance(value, dict) else value


def _field_value(value: Any, path: str) -> Any:
    if isinstance(value, list):
        return f"[{', '.join(_items(value, path))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, WrittenFloat):
        return value.written
    return str(value) if isinstance(value, int) else value


def _items(values: list[Any], path: str) -> list[str]:
    """Each as protobuf text; strings in quotes as soon as one of them has to be, for it may hold a comma."""
    items = [item for value in values if isinstance(item := _item(value, path), str)]
    if len(items) < len(values):
        raise ValueError(f"{path}: its list holds what is no text, number, true or false; write a message as '{{ … }}'")
    return items if all(_PLAIN_ITEM.fullmatch(item) for item in items) else [_quoted(item) for item in items]


def _item(value: Any, path: str) -> Any:
    return None if isinstance(value, list) else _field_value(value, path)


def _quoted(item: str) -> str:
    from google.protobuf import text_encoding

    return f'"{text_encoding.CEscape(item.encode(errors="replace"), as_utf8=True)}"'


def _nothing(value: Any) -> Any:
    """A key with nothing behind it, as a list has whose last entry was taken out."""
    return () if value is None else value


def _words_of(value: Any) -> Any:
    """One word stands for a list of it."""
    return (value,) if isinstance(value, str) else value


Words = Annotated[
    tuple[str, ...],
    pydantic.BeforeValidator(_words_of, json_schema_input_type=str | list[str]),
]
Release = Annotated[
    str,
    pydantic.BeforeValidator(_release_name),
    pydantic.WithJsonSchema({"type": "string", "enum": list(known_releases())}),
]
ModelName = Annotated[
    str,
    pydantic.AfterValidator(_model_name),
    pydantic.WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$"}),
]
FieldValues = Annotated[
    dict[str, str],
    pydantic.BeforeValidator(_field_values),
    pydantic.WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean", "array"]},
            "examples": [{"dynamic_batching.max_queue_delay_microseconds": 500}],
        }
    ),
]
TOLERANCE = Field(default=None, ge=0, description="Allowed difference of the served answers: absolute and relative.")


class _Declaration(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class FileOptions(_Declaration):
    """What holds for every model and pipeline that does not say otherwise."""

    repository: Path = Field(default=Path("model_repository"), description="The model repository, beside this file.")
    owner: str | None = Field(
        default=None,
        min_length=1,
        description="Who may remove what this file no longer lists. Default: its path as seen from the repository.",
    )
    release: Release | None = Field(default=None, description="The Triton release that everything must load on.")
    tolerance: float | None = TOLERANCE


class ModelDeclaration(_Declaration):
    """One model: where it comes from and how it is served; the words are those of ``repo-tool add-model``."""

    name: ModelName = Field(description="What Triton calls it.")
    source: str = Field(
        min_length=1, description="The model's file or folder beside this file, or package.module:Name."
    )
    sample: Path | None = Field(default=None, description="Rows to verify and warm up with.")
    labels: Path | None = Field(default=None, description="Class names, one a line, in output order.")
    weights: Path | None = Field(default=None, description="What package.module:factory is filled with.")
    weights_inside: bool = Field(default=False, description="The factory fills the module itself.")
    framework: str | None = Field(default=None, description="Default: recognised from the source.")
    backend: str | None = Field(default=None, description="Default: what the framework converts to best.")
    method: str | None = Field(default=None, description="scikit-learn: predict, predict_proba, transform …")
    signature: str | None = Field(default=None, description="SavedModel: which one.")
    task: str | None = Field(default=None, description="Hugging Face folder: text-classification …")
    trust_types: tuple[str, ...] = Field(default=(), description="package.Class that a pickle may bring along.")
    trust_source: bool = Field(default=False, description="Load a source that is code: TorchScript, .pt2, SavedModel.")
    max_batch_size: int | None = Field(default=None, ge=0, le=2**31 - 1, description="0 switches batching off.")
    instances: int = Field(default=1, ge=1, le=1024, description="Copies of the model that run at once.")
    cores: int | None = Field(default=None, ge=1, description="Cores of the serving machine.")
    release: Release | None = Field(default=None, description="The Triton release that it must load on.")
    precision: Precision | None = Field(default=None, description="Store the weights smaller.")
    optimize: bool = Field(default=False, description="Save the graph as ONNX Runtime optimises it.")
    tolerance: float | None = TOLERANCE
    unverified: bool = Field(default=False, description="Publish unproven where only a GPU server has the backend.")
    variants: bool = Field(default=False, description="Write configs/cpu.pbtxt and configs/gpu.pbtxt as well.")
    config: FieldValues = Field(
        default_factory=dict, description="Fields of config.pbtxt by path, set over what is derived."
    )


class PipelineDeclaration(_Declaration):
    """One pipeline file; its name is in that file."""

    file: Path = Field(description="The pipeline file, or file.py:name.")
    sample: Path = Field(description="Rows to verify with: a data file, an image or a folder of them.")
    reference: str | None = Field(
        default=None, min_length=1, description="The training code's own: package.module:function or file.py:function."
    )
    tolerate: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="Allowed difference to the reference on single wires, by their name."
    )
    release: Release | None = Field(default=None, description="The Triton release that it must load on.")
    tolerance: float | None = TOLERANCE


class RouteTarget(_Declaration):
    """One model that a route leads to."""

    model: ModelName
    version: int | None = Field(default=None, ge=1, description="Default: the newest.")
    weight: int = Field(default=1, ge=0, description="Its share of the requests, as against the other targets'.")


class RouteDeclaration(_Declaration):
    """How the gateway splits the requests for one name."""

    name: ModelName
    to: tuple[RouteTarget, ...] = Field(min_length=1)


class ValidateDeclaration(_Declaration):
    """What ``repo-tool validate`` looks for where its command line does not say."""

    select: Words = Field(default=(), description="Only these rules or families.")
    ignore: Words = Field(default=(), description="Not these rules or families.")
    release: Words = Field(default=(), description="The releases that must load it, in quotes.")
    strict: bool = Field(default=False, description="Warnings count as findings too.")
    model_ignores: dict[str, Words] = Field(
        default_factory=dict,
        alias="per-model-ignores",
        description="Rules or families that do not count for models of a name or pattern.",
        examples=[{"legacy_*": ["CFG"]}],
    )


class RepositoryFile(_Declaration):
    """A whole ``repo-tool.yaml``."""

    version: Literal[1] = Field(default=1, alias="schema", description="The version of this form.")
    options: FileOptions = Field(default_factory=FileOptions)
    models: Annotated[tuple[ModelDeclaration, ...], pydantic.BeforeValidator(_nothing)] = ()
    pipelines: Annotated[tuple[PipelineDeclaration, ...], pydantic.BeforeValidator(_nothing)] = ()
    routes: Annotated[tuple[RouteDeclaration, ...], pydantic.BeforeValidator(_nothing)] = Field(
        default=(), description="How the gateway splits requests; nothing else reads them."
    )
    validation: ValidateDeclaration | None = Field(default=None, alias="validate")


_LEVELS: dict[tuple[str, ...], type[_Declaration]] = {
    (): RepositoryFile,
    ("options",): FileOptions,
    ("models",): ModelDeclaration,
    ("pipelines",): PipelineDeclaration,
    ("routes",): RouteDeclaration,
    ("routes", "to"): RouteTarget,
    ("validate",): ValidateDeclaration,
}


def file_schema() -> dict[str, Any]:
    """The JSON schema of the file, from which editors complete it."""
    schema = _without_noise(RepositoryFile.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "repo-tool.yaml", **schema}


def _without_noise(value: Any) -> Any:
    """Without titles that repeat the keys and without null, which nobody writes where a key may be left out."""
    if isinstance(value, list):
        return [_without_noise(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    kept = {key: entry for key, entry in value.items() if not (key == "title" and isinstance(entry, str))}
    kept = {key: entry for key, entry in kept.items() if not (key == "default" and entry is None)}
    choices = [entry for entry in kept.get("anyOf", ()) if entry != {"type": "null"}]
    if len(choices) == 1:
        kept = {key: entry for key, entry in kept.items() if key != "anyOf"} | choices[0]
    return {key: _without_noise(entry) for key, entry in kept.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """A ``repo-tool.yaml`` and where its parts are written."""

    written: Written
    declared: RepositoryFile

    @property
    def folder(self) -> Path:
        """What the paths in it are relative to."""
        return self.written.path.absolute().parent

    @property
    def repository(self) -> Path:
        """The repository that it describes, relative where the file's own path is."""
        return self.written.path.parent / self.declared.options.repository

    def complaint(self, location: tuple[str | int, ...], said: str, *, of_key: bool = False) -> "Complaint":
        """What is wrong with the value at ``location``."""
        line, column = self.written.place(location, of_key=of_key)
        return Complaint(line=line, column=column, words=f"{_words(location)}: {said}")

    def unfit(self, complaints: Sequence["Complaint"]) -> SpecificationError:
        """The error that tells them all."""
        return _unfit(self.written.path, complaints)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Complaint:
    """One thing that is wrong with the file."""

    line: int
    column: int
    words: str


def read_repository_file(path: Path) -> WrittenFile:
    """Read it; paths in it stay as they are written.

    Raises:
        SpecificationError: missing, not YAML, or not of the form above; each problem with its line and column.
    """
    written = read_yaml(path)
    if written.value is None:  # cut off perhaps; taken at its word it would have every model removed
        raise SpecificationError(
            f"'{path}' says nothing",
            cause="it is empty, and a repository without models is said so",
            next_step="write `models: []` for a repository without models",
        )
    try:
        declared = RepositoryFile.model_validate(written.value)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise _unfit(path, [_complaint(written, dict(problem)) for problem in found]) from error
    file = WrittenFile(written=written, declared=declared)
    if repeated := _repeated_names(file):
        raise file.unfit(repeated)
    return file


def _unfit(path: Path, complaints: Sequence[Complaint]) -> SpecificationError:
    told = sorted(set(complaints))
    lines = [f"{path}:{found.line}:{found.column}: {found.words}" for found in told[:_MOST_COMPLAINTS]]
    if len(told) > _MOST_COMPLAINTS:
        lines.append(f"and {len(told) - _MOST_COMPLAINTS} more")
    return SpecificationError(
        f"'{path}' does not describe a repository",
        cause="\n       ".join(lines),
        next_step="compare it with docs/repository-as-code.md, or let your editor check it: repo-tool plan --schema",
    )


def _complaint(written: Written, found: dict[str, Any]) -> Complaint:
    location = tuple(found["loc"])
    is_unknown = found["type"] == "extra_forbidden"
    said = _unknown_key(location) if is_unknown else _said(found["msg"])
    line, column = written.place(location, of_key=is_unknown)
    return Complaint(line=line, column=column, words=f"{_words(location)}: {said[:1].lower()}{said[1:]}")


def _said(message: str) -> str:
    """Pydantic's words, in those of a YAML file."""
    words = message.removeprefix("Value error, ")
    words = re.sub(r"valid dictionary( or instance of \w+)?", "mapping", words)
    return re.sub(r"(valid )?tuple", "list", words, flags=re.IGNORECASE).replace(" after validation", "")


def _unknown_key(location: tuple[str | int, ...]) -> str:
    level = _LEVELS.get(tuple(part for part in location[:-1] if isinstance(part, str)))
    known = [field.alias or name for name, field in level.model_fields.items()] if level else []
    return "there is no such key; " + (did_you_mean(str(location[-1]), known) or f"there are {', '.join(known)}")


def _words(location: tuple[str | int, ...]) -> str:
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return words.removeprefix(".") or "the file"


def _repeated_names(file: WrittenFile) -> list[Complaint]:
    first: dict[str, int] = {}
    complaints = []
    for index, model in enumerate(file.declared.models):
        if model.name in first:
            said = f"models[{first[model.name]}] is called '{model.name}' too"
            complaints.append(file.complaint(("models", index, "name"), said))
        first.setdefault(model.name, index)
    return complaints
