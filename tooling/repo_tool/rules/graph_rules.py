# SPDX-License-Identifier: Apache-2.0
"""SIG: the graph of an ONNX file, as far as ONNX Runtime refuses it whatever the configuration says."""

from collections.abc import Iterator

from repo_tool.rules.diagnostics import Finding
from repo_tool.rules.onnx_graph import ProblemKind
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject

_EXPORT_AGAIN = "export the model again, or mend the graph and run onnx.checker.check_model on it"


@rule("SIG117")
def operator_not_in_opset(model: ModelSubject) -> Iterator[Finding]:
    """Operators of ai.onnx and ai.onnx.ml are in the opset that the ONNX file imports.

    Newer opsets have further operators, and lack some that older ones have.

    Wrong::

        opset_import: ["" : 17]                               (and the file uses Gelu, which is there from 20 on)

    Right::

        opset_import: ["" : 20]
    """
    if not model.config.op_library_filenames:  # which may bring operators of any domain
        yield from _problems(
            model,
            ProblemKind.OPERATOR,
            cause="ONNX Runtime knows no other operators of this domain",
            fix="correct the operator's name, or export for an opset that has it",
        )


@rule("SIG118")
def node_breaks_schema(model: ModelSubject) -> Iterator[Finding]:
    """The nodes of an ONNX file have the attributes and as many inputs and outputs as their operators.

    Wrong::

        y = LeakyRelu <alhpa = 0.1> (x)

    Right::

        y = LeakyRelu <alpha = 0.1> (x)
    """
    yield from _problems(
        model,
        ProblemKind.NODE,
        cause="ONNX Runtime holds each node to its operator in the opset that the file imports",
        fix=_EXPORT_AGAIN,
    )


@rule("SIG119")
def undefined_tensor(model: ModelSubject) -> Iterator[Finding]:
    """What the nodes of an ONNX file read and what it returns is an input, an initializer or the output of a node.

    Wrong::

        scores = MatMul (x, weights)                          (and nothing in the file is called weights)

    Right::

        scores = MatMul (x, w)
    """
    yield from _problems(
        model, ProblemKind.UNDEFINED, cause="ONNX Runtime refuses a graph with a gap in it", fix=_EXPORT_AGAIN
    )


@rule("SIG120")
def cyclic_graph(model: ModelSubject) -> Iterator[Finding]:
    """No node of an ONNX file reads what is made from its own output; what repeats itself is a Loop or a Scan.

    The nodes may stand in any order.

    Wrong::

        a = Add (x, b)
        b = Relu (a)

    Right::

        a = Add (x, x)
        b = Relu (a)
    """
    yield from _problems(
        model, ProblemKind.CYCLE, cause="ONNX Runtime: the graph is not acyclic", fix="export the model again"
    )


@rule("SIG121")
def duplicate_name(model: ModelSubject) -> Iterator[Finding]:
    """Each name in an ONNX file stands for one input, initializer or output of a node, or for one node.

    Wrong::

        y = Relu (x)
        y = Tanh (x)

    Right::

        a = Relu (x)
        y = Tanh (a)
    """
    yield from _problems(
        model,
        ProblemKind.DUPLICATE,
        cause="ONNX Runtime cannot tell which of them is meant",
        fix="give each a name of its own",
    )


@rule("SIG122")
def types_or_shapes_do_not_fit(model: ModelSubject) -> Iterator[Finding]:
    """Types and shapes fit together in an ONNX file: each operator takes what flows into it.

    A declared shape that is only another than the inferred one is no error: ONNX Runtime warns and goes on.

    Wrong::

        y = MatMul (x, w)                                     (x: float[N, 4], w: float[5, 2])

    Right::

        y = MatMul (x, w)                                     (x: float[N, 4], w: float[4, 2])
    """
    yield from _problems(
        model,
        ProblemKind.MISMATCH,
        cause="ONNX Runtime infers types and shapes when it loads the model, and stops there",
        fix="cast or reshape inside the graph, or export again with the right inputs",
    )


def _problems(model: ModelSubject, kind: ProblemKind, *, cause: str, fix: str) -> Iterator[Finding]:
    for path, onnx_model in model.onnx_models():
        for problem in onnx_model.problems:
            if problem.kind is kind:
                yield Finding(problem.text, cause=cause, fix=fix, file=path)
