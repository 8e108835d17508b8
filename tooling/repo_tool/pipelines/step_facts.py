# SPDX-License-Identifier: Apache-2.0
"""What people are told about a shipped step: its headline, its tensors, its parameters."""

__all__ = ["ParameterFacts", "StepFacts", "all_step_facts", "step_facts"]

import dataclasses
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from repo_tool.pipelines.catalogue import StepKind, step_kind, step_names

_REQUIRED = "needed"
_NOISE = re.compile(r"\b(?:typing|pathlib|collections\.abc)\.|<class '(\w+)'>")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterFacts:
    """One parameter; ``type`` and ``default`` in words."""

    name: str
    type: str
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """One step."""

    name: str
    headline: str
    about: str
    inputs: tuple[str, ...]
    parameters: tuple[ParameterFacts, ...]
    packages: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return dataclasses.asdict(self)


def all_step_facts() -> list[StepFacts]:
    """Of every shipped step, by name."""
    return [step_facts(name) for name in step_names()]


def step_facts(name: str) -> StepFacts:
    """Of one shipped step.

    Raises:
        PipelineError: there is none of that name.
    """
    kind = step_kind(name)
    return StepFacts(
        name=name,
        headline=headline(kind),
        about=_flowing(inspect.getdoc(kind.code) or ""),
        inputs=kind.inputs,
        parameters=tuple(_parameters(kind.code)),
        packages=kind.packages,
    )


def headline(kind: StepKind) -> str:
    """The first sentence about a step."""
    module = inspect.getmodule(kind.code)
    return _flowing(inspect.getdoc(module) or inspect.getdoc(kind.code) or "").partition("\n\n")[0]


def _flowing(text: str) -> str:
    """Paragraphs in one line each, names between single backticks, as Markdown has them."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")).replace("``", "`")


def _parameters(code: type[Any]) -> list[ParameterFacts]:
    hints = get_type_hints(code)
    return [
        ParameterFacts(name=field.name, type=_type(hints[field.name]), default=_default(field))
        for field in dataclasses.fields(code)
    ]


def _type(hint: Any) -> str:
    """As the annotation reads, in the words of pipeline files."""
    if hint is Path:
        return "{file: …}"
    text = hint.__name__ if isinstance(hint, type) and not hasattr(hint, "__args__") else str(hint)
    words = _NOISE.sub(lambda found: found[1] or "", text).replace("NoneType", "None")
    return re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace("'", "").replace(", ", " or "), words)


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default_factory is not dataclasses.MISSING:
        return str(field.default_factory())
    if field.default is dataclasses.MISSING:
        return _REQUIRED
    return "" if field.default is None else str(field.default)
