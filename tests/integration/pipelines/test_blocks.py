# SPDX-License-Identifier: Apache-2.0
"""Blocks of a pipeline on a real server: a cascade, the crops of an image, and a loop."""

import json
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from repo_client import Client, DeadlineExceededError, RepoClientError
from repo_tool.errors import PipelineError
from repo_tool.pipelines.python_part import control_model
from repo_tool.pipelines.spec import ForEach, OtherWire, PipelineFile, Repeat, When
from repo_tool.pipelines.stages import BlockStage
from repo_tool.triton.server import EmbeddedServer
from support.served_parts import called, floats, part, step, wire, write_compiled, write_python_model

FLOAT = wire("FP32", 1)
PIPELINE = PipelineFile.model_validate(
    {"name": "any", "inputs": {"x": {"datatype": "FP32", "dims": [1]}}, "steps": [{"model": "m"}], "outputs": ["y"]}
)

UNSURE = """
from dataclasses import dataclass

@dataclass(frozen=True, slots=True, kw_only=True)
class Surety:
    def outputs(self, inputs):
        return {"sure": ("BOOL", (1,))}

    def run(self, value):
        for row, (one,) in enumerate(value):
            if one > 1000:
                raise ValueError(f"row {row}: {one:g} is too much")
        return {"sure": value < 1}
"""

