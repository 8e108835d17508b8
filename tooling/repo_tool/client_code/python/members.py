# SPDX-License-Identifier: Apache-2.0
"""A model's tensors as parameters and fields of Python: their names, types and words."""

__all__ = ["Member", "Names", "Side", "members_of", "names_of"]

import builtins
import keyword
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

from repo_tool.client_code.description import ModelDescription, TensorDescription
from repo_tool.client_code.naming import class_names, member_names, words_of
from repo_tool.client_code.python.layout import bracketed, string_literal
from repo_tool.datatypes import DataType

IMPORTED = (
    "Annotated", "AsyncClient", "AsyncGenerator", "AsyncSource", "AsyncTypedModel", "AsyncTypedSequence", "Client",
    "Contract", "Generator", "Iterable", "Literal", "NestedTexts", "PredictOptions", "Sequence", "Shape", "Tensor",
    "Texts", "TypedDict", "TypedModel", "TypedSequence", "Unpack",
)  # fmt: skip

# A field hides what its class body uses for the annotations of those behind it.
_IN_CLASS_BODIES = ("bool", "bytes", "float", "int", "property", "str", "tuple", "np", "npt")
# What the methods of generated classes call their own.
_OPTIONS = ("timeout_s", "request_id", "cast", "priority", "parameters", "headers", "options")
_OWN = ("self", "rows", "items", "max_in_flight", "progress", "last", "sequence_id")
_NO_FIELDS = frozenset({*keyword.kwlist, *_IN_CLASS_BODIES, *IMPORTED})
_NO_PARAMETERS = _NO_FIELDS.union(_OPTIONS, _OWN)
_LABELS = 9  # types of labels that each model has names for, and more where one has more


class Side(Enum):
    """How many rows a value holds: ``ONE`` (or the whole tensors of a model without batching) or ``MANY``."""

    ONE = 1
    MANY = 2


@dataclass(frozen=True, slots=True)
class Names:
    """The names of all that one model brings to a file."""

    model: str

    def __str__(self) -> str:
        return self.model

    @property
    def constant(self) -> str:
        """The stem of its constants."""
        return "_".join(words_of(self.model)).upper()

    def label(self, number: int) -> str:
        """The type of one of its lists of words, which count from 1."""
        return f"{self.model}Label{number if number > 1 else ''}"

    def family(self, labels: int = _LABELS) -> tuple[str, ...]:
        """All of them, with as many types of labels."""
        endings = ("", "Result", "Batch", "Row", "Rows", "Sequence")
        classes = (*(f"{self.model}{ending}" for ending in endings), *map(self.label, range(1, labels + 1)))
        return (*classes, *(f"Async{name}" for name in classes), self.constant)


def names_of(models: Sequence[ModelDescription]) -> dict[str, Names]:
    """The names of each model, none taken twice."""
    labels = max([_LABELS, *(len(_word_lists(model)) for model in models)])
    found = class_names(
        (model.name for model in models),
        lambda name: Names(name).family(labels),
        taken={*IMPORTED, *dir(builtins), *keyword.kwlist},
    )
    return {model: Names(name) for model, name in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One tensor as a parameter or field called ``name``."""

    tensor: TensorDescription
    name: str
    batches: bool
    labels: str = ""  # the type of its words or classes
    labels_name: str = ""  # the property that tells the most probable class

    @property
    def is_single(self) -> bool:
        """Whether a row of it is one value, which Python holds as such."""
        return self.batches and self.tensor.is_single

    @property
    def is_array(self) -> bool:
        """Whether a row of it is a numpy array."""
        return self.tensor.datatype is not DataType.BYTES and not self.is_single

    def sizes(self, side: Side) -> tuple[int | str, ...]:
        """Its shape in a call."""
        if not self.batches or side is Side.ONE:
            return () if self.is_single else self.tensor.shape
        return ("rows",) if self.is_single else ("rows", *self.tensor.shape)

    def parameter(self, side: Side, indent: int, default: str = "") -> str:
        """``name: type``, as something to pass."""
        sizes = self.sizes(side)
        kind = self._scalar("str | bytes") if not sizes else self._array("Texts" if len(sizes) == 1 else "NestedTexts")
        if self.tensor.optional:
            kind = f"{kind} | None"
        return self._declared(kind, sizes, indent, f" = {default}" if default else "")

    def field(self, side: Side, indent: int) -> str:
        """``name: type``, as something that is answered."""
        sizes = self.sizes(side)
        if self.tensor.datatype is DataType.BYTES:
            kind = "bytes" if not self.tensor.is_text else (self.labels or "str")
            return _tuples(f"{self.name}: ", kind, len(sizes), indent)
        return self._declared(self._array("") if sizes else self._scalar(""), sizes, indent, "")

    def _declared(self, kind: str, sizes: Sequence[int | str], indent: int, default: str) -> str:
        if not sizes:
            return f"{self.name}: {kind}{default}"
        return bracketed(f"{self.name}: Annotated[", [kind, _shape(sizes)], f"]{default}", indent=indent)

    def _scalar(self, text: str) -> str:
        datatype = self.tensor.datatype
        if datatype is DataType.BYTES:
            return text
        return "bool" if datatype is DataType.BOOL else "float" if datatype.is_float else "int"

    def _array(self, texts: str) -> str:
        datatype = self.tensor.datatype
        if datatype is DataType.BYTES:
            return texts
        return f"npt.NDArray[np.{'bool_' if datatype is DataType.BOOL else datatype.numpy.name}]"


def _tuples(head: str, kind: str, depth: int, indent: int) -> str:
    """Behind ``head``, a type of tuples in tuples."""
    if depth == 0:
        return head + kind
    inner = partial(_tuples, "", kind, depth - 1)
    return bracketed(f"{head}tuple[", [inner, "..."], "]", indent=indent, after=0)


def _shape(sizes: Sequence[int | str]) -> str:
    return f"Shape({', '.join(str(size) if isinstance(size, int) else string_literal(size) for size in sizes)})"


def members_of(model: ModelDescription, names: Names) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    """The inputs and the outputs of a model."""
    types = label_types(model, names)
    own = names.family(len(types))
    outputs = _members(model, model.outputs, _NO_FIELDS.union(own), types)
    return _members(model, model.inputs, _NO_PARAMETERS.union(own), {}), outputs


def _members(
    model: ModelDescription,
    tensors: Sequence[TensorDescription],
    taken: frozenset[str],
    types: dict[tuple[str, ...], str],
) -> tuple[Member, ...]:
    fields = member_names([tensor.name for tensor in tensors], taken=taken)
    labelled = {tensor.name: f"{fields[tensor.name]}_label" for tensor in tensors if tensor.classes}
    singulars = {field.removesuffix("s") for field in fields.values()}  # a batch has the property in the plural
    properties = member_names(labelled.values(), taken=taken.union(fields.values(), singulars))
    return tuple(
        Member(
            tensor=tensor,
            name=fields[tensor.name],
            batches=model.batches,
            labels=types.get(tensor.words or tensor.classes, ""),
            labels_name=properties[labelled[tensor.name]] if tensor.name in labelled else "",
        )
        for tensor in tensors
    )


def label_types(model: ModelDescription, names: Names) -> dict[tuple[str, ...], str]:
    """The type of each list of words that the model's outputs can say."""
    return {words: names.label(number) for number, words in enumerate(_word_lists(model), 1)}


def _word_lists(model: ModelDescription) -> tuple[tuple[str, ...], ...]:
    return tuple(dict.fromkeys(words for tensor in model.outputs if (words := tensor.words or tensor.classes)))
