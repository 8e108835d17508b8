# SPDX-License-Identifier: Apache-2.0
"""Exported programs (``.pt2``): whether one is data only.

What ``torch.export.save`` writes is JSON, raw tensors, and sample inputs that the safe unpickler reads. Loading it
is safe as long as the JSON says no more than a graph does. It can say more: PyTorch evaluates its size expressions with
sympy, runs its guards as Python, looks operators up by any name below ``torch``, imports modules named in its tree
descriptions, and falls back to the unsafe unpickler. Each of those is held here to what exported graphs need.
"""

__all__ = ["code_in_program"]

import ast
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from repo_tool.errors import needs_extra
from repo_tool.importers.foreign import refusing

_DAMAGED = "copy or save it again; the file may have been cut short"
_LARGEST_JSON = 512 * 2**20
_OPERATOR = re.compile(
    r"torch\.ops\.(?!aten\.(from_file|save|_print|__\w+))(aten|prims|prim|quantized_decomposed|torchvision|higher_order)"
    r"(\.[A-Za-z_]\w*){1,2}"
    r"|_operator\.(abs|add|and_|eq|floordiv|ge|getitem|gt|iadd|imul|inv|invert|isub|itruediv|le|lshift|lt|mod|mul|ne|neg"
    r"|not_|or_|pos|pow|rshift|sub|truediv|xor)"
    r"|math\.[a-z]\w*"
    r"|torch\._?sym_\w+"
)
_FUNCTIONS = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Pow",
        "Max",
        "Min",
        "Mod",
        "Abs",
        "And",
        "Or",
        "Not",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "Equality",
        "Unequality",
        "LessThan",
        "StrictLessThan",
        "GreaterThan",
        "StrictGreaterThan",
        "Piecewise",
        "ExprCondPair",
        "Tuple",
        "ceiling",
        "floor",
        "sqrt",
        "FloorDiv",
        "ModularIndexing",
        "Where",
        "PythonMod",
        "CleanDiv",
        "CeilDiv",
        "CeilToInt",
        "FloorToInt",
        "TruncToInt",
        "TruncToFloat",
        "RoundToInt",
        "RoundDecimal",
        "ToFloat",
        "LShift",
        "RShift",
        "PowByNatural",
        "FloatPow",
        "FloatTrueDiv",
        "IntTrueDiv",
        "Identity",
        "BooleanTrue",
        "BooleanFalse",
    ]
)
_POWERS = frozenset({"Pow", "LShift", "PowByNatural", "FloatPow"})
_LARGEST_POWER = 4096
_EXPRESSION_NODES = (
    ast.Expression, ast.Call, ast.Constant, ast.Name, ast.keyword, ast.Load, ast.BinOp, ast.UnaryOp, ast.Compare,
    ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
_GUARD_NODES = (*_EXPRESSION_NODES, ast.BoolOp, ast.boolop, ast.Attribute, ast.Subscript)
_GUARD_ATTRIBUTES = frozenset({"size", "dim", "shape", "stride", "storage_offset"})
_GUARD_NAMES = frozenset({"L", "len", "max", "min", "int", "abs"})


def code_in_program(path: Path) -> str:
    """Why the program is more than data, in words; "" when it is data only.

    Raises:
        SourceError: it is damaged.
    """
    fact = f"'{path.name}' does not load as an exported program"
    with refusing(fact, next_step=_DAMAGED), zipfile.ZipFile(path) as archive:
        found = (_code_in_member(archive, member) for member in archive.infolist())
        return next((code for code in found if code), "")


def _code_in_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    place = member.filename.partition("/")[2] or member.filename
    if place.startswith("data/aotinductor/"):
        return "it holds machine code of AOTInductor"
    name = place.rpartition("/")[2]
    if name.startswith(("custom_obj_", "opaque_obj_")):
        return f"it holds the pickled object '{name}'"
    if place.endswith(".json"):
        if member.file_size > _LARGEST_JSON:
            return f"its '{place}' is larger than any graph"
        return _code_in_json(json.loads(archive.read(member)))
    if zipfile.is_zipfile(io.BytesIO(archive.read(member))) or place.endswith((".pt", ".pkl")):
        return _code_in_pickle(archive.read(member), place)
    return ""


def _code_in_pickle(data: bytes, place: str) -> str:
    """The same call that PyTorch makes first; where it succeeds, the unsafe one is never made."""
    with needs_extra("torch"):
        import torch
    if not data:
        return ""
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever it raises, PyTorch would now unpickle without a check
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        return f"its '{place}' is a pickle" + (f" that brings {named[1]}" if named else " of more than tensors")
    return ""


# --- the graph -------------------------------------------------------------------------------------------------------


def _code_in_json(document: Any) -> str:
    for key, value in _entries(document):
        check = _CHECKS.get(key)
        code = check(value) if check and value is not None else ""
        if code:
            return code
    return ""


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield from found.items()
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _code_in_operator(name: Any) -> str:
    known = isinstance(name, str) and _OPERATOR.fullmatch(name)
    return "" if known else f"its graph calls {name!r}, which is no operator of PyTorch's"


def _code_in_expression(text: Any) -> str:
    tree = _parsed(text, _EXPRESSION_NODES)
    if tree is None:
        return f"it has a size that is a program: {text!r}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS):
            return f"it has a size that is a program: {text!r}"
        if isinstance(node, ast.Name) and "__" in node.id:
            return f"it has a size that is a program: {text!r}"
    if _largest_power(tree) > _LARGEST_POWER:
        return f"it has a size that takes forever to compute: {text!r}"
    return "" if _texts_are_names(tree) else f"it has a size that is a program: {text!r}"


def _largest_power(node: ast.AST) -> int:
    """What the exponents from a value to the whole multiply to; sympy computes numbers as soon as they are written."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _POWERS:
        parts: list[ast.AST] = [*node.args, *(keyword.value for keyword in node.keywords)]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift):
        parts = [node.left, node.right]
    else:
        return max((_largest_power(child) for child in ast.iter_child_nodes(node)), default=1)
    base, *exponents = parts or [node]
    if any(_largest_power(exponent) > 1 for exponent in exponents):
        return _LARGEST_POWER + 1
    constants = [found.value for part in exponents for found in ast.walk(part) if isinstance(found, ast.Constant)]
    largest = max([2, *(abs(value) for value in constants if isinstance(value, int))])
    return min(largest * (_largest_power(base) if parts else 1), _LARGEST_POWER + 1)


def _texts_are_names(tree: ast.AST) -> bool:
    """Whether text stands only where a symbol is named: sympy evaluates it elsewhere."""
    named = {
        id(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Symbol" and node.args
    }
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)]
    return all(id(node) in named for node in texts)


def _code_in_guards(guards: Any) -> str:
    for text in guards if isinstance(guards, list) else [guards]:
        tree = _parsed(text, _GUARD_NODES)
        if tree is None or not all(_is_guard(node) for node in ast.walk(tree)):
            return f"it checks its inputs with a program: {text!r}"
    return ""


def _is_guard(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in _GUARD_ATTRIBUTES
    return node.id in _GUARD_NAMES if isinstance(node, ast.Name) else True


def _parsed(text: Any, nodes: tuple[type[ast.AST], ...]) -> ast.AST | None:
    """The expression, when it is made of ``nodes`` alone."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return tree if all(isinstance(node, nodes) for node in ast.walk(tree)) else None


def _code_in_tree(text: Any) -> str:
    if not isinstance(text, str) or "__enum__" in text or "defaultdict" in text:
        return "its description of inputs or outputs imports a module"
    return ""


def _code_in_object(value: Any) -> str:
    return "it holds an object of a class written in C++"


def _pickled(value: Any) -> str:
    return "it holds tensors as pickles" if value else ""


_CHECKS: dict[str, Callable[[Any], str]] = {
    "target": _code_in_operator,
    "as_operator": _code_in_operator,
    "expr_str": _code_in_expression,
    "guards_code": _code_in_guards,
    "in_spec": _code_in_tree,
    "out_spec": _code_in_tree,
    "as_custom_obj": _code_in_object,
    "use_pickle": _pickled,
}
