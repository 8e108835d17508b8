# SPDX-License-Identifier: Apache-2.0
"""Described models to one TypeScript file."""

__all__ = ["render_typescript"]

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from repo_tool.client_code.description import ModelDescription
from repo_tool.client_code.typescript.literals import comment_text, key_text, quoted
from repo_tool.client_code.typescript.runtime_text import runtime_text
from repo_tool.client_code.typescript.views import view_models

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).with_name("templates")


def render_typescript(models: Sequence[ModelDescription]) -> str:
    """The file, the same for the same models in whatever order."""
    return _template().render(models=view_models(models), runtime=runtime_text())


@cache
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # TypeScript, not HTML; strings are quoted by the filters below
    )
    environment.filters |= {"quoted": quoted, "comment": comment_text, "listed": _listed, "key": key_text}
    return environment.get_template("clients.ts.j2")


def _listed(values: Sequence[object]) -> str:
    texts = (quoted(value) if isinstance(value, str) else str(value) for value in values)
    return f"[{', '.join(texts)}]"
