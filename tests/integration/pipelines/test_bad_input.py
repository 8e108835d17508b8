# SPDX-License-Identifier: Apache-2.0
"""Bad input over a real server: its request fails and names step and row, the others are answered, the server lives."""

import io
import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from repo_client import Client, RefusedRequestError, RepoClientError
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.errors import LoadRefusedError
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.repository.layout import ModelRepository
from repo_tool.triton.server import EmbeddedServer
from support.served_parts import write_compiled

PIPELINES = {
    "pictures": """
inputs: {image: {datatype: BYTES, dims: [1]}}
steps:
  - {use: decode_image, with: {height: 2, width: 2, mode: L}}
  - {use: normalise, with: {mean: [0.0], std: [1.0]}}
  - {model: total, inputs: {values: tensor}, outputs: {total: brightness}}
outputs: [brightness]
""",
    "people": """
inputs: {row: {datatype: BYTES, dims: [1]}}
steps:
  - {use: json_rows, with: {columns: {colour: BYTES, age: FP32}}}
  - {use: one_hot, inputs: {value: colour}, with: {categories: [red, blue]}}
  - {use: columns, with: {names: [age, one_hot]}}
outputs: [table]
""",
    "texts": """
inputs: {text: {datatype: BYTES, dims: [1]}}
steps:
  - {use: clean_text}
  - {use: vocabulary, inputs: {text: cleaned}, with: {vocabulary: {file: words.txt}, gives: counts}}
outputs: [counts]
""",
    "fragile": """
inputs: {number: {datatype: FP32, dims: [1]}, line: {datatype: FP32, dims: [-1]}}
steps:
  - {use: "fragile_steps:Fragile"}
outputs: [share, doubled]
""",
    "exact": """
inputs: {number: {datatype: FP64, dims: [1]}}
steps:
  - {use: "exact_steps:Exact"}
outputs: [small, half, pieces, words]
""",
}
FRAGILE = """
import sys
from dataclasses import dataclass

WORDS = {13: "half of a character: \\ud83d.", 14: "a \\0 in its midst", 15: "\\U0001F600" * 5000, 16: "%" * 5000}

class Wordless(Exception):
    def __str__(self):
        raise TypeError

@dataclass(frozen=True, slots=True, kw_only=True)
class Fragile:
    def outputs(self, inputs):
        return {"share": ("FP32", (1,)), "doubled": inputs["line"]}

    def run(self, number, line):
        for (value,) in number.tolist():
            if value < 0:
                errors = {-1.0: KeyError, -2.0: MemoryError, -3.0: ValueError, -4.0: RecursionError}
                raise errors[value]("it is negative")
            if value == 7:
                sys.exit(1)
            if value <= 10:
                continue
            raise {11: KeyboardInterrupt, 12: Wordless}.get(value, ValueError)(WORDS.get(value, "it is large"))
        doubled = [row * 2 for row in line]
        if (number == 9).any():
            doubled = doubled[:-1]
        return {"share": 1 / number, "doubled": doubled}
"""

EXACT = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    def outputs(self, inputs):
        words = ("BYTES", (1,))
        return {"small": ("UINT8", (1,)), "half": ("FP16", (1,)), "pieces": ("BYTES", (-1,)), "words": words}

    def run(self, number):
        whole = (number == number.round()).all()
        return {
            "small": number.astype(np.int64) if whole else number,
            "half": number,
            "pieces": [[b"a\\0", "\u00e4\\0"] for _ in number],
            "words": [[b"\\0\\0" if value < 10 else 10] for (value,) in number.tolist()],
        }
