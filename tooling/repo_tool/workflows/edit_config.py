# SPDX-License-Identifier: Apache-2.0
"""Read and change a model's ``config.pbtxt``, with the rules between the change and the file."""

__all__ = [
    "ConfigChange",
    "FileChange",
    "KeptField",
    "as_plain_values",
    "change_config",
    "field_value",
    "read_config_text",
    "split_assignment",
    "unified_diff",
]

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.carry import carry
from repo_tool.config.edit import parse_message, remove_field, set_field
from repo_tool.config.field_paths import read_path
from repo_tool.config.places import is_map, locate
from repo_tool.config.variants import VARIANTS
from repo_tool.errors import ConfigError, RepositoryError, UserMistakeError
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.publish import rewrite
from repo_tool.repository.stamps import stamped_anew
from repo_tool.rules import Diagnostic, Severity
from repo_tool.rules.fixes import Drafts
from repo_tool.workflows.new_findings import new_findings

_ASSIGNMENT = re.compile(r"(?P<path>(?:\[[^\]]*\]|[^=\[])+)=(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file of the repository before and after."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptField:
    """A field that changed in ``config.pbtxt``, and of which a variant has a value of its own."""

    path: str  # of the variant's file in the repository
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """A configuration before and after, its variants too, and what the rules have to say that they had not before."""

    files: tuple[FileChange, ...]  # the one that was asked for, then those that the change was carried into
    kept: tuple[KeptField, ...]
    new: tuple[Diagnostic, ...]

    @property
    def path(self) -> str:
        """The file that was asked for."""
        return self.files[0].path

    @property
    def diff(self) -> str:
        """The change as a unified diff, ready for ``patch`` in the repository."""
        return "".join(unified_diff(file.path, file.before, file.after) for file in self.files)


def unified_diff(path: str, before: str, after: str) -> str:
    """The difference between two texts of the file at ``path``; empty where there is none."""
    lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(text: str) -> list[str]:
    """As ``patch`` counts them: only a line feed ends one."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]


def split_assignment(words: str) -> tuple[str, str]:
    """``path=value`` as path and value; a key in brackets may hold an equals sign.

    Raises:
        UserMistakeError: there is no equals sign.
    """
    found = _ASSIGNMENT.fullmatch(words)
    if found is None:
        raise UserMistakeError(
            f"'{words}' sets nothing",
            cause="it has no equals sign behind the field",
            next_step="write e.g. --set dynamic_batching.max_queue_delay_microseconds=500",
        )
    return found["path"].strip(), found["value"]


def read_config_text(model: ModelDirectory, *, variant: str = "") -> str:
    """The text of ``config.pbtxt``, or of a variant in ``configs/``, as it is written, line ends too.

    Raises:
        RepositoryError: there is none, or it cannot be read.
        ConfigError: it is no UTF-8.
    """
    path = _config_path(model, variant)
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is not UTF-8 text", cause=str(error), next_step="save it as UTF-8") from error
    except OSError as error:
        raise RepositoryError(
            f"model '{model.name}' has no {path.name} that can be read",
            cause=f"'{path}': {error.strerror or error}",
            next_step="add the model with repo-tool add-model, or write the configuration",
        ) from error


def _config_path(model: ModelDirectory, variant: str) -> Path:
    if not variant:
        return model.config_path
    if variant in model.variants():
        return model.variant_path(variant)
    there = ", ".join(model.variants())
    raise RepositoryError(
        f"model '{model.name}' has no variant '{variant}'",
        cause=f"configs/ has {there}" if there else "it has no folder configs/ with further configurations",
        next_step="take one of them" if there else f"leave out --variant {variant}",
    )


def field_value(text: str, path: str) -> str:
    """What is written for the field at ``path``; of a repeated one that is written apart, all values.

    Raises:
        ConfigError: the text does not parse, there is no such field, or nothing of it is written.
    """
    steps = read_path(path)
    pbtxt.parse(text)
    places = locate(text)
    wanted = "".join(_canonical(steps))
    found = places.by_path.get(wanted)
    if found is None:
        descriptor = steps[-1].value_descriptor
        is_plain = not (descriptor.message_type or descriptor.is_repeated)
        default = f"; without it Triton reads {_default(descriptor)}" if is_plain else ""
        raise ConfigError(f"'{path}' is not written{default}", next_step=f"set it: --set '{path}=…'")
    apart = [place for place in places.fields if place.path == wanted and place.name is not None]
    if steps[-1].is_whole and steps[-1].descriptor.is_repeated and len(apart) > 1:
        return "\n".join(text[place.value.start : place.value.end] for place in apart)
    return text[found.value.start : found.value.end]


def as_plain_values(text: str, path: str | None) -> Any:
    """The configuration, or the field at ``path``, as JSON has it, with the proto's names and nothing unwritten.

    Raises:
        ConfigError: as ``field_value``.
    """
    steps = read_path(path) if path is not None else ()
    if path is not None:
        field_value(text, path)
    held: Any = parse_message(text)
    if not steps:
        return _plain(held)
    for step in steps:
        held = step.held_in(held)
    last = steps[-1]
    return _plain_field(last.descriptor, held) if last.is_whole else _plain_value(last.value_descriptor, held)


def _plain(message: Any) -> dict[str, Any]:
    """A message as plain values: numbers as numbers, enumerations by name, maps with their keys as text."""
    return {field.name: _plain_field(field, held) for field, held in message.ListFields()}


def _plain_field(field: Any, held: Any) -> Any:
    if is_map(field):
        of_value = field.message_type.fields_by_name["value"]
        return {str(key): _plain_value(of_value, held[key]) for key in sorted(held)}
    return [_plain_value(field, each) for each in held] if field.is_repeated else _plain_value(field, held)


def _plain_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    return field.enum_type.values_by_number[value].name if field.enum_type is not None else value


def _canonical(steps: Sequence[Any]) -> Iterator[str]:
    for index, step in enumerate(steps):
        yield "." if index else ""
        yield step.name
        yield f"[{step.index}]" if step.index is not None else f"[{step.key}]" if step.key is not None else ""


def _default(descriptor: Any) -> str:
    if descriptor.enum_type is not None:
        return str(descriptor.enum_type.values_by_number[descriptor.default_value].name)
    if isinstance(descriptor.default_value, bool):
        return str(descriptor.default_value).lower()
    return str(descriptor.default_value) or '""'


def change_config(
    repository: ModelRepository,
    name: str,
    *,
    assignments: Sequence[tuple[str, str]],
    removals: Sequence[str] = (),
    variant: str = "",
    dry_run: bool = False,
) -> ConfigChange:
    """Set fields of a model's configuration, remove others, and write it when no rule finds an error that is new.

    Where ``configs/cpu.pbtxt`` or ``configs/gpu.pbtxt`` says the same about a field, it changes there as well, and all
    files are written or none; a ``variant`` changes alone. The settings of the project, where there are any, say for
    which releases and by which rules.

    Raises:
        RepositoryError: there is no such model, or it cannot be written.
        ConfigError: a field or a value does not exist, or the change brings an error; nothing is written.
    """
    model = repository.existing_model(name)
    before = read_config_text(model, variant=variant)
    after = before
    for path, value in assignments:
        after = set_field(after, path, value)
    for path in removals:
        after = remove_field(after, path)
    carried = [] if variant or after == before else list(_in_variants(model, before, after))
    asked = FileChange(path=_path_in_repository(model, variant), before=before, after=after)
    files = [
        replace(file, after=stamped_anew(file.before, file.after, model))
        for file in (asked, *(file for file, _ in carried))
    ]
    changed = {file.path: (file.before, file.after) for file in files if file.after != file.before}
    new = new_findings(repository, name, Drafts(texts={path: after for path, (_, after) in changed.items()}))
    errors = [each for each in new if each.severity is Severity.ERROR]
    if errors:
        raise _refusal(name, errors)
    if changed and not dry_run:
        rewrite(repository, changed)
    return ConfigChange(files=tuple(files), kept=tuple(field for _, kept in carried for field in kept), new=tuple(new))


def _in_variants(model: ModelDirectory, before: str, after: str) -> Iterator[tuple[FileChange, list[KeptField]]]:
    """The change in each variant of ours that there is; further ones are a person's."""
    for name in VARIANTS:
        if name in model.variants():
            yield _carried(model, name, before, after)


def _carried(model: ModelDirectory, variant: str, before: str, after: str) -> tuple[FileChange, list[KeptField]]:
    path, text = _path_in_repository(model, variant), read_config_text(model, variant=variant)
    try:
        carried = carry(text, before, after)
    except ConfigError as error:
        raise ConfigError(
            f"the change cannot be carried into '{path}', so that nothing has been written",
            cause=": ".join(filter(None, (error.fact, error.cause))),
            next_step="mend that file first, or write it anew: repo-tool add-model --variants",
        ) from error
    kept = [KeptField(path=path, field=field) for field in carried.kept]
    return FileChange(path=path, before=text, after=carried.text), kept


def _path_in_repository(model: ModelDirectory, variant: str) -> str:
    return f"{model.name}/{_config_path(model, variant).relative_to(model.path).as_posix()}"


def _refusal(name: str, errors: Sequence[Diagnostic]) -> ConfigError:
    told = "; ".join(f"{each.code}: {_where(each)}: {each.message} ({each.cause})" for each in errors)
    return ConfigError(
        f"'{name}' would not load with this change, so that nothing has been written",
        cause=told,
        next_step=errors[0].fix,
    )


def _where(diagnostic: Diagnostic) -> str:
    is_variants = diagnostic.path.startswith(f"{diagnostic.model}/configs/")
    return diagnostic.path if is_variants else diagnostic.model
