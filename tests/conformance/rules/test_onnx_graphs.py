# SPDX-License-Identifier: Apache-2.0
"""What the rules say of an ONNX graph is what ONNX Runtime says: it refuses all that they call wrong."""

from pathlib import Path

import onnx
import pytest

from repo_tool.rules.onnx_file import read_onnx

# From ONNX's own tests of backends.
MODELS = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").glob("*/*/model.onnx"))

X, ADDS = "(float[N,4] x) => (float[N,4] y)", "(float[N,4] x, int64[N,4] z) => (float[N,4] y)"


def choosing(nodes, *, output="a", before="", after=""):
    """A graph with an If, and what is in its first branch and around it."""
    branch = f"then_branch = t () => (float[N,4] {output}) {{ {nodes} }}"
    other = "else_branch = e () => (float[N,4] b) { b = Tanh(x) }"
    return f"(float[N,4] x, bool c) => (float[N,4] y) {{ {before} y = If(c)<{branch}, {other}> {after} }}"


REFUSED = {
    "unknown operator": f"{X} {{ y = Rellu(x) }}",
    "operator of a later opset": f"{X} {{ y = Gelu(x) }}",
    "deprecated operator": f"{X} {{ a = Shape(x) y = Upsample(x, a) }}",
    "unknown attribute": f"{X} {{ y = LeakyRelu<alhpa=0.1>(x) }}",
    "attribute of another type": f"{X} {{ y = LeakyRelu<alpha=1>(x) }}",
    "attribute twice": f"{X} {{ y = LeakyRelu<alpha=1.0, alpha=2.0>(x) }}",
    "missing attribute": f"{X} {{ y = Cast(x) }}",
    "too few inputs": f"{X} {{ y = Add(x) }}",
    "too many inputs": f"{X} {{ y = Relu(x, x) }}",
    "too many outputs": f"{X} {{ y, z = Relu(x) }}",
    "undefined input": f"{X} {{ y = Add(x, q) }}",
    "undefined input that crashed inference": "(string[N] x) => (bool[N] y) { y = RegexFullMatch<pattern=\"a\">(q) }",
    "undefined optional input": f"{X} {{ y = Clip(x,,most) }}",
    "undefined input of a branch": choosing("a = Relu(q)"),
    "output without a node": f"{X} {{ z = Relu(x) }}",
    "outer value as output of a branch": choosing("z = Relu(x)", output="d", before="d = Relu(x)"),
    "circle": f"{X} {{ a = Add(x, b) b = Relu(a) y = Relu(a) }}",
    "circle of one": f"{X} {{ a = Add(x, a) y = Relu(x) }}",
    "circle through a branch": choosing("a = Relu(y)"),
    "output twice": f"{X} {{ y = Relu(x) y = Tanh(x) }}",
    "output called as an input": f"{X} {{ y = Relu(x) x = Tanh(x) }}",
    "input twice": "(float[N,4] x, float[N,4] x) => (float[N,4] y) { y = Relu(x) }",
    "node name twice": f"{X} {{ [n] a = Relu(x) [n] y = Tanh(a) }}",
    "two types": f"{ADDS} {{ y = Add(x, z) }}",
    "type that the operator lacks": "(string[N] x) => (string[N] y) { y = Relu(x) }",
    "declared type": "(float[N,4] x) => (int64[N,4] y) { y = Relu(x) }",
    "shapes of a product": "(float[N,4] x, float[5,2] z) => (float[N,2] y) { y = MatMul(x, z) }",
    "shapes of a sum": "(float[3,4] x, float[3,5] z) => (float[3,4] y) { y = Add(x, z) }",
    "shapes within a branch": choosing("w = Constant<value = float[2,1] {1,2}>() a = MatMul(x, w)"),
}  # fmt: skip
LOADED = {
    "nodes in any order": f"{X} {{ y = Relu(a) a = Tanh(x) }}",
    "branch before what it reads": choosing("a = Relu(d)", after="d = Relu(x)"),
    "initializer twice": "(float[N,1] x) => (float[N,1] y) <float[1] w={1}, float[1] w={2}> { y = Add(x, w) }",
    "input as output": f"{X} {{ y = Relu(x) z = Tanh(x) }}",
    "operator of ONNX Runtime's own": f"{X} <float[4] w={{1,2,3,4}}> {{ y = SimplifiedLayerNormalization(x, w) }}",
    "operator before its opset": f"{X} <float[4] w={{1,2,3,4}}> {{ y = LayerNormalization<foo=1>(x, w) }}",
    "domain that is not imported": f'{X} {{ y = ai.onnx.ml.Normalizer<norm="L1">(x) }}',
    "attribute of a constant": f"{X} {{ w = Constant<value_float=1.0, other=2>() y = Add(x, w) }}",
    "declared shape of the output": "(float[N,4] x) => (float[N,5] y) { y = Relu(x) }",
    "declared rank of the output": "(float[N,4] x) => (float[N] y) { y = Relu(x) }",
    "declared shape in between": "(float[N,4] x, float[5,4] w) => (float[N,4] y) <float[N,5] a>"
    " { a = Relu(x) y = MatMul(a, w) }",
    "shape that does not come out": "(float[2,4] x) => (float[3,3] y) <int64[2] s={3,3}> { y = Reshape(x, s) }",
}  # fmt: skip


@pytest.fixture
def refusal(tmp_path):
    """Why ONNX Runtime refuses a file; empty where it loads it."""
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4

    def ask(path):
        try:
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base of their own
            return str(error)
        return ""

    return ask


def write(text, folder):
    path = folder / "model.onnx"
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}'), path)
    return path


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_onnx_runtime_refuses_what_is_wrong(text, tmp_path, refusal):
    path = write(text, tmp_path)
    assert read_onnx(path).problems
    assert refusal(path)


@pytest.mark.parametrize("text", LOADED.values(), ids=LOADED)
def test_nothing_is_wrong_with_what_onnx_runtime_loads(text, tmp_path, refusal):
    path = write(text, tmp_path)
    assert not refusal(path)
    assert not read_onnx(path).problems


def test_nothing_is_wrong_with_the_models_of_onnx_that_load(refusal):
    loaded = [path for path in MODELS if not refusal(path)]
    assert len(loaded) > 50
    assert not {path.parent.name: found for path in loaded if (found := read_onnx(path).problems)}