"""


def picture(grey=255, size=(4, 4), mode="L", kind="PNG"):
    stream = io.BytesIO()
    Image.new(mode, size, grey).save(stream, format=kind)
    return stream.getvalue()


JPEG = picture(kind="JPEG")
PERSON = {"colour": "red", "age": 30}
GOOD = {
    "pictures": ("image", picture(), [[4.0]]),
    "people": ("row", json.dumps(PERSON).encode(), [[30, 1, 0]]),
    "texts": ("text", b"a b a", [[2, 1]]),
}
BAD = {
    "a corrupt JPEG": ("pictures", JPEG[: len(JPEG) // 2], "step 'decode_image', row 1: not a readable image"),
    "a JPEG without pixels": ("pictures", JPEG[:30], "step 'decode_image', row 1: not a readable image"),
    "a picture of 100 megapixels": (
        "pictures",
        picture(0, (10_000, 10_000), "1"),
        "step 'decode_image', row 1: the image has 10000 x 10000 pixels, too many",
    ),
    "no picture at all": ("pictures", b"", "step 'decode_image', row 1: not a readable image (it is empty)"),
    "an unknown category": ("people", {**PERSON, "colour": "green"}, "step 'one_hot', row 1: 'green' is"),
    "a missing column": ("people", {"colour": "red"}, "step 'json_rows', row 1: column 'age' is missing"),
    "NaN": ("people", {**PERSON, "age": float("nan")}, "step 'json_rows', row 1: column 'age' is NaN"),
    "text for a number": (
        "people",
        {**PERSON, "age": "old"},
        "step 'json_rows', row 1: column 'age' is the text 'old'",
    ),
    "no row at all": ("people", b"", "step 'json_rows', row 1: not a JSON object"),
    "brackets without end": ("people", b"[" * 900_000, "step 'json_rows', row 1: its JSON is nested deeper than 64"),
    "an empty text": ("texts", b"", "step 'clean_text', row 1: the text is empty"),
    "a text of 1 MB": ("texts", b"a " * 500_000, "step 'clean_text', row 1: the text has 1000000 bytes, and at most"),
    "no UTF-8": ("texts", b"a \xff", "step 'clean_text', row 1: the text is not UTF-8"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    (folder / "words.txt").write_text("a\nb\n")
    (folder / "fragile_steps.py").write_text(FRAGILE)
    (folder / "exact_steps.py").write_text(EXACT)
    models = folder / "models"
    write_total(models)
    for name, text in PIPELINES.items():
        (folder / f"{name}.yaml").write_text(f"name: {name}\n{text}")
        compiled = compile_pipeline(read_pipeline(folder / f"{name}.yaml"), ModelRepository(models))
        for model in (compiled.own, *compiled.models):
            write_compiled(models, model)
            if name in ("people", "fragile"):  # the same, but its requests wait until twelve rows are one batch
                waiting = DynamicBatching(preferred_batch_sizes=(12,), max_queue_delay_us=5_000_000)
                config = replace(model.config, name=f"{model.config.name}_together", dynamic_batching=waiting)
                one = tuple(replace(group, count=1) for group in config.instance_groups)
                write_compiled(models, replace(model, config=replace(config, instance_groups=one)))
    with EmbeddedServer(models) as server:
        outcomes = server.load_all()
        assert all(outcome.is_ready for outcome in outcomes), outcomes
        yield server


def write_total(models):
    """The sum of pictures [batch, 1, 2, 2]."""
    nodes = [
        helper.make_node("Constant", [], ["axes"], value_ints=[1, 2, 3]),
        helper.make_node("ReduceSum", ["values", "axes"], ["sum"], keepdims=0),
        helper.make_node("Constant", [], ["shape"], value_ints=[-1, 1]),
        helper.make_node("Reshape", ["sum", "shape"], ["total"]),
    ]
    graph = helper.make_graph(
        nodes,
        "total",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [helper.make_tensor_value_info("total", TensorProto.FLOAT, ["batch", 1])],
    )
    (models / "total" / "1").mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, models / "total" / "1" / "model.onnx")
    (models / "total" / "config.pbtxt").write_text(
        'name: "total" backend: "onnxruntime" max_batch_size: 8 '
        'input [{ name: "values" data_type: TYPE_FP32 dims: [1, 2, 2] }] '
        'output [{ name: "total" data_type: TYPE_FP32 dims: [1] }]'
    )


@pytest.fixture(scope="module")
def client(server):
    with Client(f"grpc://{server.grpc_url}") as client:
        yield client


def rows(*values):
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = [json.dumps(value).encode() if isinstance(value, dict) else value for value in values]
    return array


@pytest.mark.parametrize("case", BAD)
def test_the_request_fails_with_step_and_row_and_others_are_answered(server, client, case):
    model, bad, words = BAD[case]
    tensor, good, expected = GOOD[model]

    def ask(value):
        try:
            return client.model(model).infer({tensor: rows(good, value)})
        except RepoClientError as error:
            return error

    with ThreadPoolExecutor(6) as threads:
        *answers, refused = threads.map(ask, [good, good, good, good, good, bad])
    assert isinstance(refused, RefusedRequestError), refused
    assert words in str(refused)
    for answer in answers:
        (name,) = answer
        assert answer[name].tolist() == expected * 2
    assert is_ready(server)


def test_requests_of_one_batch_fail_alone_and_count_their_own_rows(server, client):
    """Four requests that Triton makes one batch of, two of them bad."""
    together = client.model("people_together")

    def ask(number):
        bad = {"colour": "green", "age": 1}
        try:
            values = rows(*[{**PERSON, "age": number}] * number, *([bad] if number in (2, 3) else []))
            return together.infer({"row": values})["table"][:, 0].tolist()
        except RepoClientError as error:
            return str(error)

    before = executions(server, "people_together")
    with ThreadPoolExecutor(4) as threads:
        first, second, third, fourth = threads.map(ask, [1, 2, 3, 4])
    deadline = time.monotonic() + 10
    while (ran := executions(server, "people_together") - before) < 1 and time.monotonic() < deadline:
        time.sleep(0.01)  # Triton counts behind the answer
    assert ran == 1
    assert (first, fourth) == ([1], [4, 4, 4, 4])
    assert "step 'one_hot', row 2: " in second
    assert "step 'one_hot', row 3: " in third


def test_rows_of_requests_in_one_batch_may_differ_in_shape(server, client):
    def ask(size):
        numbers, line = np.full((3, 1), 4, np.float32), np.full((3, size), size, np.float32)
        return client.model("fragile_together").infer({"number": numbers, "line": line})["doubled"].tolist()

    before = executions(server, "fragile_together")
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, [1, 2, 3, 4]))
    assert answers == [[[size * 2.0] * size] * 3 for size in (1, 2, 3, 4)]
    assert executions(server, "fragile_together") - before == 1


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (-1, "step 'fragile_steps:Fragile', row 2: KeyError: 'it is negative'"),
        (-2, "step 'fragile_steps:Fragile', row 2: MemoryError: it is negative"),
        (-3, "step 'fragile_steps:Fragile', row 2: it is negative"),
        (-4, "step 'fragile_steps:Fragile', row 2: RecursionError: it is negative"),
        (7, "step 'fragile_steps:Fragile', row 2: SystemExit: 1"),
        (9, "step 'fragile_steps:Fragile', row 2: it gives 'doubled' as 0 rows for 1 and announced FP32 [-1]"),
        (11, "step 'fragile_steps:Fragile', row 2: KeyboardInterrupt: it is large"),
        (12, "step 'fragile_steps:Fragile', row 2: Wordless: it cannot be printed"),
        (13, "step 'fragile_steps:Fragile', row 2: half of a character:  ."),
        (14, "step 'fragile_steps:Fragile', row 2: a   in its midst"),
        (15, "step 'fragile_steps:Fragile', row 2: " + "\U0001f600" * 300),
        (16, "step 'fragile_steps:Fragile', row 2: " + "%" * 1300),
    ],
)
def test_a_step_that_fails_as_it_must_not_fails_one_request_only(server, client, number, words):
    lines = np.ones((3, 2), dtype=np.float32)
    with pytest.raises(RepoClientError) as raised:
        client.model("fragile").infer({"number": np.array([[1], [2], [number]], np.float32), "line": lines})
    assert words in str(raised.value)
    answer = client.model("fragile").infer({"number": np.array([[1], [2], [4]], np.float32), "line": lines})
    assert answer["share"].ravel().tolist() == [1, 0.5, 0.25]
    assert is_ready(server)


def test_bytes_keep_their_zeros_and_numbers_their_value(client):
    answer = client.model("exact").infer({"number": np.array([[0.0], [9]])})
    assert answer["small"].tolist() == [[0], [9]]
    assert answer["half"].tolist() == [[0], [9]]
    assert answer["pieces"].tolist() == [[b"a\0", "\u00e4\0".encode()]] * 2
    assert answer["words"].tolist() == [[b"\0\0"]] * 2


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.7, "row 1: it gives 'small' as float64 and announced UINT8"),
        (300, "row 1: it gives 'small' as int64 300 and announced UINT8"),
        (-1, "row 1: it gives 'small' as int64 -1 and announced UINT8"),
        (10, "row 1: it gives 'words' as int and announced BYTES"),
    ],
)
def test_what_a_step_gives_is_not_changed_into_what_it_announced(client, number, words):
    with pytest.raises(RepoClientError) as raised:
        client.model("exact").infer({"number": np.array([[1.0], [number]])})
    assert f"step 'exact_steps:Exact', {words}" in str(raised.value)


def test_no_words_of_a_step_fail_the_other_requests_of_its_batch(server, client):
    def ask(number):
        try:
            numbers, line = np.full((3, 1), number, np.float32), np.ones((3, 1), np.float32)
            return client.model("fragile_together").infer({"number": numbers, "line": line})["share"][0, 0].tolist()
        except RepoClientError as error:
            return str(error)

    before = executions(server, "fragile_together")
    with ThreadPoolExecutor(4) as threads:
        first, half, second, interrupt = threads.map(ask, [4, 13, 2, 11])
    assert executions(server, "fragile_together") - before == 1
    assert (first, second) == (0.25, 0.5)
    assert "half of a character" in half
    assert "KeyboardInterrupt" in interrupt


def test_a_step_that_does_not_start_is_named_when_its_model_is_loaded(server, tmp_path):
    (tmp_path / "late.py").write_text(
        FRAGILE.replace("    def run(", "    def warm(self):\n        1 / 0\n\n    def run(")
    )
    (tmp_path / "late.yaml").write_text(f"name: late\n{PIPELINES['fragile'].replace('fragile_steps', 'late')}")
    models = ModelRepository(server.repository)
    write_compiled(models.path, compile_pipeline(read_pipeline(tmp_path / "late.yaml"), models).own)
    with pytest.raises(
        LoadRefusedError, match="step 'late:Fragile' does not start: ZeroDivisionError: division by zero"
    ):
        server.load("late")


def executions(server, model):
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{model}/stats") as reply:
        return json.load(reply)["model_stats"][0]["execution_count"]


def is_ready(server):
    with urllib.request.urlopen(f"http://{server.http_url}/v2/health/ready") as reply:
        return reply.status == 200
