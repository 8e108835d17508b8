# SPDX-License-Identifier: Apache-2.0
"""``repo-tool add-pipeline``: a picture goes in and a word comes out, or nothing is published."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repo_client import Client, RefusedRequestError, RepoClientError
from repo_tool.repository.layout import ModelRepository
from repo_tool.triton.server import EmbeddedServer
from support.command import everything_in, repo_tool

WORDS = ("dark", "light")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A repository with a model of 2 x 2 pictures, a pipeline file, and pictures."""
    folder = tmp_path_factory.mktemp("workshop")
    write_brightness_model(folder / "brightness.onnx")
    done = repo_tool(
        *("add-model", folder / "brightness.onnx", "-n", "brightness", "-r", folder / "models", "--max-batch-size", 8)
    )
    assert done.returncode == 0, done.stderr
    (folder / "pictures").mkdir()
    for index, grey in enumerate((0, 60, 190, 255)):
        (folder / "pictures" / f"{index}.png").write_bytes(picture(grey))
    (folder / "words.txt").write_text("\n".join(WORDS))
    (folder / "reader.yaml").write_text(
        "name: reader\n"
        "inputs:\n"
        "  image: {datatype: BYTES, dims: [1]}\n"
        "steps:\n"
        "  - use: decode_image\n"
        "    with: {height: 2, width: 2, mode: L}\n"
        "  - use: normalise\n"
        "    with: {mean: [0.5], std: [1.0]}\n"
        "  - model: brightness\n"
        "    inputs: {picture: tensor}\n"
        "  - use: softmax\n"
        "  - use: top_k_labels\n"
        "    with: {k: 2, labels: {file: words.txt}}\n"
        "outputs: [label, probability, top_labels]\n"
    )
    return folder


