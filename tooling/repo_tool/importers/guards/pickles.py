# SPDX-License-Identifier: Apache-2.0
"""Pickles and joblib files: read twice, first without making anything of what they name.

The first reading runs Python's own pickle machine over stand-ins: a name becomes an empty class, a call an empty
object. It shows every name that the file would import, whatever memo games, nested streams or compressions hide it,
and holds the sizes of arrays to the bytes that are there. Only a file whose names are all harmless
(``pickle_names``), or trusted by a person's word, is read the second time, by a machine that looks up no other name.
"""

__all__ = ["globals_of", "load_pickle"]

import bz2
import gzip
import lzma
import os
import pickle
import sys
import types
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # the tables that the machine itself uses
from collections import deque
from collections.abc import Callable, Collection
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers.foreign import refusing
from repo_tool.importers.guards.pickle_names import Use, allowed

_REFUSED = ("INST", "OBJ", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "NEWOBJ_EX")
_BOMB_BYTES, _BOMB_RATIO = 256 * 2**20, 200
_DEEPEST = 8  # object arrays in object arrays; joblib itself nests once
_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_OLD_WRAPPERS = ("joblib.numpy_pickle.NDArrayWrapper", "joblib.numpy_pickle.ZNDArrayWrapper")
_OPENERS: tuple[tuple[bytes, Callable[[Any], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
    (b"\x5d\x00\x00", lzma.open),
)
_Machine: Any = vars(pickle)["_Unpickler"]  # in Python, so that its steps can be watched; typeshed knows the C one only
_SAFER = "save it as skops (skops.io.dump) or ONNX, which hold data only"


def load_pickle(path: Path, *, trusted_types: Collection[str] = ()) -> tuple[Any, tuple[str, ...]]:
    """What ``joblib.dump`` or ``pickle.dump`` wrote, and which of ``trusted_types`` it needed.

    Raises:
        SourceError: it names what is not known to be harmless, hides what it names, or is damaged.
    """
    names = globals_of(path)
    unknown = [name for name in names if not allowed(name) and name not in trusted_types]
    if unknown:
        raise _unknown(path, unknown)
    needed = tuple(name for name in names if not allowed(name))
    with _opened(path) as file:
        return _machine(frozenset(needed))(file).load(), needed


def _unknown(path: Path, unknown: list[str]) -> SourceError:
    words = " ".join(f"--trust-type {name}" for name in unknown)
    several = "types or functions" if len(unknown) > 1 else "a type or function"
    return SourceError(
        f"'{path.name}' would bring {several} not known to be harmless: {', '.join(unknown)}",
        cause="loading a pickle runs what it names, with your rights",
        next_step=f"{_SAFER}; or, if you know who wrote it and why it needs them: {words}",
    )


def globals_of(path: Path) -> tuple[str, ...]:
    """Every ``package.module.name`` that loading the file would look up, in order, without importing one.

    Raises:
        SourceError: it hides what it would do, holds less than it says, or is damaged.
    """
    names: dict[str, None] = {}
    with _opened(path) as file:
        step = "save the model again with joblib.dump"
        with refusing(f"'{path.name}' does not read as a pickle", next_step=step):
            _Watched(file, names, depth=0).load()
    return tuple(names)


# --- the bytes -------------------------------------------------------------------------------------------------------


class _Bytes:
    """A file that gives no more than it holds, and no bomb."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._raw = path.open("rb")
        self._size = os.fstat(self._raw.fileno()).st_size
        start = self._raw.read(8)
        self._raw.seek(0)
        self._file: IO[bytes] = self._decompressing(start)
        self._limit = self._size if self._file is self._raw else max(_BOMB_BYTES, _BOMB_RATIO * self._size)
        self._given = 0

    def _decompressing(self, start: bytes) -> Any:
        for magic, opener in _OPENERS:
            if start.startswith(magic):
                return opener(self._raw)
        if start[:1] == b"\x78" and int.from_bytes(start[:2], "big") % 31 == 0:
            from joblib.compressor import BinaryZlibFile

            return BinaryZlibFile(self._raw, "rb")
        if start.startswith(b"\x04\x22\x4d\x18"):
            with refusing(f"'{self.name}' is compressed with lz4", next_step="pip install lz4, or save it with zlib"):
                return import_module("lz4.frame").LZ4FrameFile(self._raw)
        return self._raw

    def __enter__(self) -> "_Bytes":
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes."""
        if size < 0 or size > self._limit - self._given:
            self.refuse_more(size)
        return self._counted(self._file.read(size))

    def readline(self) -> bytes:
        """A line, as protocol 0 writes values."""
        return self._counted(self._file.readline(self._limit - self._given + 1))

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes."""
        while size > 0:
            chunk = self.read(min(size, 2**20))
            if not chunk:
                self.refuse_more(size)
            size -= len(chunk)

    def tell(self) -> int:
        """How many bytes were given."""
        return self._given

    def _counted(self, data: bytes) -> bytes:
        self._given += len(data)
        if self._given > self._limit:
            self.refuse_more(0)
        return data

    def check(self, size: int, *, given: bool = False) -> None:
        """Refuse when ``size`` bytes are not to be had; of what was ``given`` already, too."""
        if size < 0 or size > self._limit - (0 if given else self._given):
            self.refuse_more(size)

    def refuse_more(self, size: int) -> None:
        """Say that the file asks for more than it holds.

        Raises:
            SourceError: always.
        """
        if self._file is not self._raw:
            raise SourceError(
                f"'{self.name}' unpacks to more than {self._limit / 2**20:.0f} MiB",
                cause=f"that is over {_BOMB_RATIO} times its {self._size / 2**20:.1f} MiB: a bomb, or damaged",
                next_step="if it is real, save it again without compression",
            )
        raise SourceError(
            f"'{self.name}' asks for {size} bytes and holds {self._size - self._given} more",
            cause="it was cut short, or made to fill the memory",
            next_step="copy or save it again",
        )


def _opened(path: Path) -> _Bytes:
    with needs_extra("sklearn"):
        import joblib  # noqa: F401 - its absence is told before a file is opened
    return _Bytes(path)


# --- the first reading: stand-ins ------------------------------------------------------------------------------------


class _StandIn:
    """What a name, called or made into an object, becomes: it holds its state and does nothing."""

    origin = ""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """As objects that are filled item by item have it."""

    def append(self, value: Any) -> None:
        """As objects that are filled item by item have it."""

    def extend(self, values: Any) -> None:
        """As objects that are filled item by item have it."""

    def add(self, value: Any) -> None:
        """As objects that are filled item by item have it."""


def _hidden(what: str) -> SourceError:
    return SourceError(
        f"the pickle {what}",
        cause="no library that saves models writes that; it hides what loading would do",
        next_step=f"do not load it; {_SAFER}",
    )


def _refuse_opcode(name: str) -> Callable[[Any], None]:
    def refuse(_: Any) -> None:
        raise _hidden(f"uses the instruction {name}")

    return refuse


_REFUSING = {getattr(pickle, name)[0]: _refuse_opcode(name) for name in _REFUSED}


class _Watched(_Machine):  # type: ignore[misc]  # of type Any, see above
    """Python's machine, whose names stand for nothing."""

    dispatch = {**_Machine.dispatch, **_REFUSING}  # noqa: RUF012 - as the base class has it

    def __init__(self, file: _Bytes, names: dict[str, None], *, depth: int) -> None:
        super().__init__(file)
        self.file, self.names, self.depth = file, names, depth
        self._classes: dict[str, type] = {}
        self._described: list[Any] = []

    def find_class(self, module: str, name: str) -> Any:
        full = _full_name(self, module, name)
        self.names.setdefault(full)
        if full in _OLD_WRAPPERS:
            raise SourceError(
                f"'{self.file.name}' is of joblib before 0.10",
                cause="such files keep their arrays in other files, of any name",
                next_step="load it where it was saved and save it again with joblib.dump",
            )
        if full not in self._classes:
            self._classes[full] = type(name.rpartition(".")[2] or "x", (_StandIn,), {"origin": full})
        return self._classes[full]

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not _is_name(function) or type(arguments) is not tuple:
            raise _hidden("calls something that is not a name")
        self.stack[-1] = _called(function, arguments, self.file)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self) -> None:
        self.stack.pop()
        kind = self.stack.pop()
        if not _is_name(kind) or not _may(kind, Use.MAKE):
            raise _hidden(f"makes an object of {_spelled(kind)}")
        self.append(kind())

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        _refuse_dunders(state)
        if isinstance(target, np.dtype):
            self._describe(target, state)
        elif not isinstance(target, _StandIn):
            raise _hidden(f"changes {_spelled(target)}")
        elif target.origin == _WRAPPER:
            target.state = (target.state or {}) | state  # joblib asks the object, which keeps what it had
            self._pass_array(target.state)
        else:
            target.state = state

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        self.file.check(size, given=True)
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def _describe(self, dtype: Any, state: Any) -> None:
        """Set what a dtype says of its elements, once, so that an array cannot come to mean other bytes later."""
        if any(dtype is known for known in self._described):
            raise _hidden("describes the elements of an array twice")
        dtype.__setstate__(state)  # plain values only get here
        _refuse_lying_dtype(dtype)
        self._described.append(dtype)

    def _pass_array(self, state: dict[str, Any]) -> None:
        shape, dtype = state["shape"], state["dtype"]
        if type(shape) is not tuple or any(type(size) is not int or size < 0 for size in shape):
            raise _hidden("has an array without a shape")
        if not isinstance(dtype, np.dtype):
            raise _hidden("has an array without a type")
        if not _is_name(state["subclass"]) or not state["subclass"].origin.startswith("numpy."):
            raise _hidden(f"has an array of {_spelled(state['subclass'])}")
        if dtype.hasobject:
            if self.depth == _DEEPEST:
                raise _hidden(f"nests more than {_DEEPEST} pickles")
            self.stack[-1] = _Watched(self.file, self.names, depth=self.depth + 1).load()
            return
        self.stack[-1] = _StandIn()  # joblib, too, puts the array in the place of its wrapper
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.skip(int.from_bytes(self.file.read(1), "little"))
        size = dtype.itemsize
        for count in shape:
            size *= count
        self.file.check(size)
        self.file.skip(size)


def _full_name(machine: Any, module: str, name: str) -> str:
    """The name as Python 3 calls it: protocols before 3 use those of Python 2."""
    if machine.proto < 3:
        module, name = NAME_MAPPING.get((module, name), (module, name))
        module = IMPORT_MAPPING.get(module, module)
    return f"{module}.{name}"


_WORDS = ("__doc__", "__name__")  # which distributions and wrapped functions hold of their own, and nothing calls


def _refuse_dunders(state: Any) -> None:
    """Refuse a state that gives one object methods of its own that Python, or the next instruction, calls."""
    for part in state if isinstance(state, tuple) else (state,):
        for key in part if isinstance(part, dict) else ():
            if isinstance(key, str) and key.startswith("__") and key.endswith("__") and key not in _WORDS:
                raise _hidden(f"gives an object its own {key}")


def _is_name(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, _StandIn)


def _spelled(value: Any) -> str:
    return value.origin if _is_name(value) or isinstance(value, _StandIn) else f"a {type(value).__name__}"


def _may(kind: Any, use: Use) -> bool:
    rows = allowed(kind.origin)
    return not rows or any(use in row.uses for row in rows)  # what is not allowed at all is refused by its name


def _called(function: Any, arguments: tuple[Any, ...], file: _Bytes) -> Any:
    """The outcome of a call, as far as the reading needs it."""
    rows = allowed(function.origin)
    if not rows:
        return function()
    if not _may(function, Use.CALL):
        raise _hidden(f"calls {function.origin}")
    needed = Use.MAKE if any(row.takes_classes for row in rows) else Use.VALUE
    for argument in arguments:
        if _is_name(argument) and not _may(argument, needed) and argument.origin not in _BASES:
            raise _hidden(f"hands {argument.origin} to {function.origin}")
    special = _CALLS.get(function.origin.rpartition(".")[2])
    return special(function, arguments) if special else function()


def _call_dtype(function: Any, arguments: tuple[Any, ...]) -> Any:
    if any(isinstance(argument, _StandIn) or _is_name(argument) for argument in arguments):
        raise _hidden("describes the elements of an array by something else than a name")
    dtype = np.dtype(*arguments)
    _refuse_lying_dtype(dtype)
    return dtype


def _refuse_lying_dtype(dtype: Any) -> None:
    """Elements whose fields lie outside of them, or hold objects they do not tell of, are read as addresses."""
    parts = [dtype.subdtype[0]] if dtype.subdtype else []
    for part, offset, *_ in (dtype.fields or {}).values():
        if offset < 0 or offset + part.itemsize > dtype.itemsize:
            raise _hidden("has an array whose elements reach beyond themselves")
        parts.append(part)
    for part in parts:
        if part.hasobject and not dtype.hasobject:
            raise _hidden("has an array that does not tell of the objects in it")
        _refuse_lying_dtype(part)


def _call_reconstruct(function: Any, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 3 or arguments[1] != (0,):  # numpy itself starts from no elements
        raise _hidden("makes an array without saying what is in it")
    return function()


def _call_reconstructor(function: Any, arguments: tuple[Any, ...]) -> Any:
    kind, base, _ = arguments
    if not _is_name(kind) or not _may(kind, Use.MAKE):
        raise _hidden(f"makes an object of {_spelled(kind)}")
    if not _is_name(base) or base.origin not in _BASES:  # the function would call what base.__init__ is
        raise _hidden(f"makes an object by {_spelled(base)}")
    return kind()


def _call_encode(function: Any, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] != "latin1":
        raise _hidden("encodes what is no text")
    return arguments[0].encode("latin1")


def _call_bytearray(function: Any, arguments: tuple[Any, ...]) -> Any:
    if any(type(argument) not in (bytes, str) for argument in arguments):
        raise _hidden("makes a bytearray of a number")
    return function()


def _call_container(function: Any, arguments: tuple[Any, ...]) -> Any:
    if any(isinstance(argument, _StandIn) for argument in arguments):
        raise _hidden(f"makes a {function.origin} of what is no list")
    return function()


def _call_defaultdict(function: Any, arguments: tuple[Any, ...]) -> Any:
    if any(_is_name(argument) and argument.origin.partition(".")[0] not in _PLAIN for argument in arguments):
        raise _hidden("makes a defaultdict of more than plain data")
    return function()


def _call_fraction(function: Any, arguments: tuple[Any, ...]) -> Any:
    if any(type(argument) is not int for argument in arguments):  # '1e1000000000' is a bomb
        raise _hidden("makes a fraction of what is no number")
    return function()


def _call_random(function: Any, arguments: tuple[Any, ...]) -> Any:
    """Random generators are made by the name of an algorithm, or of one; what makes it can be handed in as well."""
    for argument in arguments:
        of_numpy = isinstance(argument, _StandIn) or _is_name(argument)
        if (of_numpy and not argument.origin.startswith("numpy.random.")) or not (of_numpy or type(argument) is str):
            raise _hidden(f"makes a random generator of {_spelled(argument)}")
    return function()


_PLAIN = ("builtins", "collections")
_BASES = frozenset(f"builtins.{name}" for name in ("object", "list", "dict", "tuple", "int", "float", "str", "complex"))
_CALLS: dict[str, Callable[[Any, tuple[Any, ...]], Any]] = {
    "dtype": _call_dtype,
    "_reconstruct": _call_reconstruct,
    "_reconstructor": _call_reconstructor,
    "encode": _call_encode,
    "bytearray": _call_bytearray,
    "bytes": _call_bytearray,
    "defaultdict": _call_defaultdict,
    "set": _call_container,
    "frozenset": _call_container,
    "deque": _call_container,
    "Counter": _call_container,
    "OrderedDict": _call_container,
    "Fraction": _call_fraction,
    "__randomstate_ctor": _call_random,
    "__generator_ctor": _call_random,
    "__bit_generator_ctor": _call_random,
}


# --- the second reading ----------------------------------------------------------------------------------------------


def _machine(trusted: frozenset[str]) -> type[Any]:
    """The machine of joblib, which looks up nothing but what the first reading may have found."""
    from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

    class Loading(NumpyUnpickler):  # type: ignore[misc]  # joblib has no types
        dispatch = {**NumpyUnpickler.dispatch, **_REFUSING}  # noqa: RUF012 - as the base class has it

        def __init__(self, file: Any) -> None:
            super().__init__("", file, ensure_native_byte_order=True)

            self.looked_up: dict[int, tuple[str, Any]] = {}  # by identity, with what keeps that from being given anew

        def find_class(self, module: str, name: str) -> Any:
            full = _full_name(self, module, name)
            found = _INSTEAD.get(full) or (Wrapper if full == _WRAPPER else _looked_up(full, trusted))
            self.looked_up.setdefault(id(found), (full, found))
            return found

        def load_reduce(self) -> None:
            self.require(self.stack[-2], Use.CALL)
            super().load_reduce()

        dispatch[pickle.REDUCE[0]] = load_reduce

        def load_newobj(self) -> None:
            self.require(self.stack[-2], Use.MAKE)
            super().load_newobj()

        dispatch[pickle.NEWOBJ[0]] = load_newobj

        def require(self, named: Any, use: Use) -> None:
            full, _ = self.looked_up.get(id(named), ("", None))
            if full not in trusted and not any(use in row.uses for row in allowed(full)):
                raise _hidden(f"would {use.value} {full or 'what it made itself'}")

        def load_build(self) -> None:
            state, target = self.stack[-1], self.stack[-2]
            if isinstance(target, type | types.FunctionType | types.BuiltinFunctionType | types.ModuleType):
                raise _hidden("changes a class or function")
            _refuse_dunders(state)
            _refuse_foreign_template(target, state)
            super().load_build()  # takes in an array's bytes

        dispatch[pickle.BUILD[0]] = load_build

        def load_append(self) -> None:
            value = self.stack.pop()
            _extend(self.stack[-1], [value])

        dispatch[pickle.APPEND[0]] = load_append

        def load_appends(self) -> None:
            values = self.pop_mark()
            _extend(self.stack[-1], values)

        dispatch[pickle.APPENDS[0]] = load_appends

        def load_additems(self) -> None:
            values = self.pop_mark()
            if not isinstance(self.stack[-1], set):
                raise _hidden("adds to what is no set")
            set.update(self.stack[-1], values)

        dispatch[pickle.ADDITEMS[0]] = load_additems

    class Wrapper(NumpyArrayWrapper):  # type: ignore[misc]  # joblib has no types
        """An array whose elements are objects is a pickle of its own, and held to the same names."""

        def read_array(self, unpickler: Any, *arguments: Any) -> Any:
            if self.dtype.hasobject:
                return Loading(unpickler.file_handle).load()
            return super().read_array(unpickler, *arguments)

    return Loading


_INSTEAD: dict[str, Any] = {"numpy.memmap": np.ndarray}  # an array is read from this file, never mapped from another


def _extend(target: Any, values: list[Any]) -> None:
    """By the method of the class: one that the object carries itself is whatever the pickle put there."""
    if not isinstance(target, list | deque):
        raise _hidden("appends to what is no list")
    kind: Any = type(target)
    kind.extend(target, values)


def _refuse_foreign_template(target: Any, state: Any) -> None:
    """A distribution of scipy's runs the text in its state as Python: it must be the one that scipy wrote.

    Raises:
        SourceError: it is another.
    """
    if not type(target).__module__.startswith("scipy.stats."):
        return
    known_to_scipy = vars(import_module("scipy.stats")).values()
    text = state.get(_TEMPLATE) if isinstance(state, dict) else state
    known = (vars(entry).get(_TEMPLATE) for entry in known_to_scipy if type(entry) is type(target))
    if text is not None and text not in known and not _is_frozen(target):
        raise _hidden("brings Python code in a distribution of scipy's")


_TEMPLATE = "_parse_arg_template"


def _is_frozen(target: Any) -> bool:
    """A distribution with its parameters, which holds another and runs nothing."""
    return type(target).__name__ in ("rv_continuous_frozen", "rv_discrete_frozen")


def _looked_up(full: str, trusted: frozenset[str]) -> Any:
    rows = allowed(full)
    if not rows and full not in trusted:
        raise _hidden(f"looks up {full}")
    module, _, name = full.rpartition(".")
    while module not in sys.modules:  # of a trusted package.module.Outer.Inner the module is the longest that imports
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            if rows or error.name != module or "." not in module:
                raise
            module, _, outer = module.rpartition(".")
            name = f"{outer}.{name}"
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    if rows and not any(_fits(found, row.only, full) for row in rows):
        raise _hidden(f"looks up {full}, which is no part of that package")
    return found


def _fits(found: Any, only: str, full: str) -> bool:
    if only == "any":
        return True
    package = full.partition(".")[0]
    if (getattr(found, "__module__", "") or "").partition(".")[0] != package:
        return False
    return isinstance(found, type) if only == "class" else callable(found) and not isinstance(found, type)