CUT = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    size: int = 2

    def outputs(self, inputs):
        return {"crops": ("FP32", (-1, self.size)), "found": ("INT64", (1,))}

    def run(self, line):
        crops = [row[: len(row) // self.size * self.size].reshape(-1, self.size) for row in line]
        return {"crops": crops, "found": np.array([[(crop.sum(axis=1) > 0).sum()] for crop in crops])}
"""

NAP = """
import time
from dataclasses import dataclass

@dataclass(frozen=True, slots=True, kw_only=True)
class Nap:
    def outputs(self, inputs):
        return {"next": inputs["number"], "done": ("BOOL", (1,))}

    def run(self, number):
        time.sleep(0.01)  # the slow step itself: rounds that a request's timeout must end
        return {"next": number, "done": number <= 0}
"""

KEEP = """
from dataclasses import dataclass

@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    def outputs(self, inputs):
        return {"kept": inputs["word"]}

    def run(self, word):
        return {"kept": word}
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def models(repository):
    """A model of two rows at a time that refuses negative numbers, and one of crops."""
    careful = "x * 100 if (x >= 0).all() else refuse('a negative number')"
    sizes = {"max_batch_size": 2}
    return {
        "expensive": write_python_model(repository, "expensive", careful, tensors=(FLOAT, FLOAT), **sizes),
        "halve": write_python_model(repository, "halve", "x / 2", tensors=(FLOAT, FLOAT), **sizes),
        "crop_sum": write_python_model(
            repository,
            "crop_sum",
            "x.sum(axis=1, keepdims=True) if len(x) <= 2 and (x != 13).all() else refuse('13 or too many')",
            tensors=(wire("FP32", -1), FLOAT),
            **sizes,
        ),
    }


@pytest.fixture(scope="module")
def server(repository, models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    write_meeting(repository, models, tmp_path_factory.mktemp("meeting"))
    made = (
        cascade(models),
        crops(models, folder),
        loop(models, folder),
        words(folder),
        meeting(models),
        absent(models),
        *(exactly(models, name, **condition) for name, condition in EXACTLY.items()),
        zeros(folder),
        naps(folder),
    )
    for compiled in made:
        write_compiled(repository, compiled)
    with EmbeddedServer(repository) as server:
        outcomes = server.load_all()
        assert all(outcome.is_ready for outcome in outcomes), outcomes
        yield server


@pytest.fixture(scope="module")
def client(server):
    with Client(f"grpc://{server.grpc_url}") as client:
        yield client


def cascade(models):
    """Numbers of at least 0.5 go through the expensive model, in a block of its own; the others stay as they are."""
    block = BlockStage(
        kind="when",
        control=When(wire="score", is_at_least=0.5, otherwise={"better": OtherWire(wire="score"), "halved": -1}),
        stages=(called(models["expensive"], x="score", y="better"), called(models["halve"], x="score", y="halved")),
        wires={"score": FLOAT, "better": FLOAT, "halved": FLOAT},
        inputs={"score": "score"},
        outputs={"better": "answer", "halved": "half"},
        name="unsure",
    )
    compiled = part("cascade", [block], reads=["score"], writes=["answer", "half"])
    return control_model(compiled, PIPELINE, {"score": FLOAT, "answer": FLOAT, "half": FLOAT})


def crops(models, folder):
    """Pairs of a line's numbers are summed by a model, and put back; only as many as the step counted."""
    wires = {
        "line": wire("FP32", -1),
        "crops": wire("FP32", -1, 2),
        "found": wire("INT64", 1),
        "sums": wire("FP32", -1),
    }
    cut = step(folder, "cut", CUT, inputs={"line": "line"}, outputs={"crops": "crops", "found": "found"})
    block = BlockStage(
        kind="for_each",
        control=ForEach(items={"crop": "crops"}, count="found", pad={"sum": -1}),
        stages=(called(models["crop_sum"], x="crop", y="sum"),),
        wires={"crops": wires["crops"], "found": wires["found"], "crop": wire("FP32", 2), "sum": FLOAT},
        inputs={"crops": "crops", "found": "found"},
        outputs={"sum": "sums"},
        name="each_crop",
    )
    compiled = part("crops", [cut, block], reads=["line"], writes=["sums", "found"])
    return control_model(compiled, PIPELINE, wires)


def loop(models, folder):
    """Halved until it is below 1, ten times at most."""
    surety = step(folder, "surety", UNSURE, inputs={"value": "halved"}, outputs={"sure": "small"})
    block = BlockStage(
        kind="repeat",
        control=Repeat(carry={"halved": "number"}, until="small", at_most=10),
        stages=(called(models["halve"], x="number", y="halved"), surety),
        wires={"number": FLOAT, "halved": FLOAT, "small": wire("BOOL", 1)},
        inputs={"number": "number"},
        outputs={"halved": "last", "small": "small"},
        name="again",
    )
    compiled = part("loop", [block], reads=["number"], writes=["last", "small"])
    return control_model(compiled, PIPELINE, {"number": FLOAT, "last": FLOAT, "small": wire("BOOL", 1)})


def words(folder):
    """A word for rows that are true, with a block inside a block: the items of true rows only."""
    inner = BlockStage(
        kind="for_each",
        control=ForEach(items={"value": "line"}),
        stages=(step(folder, "surety", UNSURE, inputs={"value": "value"}, outputs={"sure": "small"}),),
        wires={"line": wire("FP32", -1), "value": FLOAT, "small": wire("BOOL", 1)},
        inputs={"line": "line"},
        outputs={"small": "smalls"},
        name="each",
    )
    outer = BlockStage(
        kind="when",
        control=When(wire="kind", equals="numbers", otherwise={"smalls": False}),
        stages=(inner,),
        wires={"line": wire("FP32", -1), "kind": wire("BYTES", 1), "smalls": wire("BOOL", -1)},
        inputs={"line": "line", "kind": "kind"},
        outputs={"smalls": "smalls"},
        name="numbers_only",
    )
    wires = {"line": wire("FP32", -1), "kind": wire("BYTES", 1), "smalls": wire("BOOL", -1)}
    compiled = part("words", [outer], reads=["line", "kind"], writes=["smalls"])
    return control_model(compiled, PIPELINE, wires)


def write_meeting(repository, models, place):
    """Two models that answer only while both are asked."""
    for name, other in (("left", "right"), ("right", "left")):
        wait = f"meet({str(place / name)!r}, {str(place / other)!r}, x)"
        models[name] = write_python_model(repository, name, wait, tensors=(FLOAT, FLOAT), max_batch_size=8)


def meeting(models):
    """Both of them, neither waiting for the other's answer."""
    stages = [called(models["left"], x="number", y="one"), called(models["right"], x="number", y="other")]
    compiled = part("meeting", stages, reads=["number"], writes=["one", "other"])
    return control_model(compiled, PIPELINE, {"number": FLOAT, "one": FLOAT, "other": FLOAT})


EXACTLY = {
    "at_least": {"is_at_least": 0.9, "if_nan": "holds"},
    "above": {"is_above": 0.9, "if_nan": "otherwise"},
    "equal": {"equals": 0.9},
}


def exactly(models, name, **condition):
    """A number that goes through the expensive model if it compares so, and is -1 if it does not."""
    block = BlockStage(
        kind="when",
        control=When(wire="score", otherwise={"better": -1}, **condition),
        stages=(called(models["expensive"], x="score", y="better"),),
        wires={"score": FLOAT, "better": FLOAT},
        inputs={"score": "score"},
        outputs={"better": "answer"},
        name=name,
    )
    return control_model(
        part(name, [block], reads=["score"], writes=["answer"]), PIPELINE, {"score": FLOAT, "answer": FLOAT}
    )


def zeros(folder):
    """Of each word of a line: "a" with a zero byte after it is kept, and others become "b" with one."""
    line, word = wire("BYTES", -1), wire("BYTES", 1)
    inner = BlockStage(
        kind="when",
        control=When(wire="word", equals="a\0", otherwise={"kept": "b\0"}),
        stages=(step(folder, "keep", KEEP, inputs={"word": "word"}, outputs={"kept": "kept"}),),
        wires={"word": word, "kept": word},
        inputs={"word": "word"},
        outputs={"kept": "kept"},
        name="known",
    )
    outer = BlockStage(
        kind="for_each",
        control=ForEach(items={"word": "line"}),
        stages=(inner,),
        wires={"line": line, "word": word, "kept": word},
        inputs={"line": "line"},
        outputs={"kept": "kept"},
        name="each_word",
    )
    return control_model(
        part("zeros", [outer], reads=["line"], writes=["kept"]), PIPELINE, {"line": line, "kept": line}
    )


def naps(folder):
    """Rounds of a hundredth of a second: 10,000 for a positive number, one for others."""
    block = BlockStage(
        kind="repeat",
        control=Repeat(carry={"next": "number"}, until="done", at_most=10_000),
        stages=(step(folder, "nap", NAP, inputs={"number": "number"}, outputs={"next": "next", "done": "done"}),),
        wires={"number": FLOAT, "next": FLOAT, "done": wire("BOOL", 1)},
        inputs={"number": "number"},
        outputs={"next": "last"},
        name="rounds",
    )
    return control_model(
        part("naps", [block], reads=["number"], writes=["last"]), PIPELINE, {"number": FLOAT, "last": FLOAT}
    )


def absent(models):
    """A version that is not there."""
    stage = replace(called(models["halve"], x="number", y="half"), version=7)
    compiled = part("absent", [stage], reads=["number"], writes=["half"])
    return control_model(compiled, PIPELINE, {"number": FLOAT, "half": FLOAT})


def test_models_that_do_not_wait_for_one_another_are_called_at_once(client):
    assert client.model("meeting").infer({"number": floats(1, 2)})["other"].ravel().tolist() == [1, 2]


def refused(server, model, number, **parameters):
    """The status and the message of a refused request."""
    tensor = {"name": "number", "datatype": "FP32", "shape": [1, 1], "data": [number]}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"http://{server.http_url}/v2/models/{model}/infer", body, timeout=20)
    return raised.value.code, json.load(raised.value)["error"]


def test_a_version_that_is_not_there_is_named_and_unavailable(server):
    status, message = refused(server, "absent", 1)
    assert "model 'halve' version 7" in message
    assert status == 503


def test_nobody_keeps_the_rounds_going_who_does_not_wait_for_them(client):
    """Each instance gets work for longer than the test may take; afterwards both are there for others."""
    for number in (1, 2, 3):
        with pytest.raises(DeadlineExceededError):
            client.model("naps").infer({"number": floats(number)}, timeout_s=0.3)
    assert client.model("naps").infer({"number": floats(0, -1)}, timeout_s=10)["last"].tolist() == [[0], [-1]]


def test_a_request_ends_with_its_own_timeout(server):
    for _ in range(3):  # more than the model has instances
        status, message = refused(server, "naps", 1, timeout=300_000)
        assert message == "block 'rounds', the request: Request timeout expired"
        assert status == 503


def test_the_expensive_model_sees_only_the_rows_that_need_it(client):
    answer = client.model("cascade").infer({"score": floats(0.1, 0.5, 7, -3, 2, 0.9)})
    assert answer["answer"].ravel().tolist() == pytest.approx([0.1, 50, 700, -3, 200, 90])
    assert answer["half"].ravel().tolist() == pytest.approx([-1, 0.25, 3.5, -1, 1, 0.45])


def test_where_no_row_needs_it_nobody_is_called(client):
    answer = client.model("cascade").infer({"score": floats(0.1, 0.2)})
    np.testing.assert_array_equal(answer["answer"], floats(0.1, 0.2))


@pytest.mark.parametrize(
    ("model", "score", "holds"),
    [
        ("at_least", 0.9, True),
        ("above", 0.9, False),
        ("equal", 0.9, True),
        ("at_least", np.nan, True),
        ("above", np.nan, False),
    ],
)
def test_a_condition_compares_values_of_the_wires_datatype_and_nan_as_it_is_told(client, model, score, holds):
    refused = holds and np.isnan(score)  # the expensive model takes no NaN, and so tells that it was asked
    if refused:
        with pytest.raises(RepoClientError, match="a negative number"):
            client.model(model).infer({"score": floats(score)})
        return
    answer = client.model(model).infer({"score": floats(score)})["answer"].ravel().tolist()
    assert answer == pytest.approx([score * 100 if holds else -1])


def test_bytes_keep_their_zeros_in_blocks(client):
    line = np.array([[b"a\0", b"a", b"c"]], dtype=object)
    assert client.model("zeros").infer({"line": line})["kept"].tolist() == [[b"a\0", b"b\0", b"b\0"]]


def test_nan_is_refused_with_its_row_where_nothing_is_said_of_it(client):
    with pytest.raises(RepoClientError, match="block 'equal', row 1: 'score' is NaN"):
        client.model("equal").infer({"score": floats(0.9, np.nan)})


def test_crops_of_one_image_come_back_in_their_place(client):
    line = np.array([[1, 2, 3, 4, 5, 6, -9, 1, -9, 2]], dtype=np.float32)
    answer = client.model("crops").infer({"line": line})
    assert answer["sums"].tolist() == [[3, 7, 11, -1, -1]]
    assert answer["found"].tolist() == [[3]]


def test_an_image_without_crops_gets_an_answer_without_any(client):
    assert client.model("crops").infer({"line": floats(5)})["sums"].shape == (1, 0)


def test_each_row_leaves_the_loop_by_itself(client):
    answer = client.model("loop").infer({"number": floats(0.5, 3, 900, 1990)})
    assert answer["last"].ravel().tolist() == pytest.approx([0.25, 0.75, 900 / 1024, 1990 / 1024])
    assert answer["small"].ravel().tolist() == [True, True, True, False]


def test_a_block_inside_a_block_has_its_rows(client):
    lines = np.array([[0, 2], [0, 2], [5, 0]], dtype=np.float32)
    kinds = np.array([[b"numbers"], [b"others"], [b"numbers"]], dtype=object)
    with pytest.raises(RepoClientError, match="differ in shape"):
        client.model("words").infer({"line": lines, "kind": kinds})
    answer = client.model("words").infer({"line": lines[::2], "kind": kinds[::2]})
    assert answer["smalls"].tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        ("loop", floats(1, 5000), "block 'again', step 'surety', row 1: 2500 is too much"),
        (
            "crops",
            np.array([[1, 2, 13, 4]], np.float32),
            "block 'each_crop', model 'crop_sum' version 1, row 0, item 1: 13",
        ),
    ],
)
def test_a_failure_names_block_step_and_row(client, model, inputs, words):
    tensor = {"loop": "number", "crops": "line"}[model]
    with pytest.raises(RepoClientError) as raised:
        client.model(model).infer({tensor: inputs})
    assert words in str(raised.value)


def test_only_the_request_with_the_bad_row_fails(client):
    """Many at once, so that Triton batches them; each counts its own rows."""
    answers: dict[int, object] = {}

    def ask(sender: int) -> None:
        rows = floats(sender, 3000 if sender == 5 else 0.5)
        try:
            answers[sender] = client.model("loop").infer({"number": rows})["last"].ravel().tolist()
        except RepoClientError as error:
            answers[sender] = str(error)

    threads = [threading.Thread(target=ask, args=(sender,)) for sender in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "block 'again', step 'surety', row 1: 1500 is too much" in str(answers.pop(5))
    assert all(isinstance(answer, list) for answer in answers.values()), answers


def test_a_model_with_many_answers_is_refused(models):
    many = replace(models["halve"], decoupled=True)
    stages = [called(many, x="number", y="last")]
    with pytest.raises(PipelineError, match="is decoupled and cannot be called"):
        control_model(
            part("many", stages, reads=["number"], writes=["last"]), PIPELINE, {"number": FLOAT, "last": FLOAT}
        )