def write_brightness_model(path: Path) -> None:
    """Logits [batch, 2] of pictures [batch, 1, 2, 2]: minus and plus the mean."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["picture"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "brightness",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.array([[-1, 1]] * 4, dtype=np.float32), "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def picture(grey: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), grey).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def added(workshop):
    done = repo_tool(
        *("add-pipeline", "reader.yaml", "--sample", "pictures", "--repository", "models", "--json"), cwd=workshop
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def client(workshop, added):
    with EmbeddedServer(workshop / "models") as server:
        assert all(outcome.is_ready for outcome in server.load_all())
        with Client(f"grpc://{server.grpc_url}") as client:
            yield client


def test_it_is_published_as_an_ensemble_and_its_step_models(added, workshop):
    assert added["models"] == ["reader_pre", "reader_model", "reader"]
    assert added["max_batch_size"] == 8
    names = [path.name for path in sorted((workshop / "models").iterdir())]
    assert names == ["brightness", "reader", "reader_model", "reader_pre"]


def test_it_was_proven_against_its_steps(added):
    assert added["parity"]["batch_sizes"] == [1, 2, 3, 8]
    assert all(output["equal"] for output in added["parity"]["outputs"])


def test_what_is_known_of_it_can_be_shown_and_verified(added, workshop):
    shown = repo_tool("show", "reader", "-r", "models", cwd=workshop)
    assert shown.returncode == 0, shown.stderr
    for words in ("takes │ image", "BYTES [-1, 1]", "3 as published", "compared with its steps"):
        assert words in shown.stdout
    part = repo_tool("show", "reader_pre", "-r", "models", cwd=workshop)
    assert "pipeline reader" in part.stdout
    assert "NOT PROVEN" not in part.stdout
    verified = repo_tool("verify", "reader", "--serve", "-r", "models", cwd=workshop)
    assert verified.returncode == 0, verified.stderr
    refused = repo_tool("verify", "reader_pre", "--serve", "-r", "models", cwd=workshop)
    assert refused.returncode == 2
    assert "repo-tool verify reader" in refused.stderr


def test_a_picture_becomes_a_word(client):
    rows = np.array([[picture(0)], [picture(255)], [picture(200)]], dtype=object)
    answer = client.model("reader").infer({"image": rows})
    assert answer["label"].ravel().tolist() == [b"dark", b"light", b"light"]
    assert answer["top_labels"][1].tolist() == [b"light", b"dark"]
    assert answer["probability"][1, 0] == pytest.approx(np.exp(2) / (np.exp(2) + np.exp(-2)), abs=1e-5)


def test_a_row_that_is_no_picture_is_named_and_the_server_lives(client):
    rows = np.array([[picture(0)], [b"no picture"]], dtype=object)
    with pytest.raises(RepoClientError) as raised:
        client.model("reader").infer({"image": rows})
    assert isinstance(raised.value, RefusedRequestError), raised.value
    assert "step 'decode_image', row 1: not a readable image" in str(raised.value)
    assert client.model("reader").infer({"image": rows[:1]})["label"].tolist() == [[b"dark"]]


def test_adding_it_again_publishes_a_further_version(workshop, added, tmp_path):
    shutil.copytree(workshop / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    done = repo_tool(
        *("add-pipeline", workshop / "reader.yaml", "-s", workshop / "pictures", "-r", tmp_path / "models"),
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "models" / "reader_pre").iterdir()) == ["1", "2", "config.pbtxt"]
    steps = ModelRepository(tmp_path / "models").model("reader").read_config().ensemble_steps
    assert {step.model_name: step.model_version for step in steps} == {"reader_pre": 2, "reader_model": 2}
    assert not list((tmp_path / "models").rglob("__pycache__"))


def test_one_picture_is_a_sample_too(workshop, added):
    done = repo_tool("add-pipeline", "reader.yaml", "-s", "pictures/0.png", "-r", "models", "--dry-run", cwd=workshop)
    assert done.returncode == 0, done.stderr
    assert "nothing was published" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("height: 2", "height: 3", "takes FP32 [1, 2, 2] as 'picture' and gets FP32 [1, 3, 2]"),
        ("model: brightness", "model: darkness", "no model 'darkness'"),
        ("name: reader", "name: a b", "is not a model name"),
        ("file: words.txt", "file: absent.txt", "there is no file 'absent.txt'"),
    ],
)
def test_a_mistake_gets_one_message_and_leaves_nothing(workshop, added, old, new, words):
    before = everything_in(workshop / "models")
    (workshop / "wrong.yaml").write_text((workshop / "reader.yaml").read_text().replace(old, new))
    done = repo_tool("add-pipeline", "wrong.yaml", "-s", "pictures", "-r", "models", cwd=workshop)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert everything_in(workshop / "models") == before


@pytest.mark.parametrize(
    "sample",
    [
        "empty",
        *(pytest.param(each, marks=pytest.mark.slow(reason="one more")) for each in ("absent.npz", "reader.yaml")),
    ],
)
def test_a_sample_that_is_none_is_refused(workshop, added, sample):
    (workshop / "empty").mkdir(exist_ok=True)
    done = repo_tool("add-pipeline", "reader.yaml", "-s", sample, "-r", "models", cwd=workshop)
    assert done.returncode == 2, done.stderr
    assert "error: " in done.stderr


@pytest.mark.slow(reason="a pipeline of its own is proven")
def test_a_block_that_no_row_of_the_sample_enters_is_told_and_recorded(workshop, tmp_path):
    text = (workshop / "reader.yaml").read_text().replace("name: reader", "name: unsure")
    block = (
        "  - when: {wire: probability, is_below: 0.4, otherwise: {second: {wire: probabilities}}}\n"
        "    steps:\n"
        "      - use: softmax\n"
        "        outputs: {probabilities: second}\n"
        "outputs: [label, second]\n"
    )
    file = workshop / "unsure.yaml"
    file.write_text(text.replace("k: 2", "k: 1").replace("outputs: [label, probability, top_labels]\n", block))
    repository = shutil.copytree(workshop / "models", tmp_path / "models")
    added = repo_tool("add-pipeline", file, "--sample", workshop / "pictures", "-r", repository)
    assert added.returncode == 0, added.stderr
    assert "warning: 0 of 4 rows entered block 'when': what is inside is not proven" in added.stdout
    facts = json.loads((repository / "unsure" / "1" / "provenance.json").read_text())
    assert facts["blocks"] == {"when": {"rows": 4, "entered": 0}}
    assert "0 of 4 rows entered 'when'" in repo_tool("show", "unsure", "-r", repository).stdout
