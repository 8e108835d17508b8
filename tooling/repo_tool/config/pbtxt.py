# SPDX-License-Identifier: Apache-2.0
"""``config.pbtxt`` and the frozen values: read and written with Triton's own messages."""

__all__ = ["parse", "render"]

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repo_tool.config.fields import proto_fields
from repo_tool.config.messages import from_message, to_message
from repo_tool.config.model import ModelConfig
from repo_tool.config.proto import model_config_file, new_model_config
from repo_tool.config.prototext import as_python_reads
from repo_tool.errors import ConfigError, UnknownValueError
from repo_tool.near_names import did_you_mean

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


def parse(text: str) -> ModelConfig:
    """Read a ``config.pbtxt`` into the message that Triton itself uses, as its parser reads it.

    Raises:
        ConfigError: the text does not parse, or names a field that the message lacks; ``cause`` says line and column.
        UnknownValueError: an enumeration holds a number that it does not name, which Triton takes.
    """
    from google.protobuf import text_format

    try:
        message = text_format.Parse(as_python_reads(text), new_model_config())
    except (text_format.ParseError, ValueError, RecursionError) as error:  # messages nested without end
        raise ConfigError(
            "the model configuration does not parse",
            cause=str(error),
            next_step=_way_out(str(error)),
        ) from error
    try:
        config: ModelConfig = from_message(message)
    except ValueError as error:
        raise UnknownValueError(
            "the model configuration holds a number that names nothing",
            cause=str(error),
            next_step="write one of the names of model_config.proto",
        ) from error
    return config


def _way_out(cause: str) -> str:
    """What to do about what the parser says."""
    if "is specified along with field" in cause:
        return "keep one of the two: they exclude each other"
    unknown = re.search(r'Message type "([^"]+)" has no field named "([^"]+)"', cause)
    if unknown is None:
        return "compare the line with model_config.proto; one fault fails the whole file"
    known = _field_names(unknown[1])
    return did_you_mean(unknown[2], known) or f"{unknown[1]} has {', '.join(known)}"


def _field_names(message: str) -> list[str]:
    return [field.name for field in model_config_file().pool.FindMessageTypeByName(message).fields]


def render(
    config: ModelConfig, *, verified: bool = False, reasons: Mapping[str, str] | None = None, variant: str = ""
) -> str:
    """The ``config.pbtxt`` of ``config``, commented for the person who reads it, proven to parse back to ``config``.

    Only where the caller says ``verified`` its comments claim that a server has answered with it. ``reasons`` say of
    fields why they are so; ``variant`` is the name of the file in ``configs/`` that it is to be, if any.

    Raises:
        ConfigError: what was rendered means something else; a bug of ours, and nothing has been written yet.
    """
    said = {"verified": verified, "reasons": reasons or {}, "variant": variant}
    text = _rendered(config, beyond=(), **said)
    if beyond := _fields_that_differ(parse(text), config):
        text = _rendered(config, beyond=beyond, **said)
    if parse(text) != config:
        raise ConfigError(
            f"the configuration of '{config.name}' does not survive being written",
            cause="what was rendered parses to other values",
            next_step="please report this with the command you typed",
        )
    return text


def _rendered(config: ModelConfig, *, beyond: Collection[str], **said: Any) -> str:
    """The template's text, with the fields ``beyond`` it as protobuf itself writes them."""
    from google.protobuf import text_format

    others = _message(config)
    for name in {field.name for field, _ in others.ListFields()} - set(beyond):
        others.ClearField(name)
    known = _message(config)
    for name in beyond:
        known.ClearField(name)
    text = _template().render(config=from_message(known), beyond=beyond, **said)
    return text + text_format.MessageToString(others, as_utf8=True)


def _fields_that_differ(one: ModelConfig, other: ModelConfig) -> tuple[str, ...]:
    """The top-level fields of the message in which two configurations differ."""
    fields = proto_fields(ModelConfig)
    return tuple(field.name for field in fields if getattr(one, field.attribute) != getattr(other, field.attribute))


def _message(config: ModelConfig) -> Any:

    return to_message(config, new_model_config())


@cache
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # protobuf text, not HTML; strings are quoted by the filter below
    )
    environment.filters |= {"quoted": _quoted, "listed": _listed, "sentence": _sentence}
    return environment.get_template("config.pbtxt.j2")


def _quoted(text: str) -> str:
    from google.protobuf import text_encoding

    return f'"{text_encoding.CEscape(text.encode(), as_utf8=True)}"'


def _listed(numbers: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, numbers))} ]" if numbers else "[ ]"


def _sentence(words: str) -> str:
    """The words as a comment of one line; a tensor's name may hold anything."""
    line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in words)
    return f"{line[:1].upper()}{line[1:]}."
