# SPDX-License-Identifier: Apache-2.0
"""Which names a pickle may bring without anybody's word, what each may be used for, and why it is harmless.

``MAKE``: a class whose objects are made empty (``__new__``) and then filled; its ``__init__`` never runs.
``CALL``: called with what the pickle holds. ``VALUE``: only handed on, as the default of a ``defaultdict`` is.
A name that is written in no row is refused.
"""

__all__ = ["ROWS", "Allowed", "Use", "allowed"]

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache


class Use(Enum):
    """What a pickle may do with a name."""

    MAKE = "make"
    CALL = "call"
    VALUE = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Names that share a use and the reason for it."""

    names: str  # a regular expression over package.module.name, matched whole
    uses: frozenset[Use]
    reason: str
    takes_classes: bool = False  # whether a call is handed classes that it makes objects of
    only: str = "any"  # of a row that names whole modules: class, function


_MAKE, _CALL, _VALUE = frozenset({Use.MAKE}), frozenset({Use.CALL}), frozenset({Use.VALUE})

ROWS = (
    Allowed(names=r"builtins\.(object|list|dict|tuple|int|float|str|bool|complex|bytes)", uses=_VALUE,
            reason="types of plain data; not called, since list(range(10**12)) is a bomb"),
    Allowed(names=r"builtins\.(set|frozenset|slice|complex|bytes|bytearray)", uses=_CALL | _VALUE,
            reason="plain data; bytearray is held to bytes, since bytearray(10**12) is a bomb"),
    Allowed(names=r"collections\.(OrderedDict|defaultdict|deque|Counter)", uses=_CALL | _MAKE | _VALUE,
            reason="containers"),
    Allowed(names=r"_codecs\.encode", uses=_CALL, reason="how protocols before 3 write bytes; latin1 only"),
    Allowed(names=r"copyreg\._reconstructor", uses=_CALL, takes_classes=True,
            reason="how protocols before 2 make an object: cls.__new__"),
    Allowed(names=r"datetime\.(date|time|datetime|timedelta|timezone)", uses=_CALL, reason="plain data"),
    Allowed(names=r"decimal\.Decimal|fractions\.Fraction|uuid\.UUID", uses=_CALL | _MAKE, reason="plain data"),
    # numpy
    Allowed(names=r"numpy\.(ndarray|matrix|memmap|dtype|generic|bool_?|number|(u?int|float|complex)\d*_?|str_|bytes_"
            r"|object_|void|datetime64|timedelta64|longlong|ulonglong|longdouble)", uses=_VALUE,
            reason="types; an array is made by numpy's own functions below, whose sizes are checked"),
    Allowed(names=r"numpy\.dtype", uses=_CALL, reason="a description of elements"),
    Allowed(names=r"numpy\._?core\.multiarray\.(_reconstruct|scalar)", uses=_CALL,
            reason="an array of no elements, filled from the pickle's own bytes; one number"),
    Allowed(names=r"numpy\._?core\.numeric\._frombuffer", uses=_CALL, reason="an array over the pickle's own bytes"),
    Allowed(names=r"numpy\.ma\.core\.(_mareconstruct|MaskedArray|MaskedConstant)", uses=_CALL | _VALUE,
            reason="arrays with a mask"),
    Allowed(names=r"numpy\.random\._pickle\.__(randomstate|generator|bit_generator)_ctor", uses=_CALL | _VALUE,
            reason="random generators, by the name of the algorithm"),
    Allowed(names=r"numpy\.random\._(mt19937\.MT19937|pcg64\.PCG64(DXSM)?|philox\.Philox|sfc64\.SFC64)", uses=_VALUE,
            reason="the algorithms of random generators"),
    Allowed(names=r"numpy\.random\.bit_generator\.__pyx_unpickle_SeedSequence", uses=_CALL, takes_classes=True,
            reason="the seed of a random generator"),
    Allowed(names=r"numpy\.random\.bit_generator\.SeedSequence", uses=_VALUE | _MAKE, reason="as above"),
    Allowed(names=r"numpy\._?core\._multiarray_umath\.(log|log2|log10|log1p|exp|expm1|sqrt|square|abs|absolute|cbrt"
            r"|sin|cos|tan|tanh|arcsinh|sinh|cosh|sign|reciprocal|negative|floor|ceil|rint|isnan|isfinite)",
            uses=_VALUE, reason="functions of numbers, as FunctionTransformer is given them"),
    Allowed(names=r"numpy\.(mean|median|sum|min|max|std|var|average|unique|ravel)", uses=_VALUE,
            reason="functions of numbers"),
    # joblib
    Allowed(names=r"joblib\.numpy_pickle\.NumpyArrayWrapper", uses=_MAKE,
            reason="stands before an array's bytes; its size is checked against what the file holds"),
    # scipy
    Allowed(names=r"scipy\.sparse\._?(csr|csc|coo|lil|dok|dia|bsr)\.\w+_(matrix|array)", uses=_MAKE,
            reason="sparse arrays", only="class"),
    Allowed(names=r"scipy\.interpolate\.\w+\.\w+", uses=_MAKE, reason="splines and interpolators", only="class"),
    Allowed(names=r"scipy\.stats\._distn_infrastructure\.rv_(continuous|discrete)_frozen", uses=_MAKE,
            reason="distributions with their parameters"),
    Allowed(names=r"scipy\.stats\._(continuous|discrete)_distns\.\w+_gen", uses=_MAKE, reason="distributions",
            only="class"),
    Allowed(names=r"scipy\._lib\.array_api_compat\.numpy\._aliases\.asarray", uses=_VALUE,
            reason="what an estimator keeps its namespace's conversion as"),
    # scikit-learn
    Allowed(names=r"sklearn\.(?!(\w+\.)*(tests|externals|datasets|conftest|_build_utils|_testing|_mocking|parallel)\.)"
            r"(\w+\.)*\w+", uses=_MAKE | _VALUE,
            reason="estimators and their parts: made empty and filled; nothing of theirs runs before it is asked to",
            only="class"),
    Allowed(names=r"sklearn\.tree\._tree\.Tree", uses=_CALL, reason="the nodes of a tree, by three sizes"),
    Allowed(names=r"sklearn\._loss\._loss\.Cy\w+|sklearn\.linear_model\._sgd_fast\.\w+", uses=_CALL,
            reason="loss functions, by their parameters", only="class"),
    Allowed(names=r"sklearn\.(neighbors\._(kd|ball)_tree|metrics\._dist_metrics)\.newObj", uses=_CALL,
            takes_classes=True, reason="how search trees and metrics make an object: cls.__new__"),
    Allowed(names=r"sklearn\.(\w+\.)*__pyx_unpickle_\w+", uses=_CALL, takes_classes=True, only="function",
            reason="how compiled classes make an object: cls.__new__"),
    Allowed(names=r"sklearn\.utils\._bunch\.Bunch|sklearn\.utils\.Bunch", uses=_CALL, reason="a dict"),
    Allowed(names=r"sklearn\.(metrics\._(classification|regression|ranking)|metrics\.cluster\._\w+"
            r"|feature_selection\._(univariate_selection|mutual_info_)|metrics\.pairwise)\.[a-z]\w*", uses=_VALUE,
            reason="functions of arrays, as scorers, kernels and selectors keep them", only="function"),
    Allowed(names=r"sklearn\.cluster\._kmeans\.(_kmeans_single_\w+|lloyd_iter_chunked_\w+)", uses=_VALUE,
            reason="functions of arrays, kept by estimators", only="function"),
    Allowed(names=r"sklearn\.(gaussian_process\._gpr|manifold\._\w+|neural_network\._\w+|decomposition\._\w+"
            r"|covariance\._\w+|preprocessing\._function_transformer)\._?[a-z]\w*", uses=_VALUE,
            reason="functions of arrays, kept by estimators", only="function"),
    # pandas
    Allowed(names=r"pandas(\.core\.indexes\.\w+)?\.\w*Index", uses=_VALUE | _MAKE, reason="labels of rows and columns",
            only="class"),
    Allowed(names=r"pandas\.core\.indexes\.base\._new_Index", uses=_CALL, takes_classes=True, reason="as above"),
    Allowed(names=r"pandas\.(DataFrame|Series)|pandas\.core\.(frame\.DataFrame|series\.Series)", uses=_MAKE,
            reason="tables"),
    Allowed(names=r"pandas\.core\.internals\.managers\.(Single)?BlockManager|pandas\._libs\.internals\._unpickle_block",
            uses=_CALL | _MAKE, reason="the columns of a table"),
    Allowed(names=r"pandas(\.core\.dtypes\.dtypes)?\.\w+Dtype|pandas\.core\.arrays\.(\w+\.)?\w+Dtype",
            uses=_CALL | _MAKE | _VALUE, reason="column types", only="class"),
    Allowed(names=r"pandas\.(core\.)?arrays\.(\w+\.)?\w+Array|pandas\.(core\.arrays\.categorical\.)?Categorical",
            uses=_MAKE | _VALUE, reason="columns", only="class"),
    Allowed(names=r"pandas\._libs\.arrays\.__pyx_unpickle_NDArrayBacked", uses=_CALL, takes_classes=True,
            reason="how columns are made: cls.__new__"),
    Allowed(names=r"pyarrow\.lib\.(_restore_array|py_buffer|type_for_alias)", uses=_CALL,
            reason="columns of text, over the pickle's own bytes"),
    # boosters
    Allowed(names=r"xgboost\.sklearn\.XGB\w+|lightgbm\.sklearn\.LGBM\w+|catboost\.core\.CatBoost\w*", uses=_MAKE,
            reason="estimators: made empty and filled", only="class"),
    Allowed(names=r"xgboost\.core\.Booster|lightgbm\.basic\.Booster", uses=_MAKE,
            reason="made empty and filled from the pickle's own bytes; called, they would read a file"),
)  # fmt: skip

_COMPILED = tuple((re.compile(row.names), row) for row in ROWS)


@cache
def allowed(name: str) -> tuple[Allowed, ...]:
    """The rows that allow ``package.module.name``; none when it is not known to be harmless."""
    return tuple(row for pattern, row in _COMPILED if pattern.fullmatch(name))
