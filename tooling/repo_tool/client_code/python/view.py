# SPDX-License-Identifier: Apache-2.0
"""One model as the template of Python clients asks for it: pieces of source, laid out."""

__all__ = ["TWINS", "ModelView", "Twin", "views_of"]

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from repo_tool.client_code.description import ModelDescription, TensorDescription
from repo_tool.client_code.python.documentation import about_model, describe, docstring, example
from repo_tool.client_code.python.layout import Item, bracketed, string_literal, tuple_source
from repo_tool.client_code.python.members import Member, Names, Side, label_types, members_of, names_of
from repo_tool.printable import printable

_OPTIONS = "options: Unpack[PredictOptions]"
_OF_OPTIONS = (
    "options: of this call: timeout_s, request_id, cast, priority, parameters,\n"
    "    headers; see ``repo_client.Model.infer``."
)
_RAISES = (
    "Raises:\n"
    "    InputError: a value does not fit; nothing was sent.\n"
    "    SignatureChangedError: the served model is another one by now.\n"
    "    RepoClientError: the model, the server, the network or the deadline."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """What the blocking and the async classes of a model differ in."""

    prefix: str = ""
    define: str = ""
    wait: str = ""
    source: str = "Iterable"

    @property
    def streaming(self) -> "Twin":
        """For methods that give a generator: those are not awaited."""
        return replace(self, define="", wait="")

    def generator(self, result: str) -> str:
        """The type of a generator of results."""
        name, more = ("AsyncGenerator", ["None"]) if self.prefix else ("Generator", ["None", "None"])
        return bracketed(f"{name}[", [result, *more], "]", indent=4, after=len(") -> :"))

    def listed(self, results: str) -> str:
        """The list of all results of a generator."""
        return f"[result async for result in {results}]" if self.prefix else f"list({results})"


TWINS = (Twin(), Twin(prefix="Async", define="async ", wait="await ", source="AsyncSource"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """One model and its names."""

    model: ModelDescription
    names: Names
    inputs: tuple[Member, ...]
    outputs: tuple[Member, ...]

    @property
    def title(self) -> str:
        """The model's name on one line."""
        return printable(self.model.name)

    @property
    def is_sequence(self) -> bool:
        """Whether requests go through sequences; streams of them are called one by one."""
        return self.model.is_sequence and not self.model.is_decoupled

    @property
    def has_rows(self) -> bool:
        """Whether many rows can be sent at once."""
        return not (self.model.is_sequence or self.model.is_decoupled)

    @property
    def contract_name(self) -> str:
        """The constant that holds the signature."""
        return f"_{self.names.constant}"

    @property
    def result(self) -> str:
        """The class of one answer."""
        return f"{self.names}Result"

    @property
    def batch(self) -> str:
        """The class of the answer to many rows."""
        return f"{self.names}Batch"

    @property
    def row(self) -> str:
        """The type of one row as a dict."""
        return f"{self.names}Row"

    # --- sources

    def words_name(self, label_type: str) -> str:
        """The constant with all values of a type of labels."""
        return f"{self.names.constant}_LABELS{label_type.removeprefix(f'{self.names}Label')}"

    def label_sources(self) -> list[str]:
        """The types of its labels, and all of their values."""
        found: list[str] = []
        for words, name in label_types(self.model, self.names).items():
            literals = [string_literal(word) for word in words]
            found.append(bracketed(f"{name} = Literal[", list(dict.fromkeys(literals)), "]"))
            declared = partial(bracketed, f"{self.words_name(name)}: tuple[", [name, "..."])
            twice = len(set(words)) < len(words)
            found.append(
                tuple_source(declared("] = "), literals) if twice else declared(f"] = get_args({name})", after=0)
            )
        return found

    def contract_source(self) -> str:
        """The signature that the served one is held against."""
        model = self.model
        flags = {"decoupled": model.is_decoupled, "sequence": model.is_sequence}
        items: list[Item] = [
            f"model={string_literal(model.name)}",
            f'digest="{model.digest}"',
            f"batches={model.batches}",
            _tensors("inputs=", [_arguments(each, "") for each in self.inputs]),
            _tensors("outputs=", [_arguments(each, self._words(each)) for each in self.outputs]),
            *(f"{name}=True" for name, is_set in flags.items() if is_set),
        ]
        return bracketed(f"{self.contract_name} = Contract(", items, ")", always=True)

    def _words(self, member: Member) -> str:
        return self.words_name(member.labels) if member.tensor.words else ""

    def fields(self, side: Side) -> list[str]:
        """The fields of a result."""
        return [member.field(side, 4) for member in self.outputs]

    def has_arrays(self, side: Side) -> bool:
        """Whether a result holds what ``==`` cannot compare."""
        return any(each.is_array or (side is Side.MANY and not _is_bytes(each.tensor)) for each in self.outputs)

    def opening(self, twin: Twin, ending: str = "") -> str:
        """The line that a class of calls begins with."""
        base = f"{twin.prefix}Typed{ending or 'Model'}"
        return bracketed(f"class {twin.prefix}{self.names}{ending}(", [base], "):", after=0)

    def begin(self, twin: Twin) -> str:
        """The line that makes a sequence."""
        items = ["self", "sequence_id"]
        return bracketed(f"return {twin.prefix}{self.names}Sequence(", items, ")", indent=8, after=0)

    def best_opening(self, member: Member, side: Side) -> str:
        """The line that the property of the most probable class, or of that of each row, begins with."""
        name, kind = member.labels_name, member.labels
        if side is Side.MANY:
            name, kind = f"{name}s", f"tuple[{kind}, ...]"
        return bracketed(f"def {name}(", ["self"], f") -> {kind}:", indent=4, after=0)

    def best(self, member: Member, side: Side) -> str:
        """The line that finds the most probable class, or that of each row."""
        field = f"self.{member.name}"
        if side is Side.ONE:
            return bracketed("best = np.argmax(", [field], ")", indent=8, after=0)
        return bracketed("best: list[int] = np.argmax(", [field, "axis=1"], ").tolist()", indent=8, after=0)

    def length(self) -> str:
        """The line that counts the rows."""
        return bracketed("return len(", [f"self.{self.outputs[0].name}"], ")", indent=8, after=0)

    def parameters(self, side: Side, *, sequence: bool = False) -> list[str]:
        """The parameters of a call, behind ``self``."""
        found = ["*"] if self.inputs else []
        needed = [member for member in self.inputs if not member.tensor.optional]
        optional = [member for member in self.inputs if member.tensor.optional]
        found += [member.parameter(side, 8) for member in needed]
        found += [member.parameter(side, 8, "None") for member in optional]
        return [*found, *(["last: bool = False"] if sequence else []), f"**{_OPTIONS}"]

    def call(self, head: str, result: str, *, sequence: bool = False) -> str:
        """The line that hands a call on to the runtime."""
        pairs = [f"{string_literal(member.name)}: {member.name}" for member in self.inputs]
        items: list[Item] = [result, lambda indent: bracketed("{", pairs, "}", indent=indent), "options"]
        return bracketed(head, [*items, "last=last"] if sequence else items, ")", indent=8, after=0)

    def row_source(self) -> str:
        """The type of one row of ``predict_many``."""
        needed = [member.parameter(Side.ONE, 4) for member in self.inputs if not member.tensor.optional]
        optional = [member.parameter(Side.ONE, 4) for member in self.inputs if member.tensor.optional]
        text = f'    """One row for ``{self.names}.predict_many``."""\n\n'
        if not optional:
            return _typed_dict(self.row, "TypedDict", text, needed)
        if not needed:
            return _typed_dict(self.row, "TypedDict, total=False", text, optional)
        base = _typed_dict(f"_{self.row}", "TypedDict", "", needed)
        return f"{base}\n\n\n{_typed_dict(self.row, f'_{self.row}, total=False', text, optional)}"

    # --- documentation

    def class_doc(self) -> str:
        """What the model is, takes and gives, with an example."""
        side = Side.ONE
        takes = _indented(describe(member, side, indent=8) for member in self.inputs)
        gives = _indented(describe(member, side, indent=8) for member in self.outputs)
        rows = " for each row" if self.model.batches else ""
        parts = [about_model(self.model, indent=4), f"Takes{rows}:\n{takes}", f"Gives{rows}:\n{gives}"]
        shown = example(self.model, str(self.names), self.inputs, self.outputs)
        if shown:
            parts.append("Example:\n" + textwrap.indent(shown, "    "))
        return docstring("\n\n".join(parts), indent=4)

    def twin_doc(self) -> str:
        """The async class in a line."""
        return docstring(f"``{self.names}`` for asyncio: the same calls, awaited.", indent=4)

    def result_doc(self, side: Side) -> str:
        """A result in a line."""
        what = "many rows, each field by row" if side is Side.MANY else "one request"
        if side is Side.ONE and self.model.batches:
            what = "one row"
        return docstring(f"What ``{self.names}`` answers to {what}.", indent=4)

    def predict_doc(self, first: str = "") -> str:
        """Of a call with one row."""
        head = "Run the model on one row." if self.model.batches else "Run the model once."
        return self._method_doc(first or head, Side.ONE)

    def sequence_doc(self) -> str:
        """Of a call in a sequence."""
        last = "last: whether the sequence ends with it; otherwise it ends with the block."
        return self._method_doc("Run the model on the next request of the sequence.", Side.ONE, last)

    def batch_doc(self) -> str:
        """Of a call with many rows."""
        most = self.model.max_batch_size
        return self._method_doc(f"Run the model on any number of rows, in requests of up to {most}.", Side.MANY)

    def many_doc(self) -> str:
        """Of a call with rows without end."""
        return docstring(
            "Results of ``rows``, of which there may be no end, in their order.\n\n"
            "At most ``max_in_flight`` requests are under way at once; ``rows`` are read\n"
            "only as results are taken. ``progress`` shows a bar (with the package tqdm).",
            indent=8,
        )

    def _method_doc(self, first: str, side: Side, *more: str) -> str:
        lines = [describe(member, side, indent=12) for member in self.inputs]
        arguments = _indented([*lines, *more, _OF_OPTIONS])
        return docstring(f"{first}\n\nArgs:\n{arguments}\n\n{_RAISES}", indent=8)


def _tensors(head: str, tensors: Sequence[Sequence[Item]]) -> Item:
    def laid_out(indent: int) -> str:
        source = tuple_source(head, [_tensor(items) for items in tensors], indent=indent)
        if len(tensors) > 1 or "\n" not in source:
            return source
        # A formatter joins a tuple of one again, unless what is in it is broken.
        return bracketed(f"{head}(", [_tensor(tensors[0], always=True)], ")", indent=indent, always=True)

    return laid_out


def _tensor(items: Sequence[Item], *, always: bool = False) -> Item:
    return lambda indent: bracketed("Tensor(", items, ")", indent=indent, always=always)


def _arguments(member: Member, words: str) -> list[Item]:
    tensor = member.tensor
    shape = f"({', '.join(map(str, tensor.shape))}{',' if len(tensor.shape) == 1 else ''})"
    extras: list[Item] = [f"field={string_literal(member.name)}"] if member.name != tensor.name else []
    extras += ["optional=True"] if tensor.optional else []
    extras += ["is_text=True"] if tensor.is_text else []
    extras += [f"words={words}"] if words else []
    if tensor.columns:
        columns = [string_literal(column) for column in tensor.columns]
        extras.append(lambda indent: tuple_source("columns=", columns, indent=indent))
    return [string_literal(tensor.name), string_literal(tensor.datatype.wire_name), shape, *extras]


def _indented(paragraphs: Iterable[str]) -> str:
    return textwrap.indent("\n".join(paragraphs), "    ")


def _is_bytes(tensor: TensorDescription) -> bool:
    return tensor.datatype.wire_name == "BYTES"


def _typed_dict(name: str, bases: str, text: str, fields: Sequence[str]) -> str:
    return f"class {name}({bases}):\n{text}" + "\n".join(f"    {field}" for field in fields)


def views_of(models: Sequence[ModelDescription]) -> list[ModelView]:
    """The models by name, with their names in this file."""
    names = names_of(models)
    return [_view(model, names[model.name]) for model in sorted(models, key=lambda model: model.name)]


def _view(model: ModelDescription, names: Names) -> ModelView:
    inputs, outputs = members_of(model, names)
    return ModelView(model=model, names=names, inputs=inputs, outputs=outputs)
