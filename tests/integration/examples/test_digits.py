# SPDX-License-Identifier: Apache-2.0
"""``examples/digits``: PNG files of any size go in, and words come out, as in training."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from repo_client import RefusedRequestError
from support.command import repo_tool
from support.examples import MODELS, ROOT, ServedExample, run_in, serving, train, words

REFERENCE = f"{ROOT / 'digits/train.py'}:preprocess"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The example after its training script and both of its commands."""
    folder = tmp_path_factory.mktemp("digits")
    train("digits", folder)
    run_in(
        folder, "add-model", "digit_cnn.pt2", "--name", "digit_cnn", "--sample", "digit_cnn.sample.npz", "--cores", "1"
    )
    told = run_in(folder, "add-pipeline", "pipeline.yaml", "--sample", "sample", "--reference", REFERENCE, "--json")
    (folder / "told.json").write_text(told)
    return folder


@pytest.fixture(scope="module")
def example(folder):
    with serving(folder, json.loads((folder / "told.json").read_text())) as served:
        yield served


def picture(example: ServedExample, row: dict) -> bytes:
    return (example.folder / row["picture"]).read_bytes()


def test_every_picture_of_the_test_set_is_answered_as_in_training(example):
    rows = example.answers
    given = example.ask("image", [picture(example, row) for row in rows])
    assert given.keys() == {"label", "probability", "top_labels", "top_probabilities"}
    assert words(given["label"]) == [row["answered"][0] for row in rows]
    assert [[label.decode() for label in labels] for labels in given["top_labels"]] == [row["answered"] for row in rows]
    wanted = [row["probabilities"] for row in rows]
    np.testing.assert_allclose(given["top_probabilities"], wanted, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(given["probability"], given["top_probabilities"][:, :1])
    assert len(rows) == 450
    assert sum(row["answered"][0] == row["digit"] for row in rows) >= 430


def test_a_webp_without_loss_is_answered_alike(example):
    rows = example.answers[:20]
    stored = [stored_as(picture(example, row), "WEBP", lossless=True) for row in rows]
    given = example.ask("image", stored)
    assert words(given["label"]) == [row["answered"][0] for row in rows]


def stored_as(encoded: bytes, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.open(io.BytesIO(encoded)).save(stream, format=kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda png: png[:40], base64.b64encode], ids=["empty", "cut", "text"]
)
def test_a_picture_that_does_not_read_is_refused_by_step_and_row(example, damage):
    whole = picture(example, example.answers[0])
    with pytest.raises(RefusedRequestError, match="step 'decode_image', row 0: not a readable image"):
        example.ask_one("image", damage(whole))
    assert words(example.ask_one("image", whole)["label"]) == [example.answers[0]["answered"][0]]


def test_a_pipeline_that_resizes_otherwise_than_the_training_is_not_published(folder):
    text = (folder / "pipeline.yaml").read_text()
    skewed = text.replace("interpolation: bilinear", "interpolation: bicubic").replace("digit_reader", "skewed_reader")
    (folder / "skewed.yaml").write_text(skewed)
    done = repo_tool(
        *("add-pipeline", "skewed.yaml", "--sample", "sample", "--reference", REFERENCE, "--repository", MODELS),
        cwd=folder,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "step 'resize'" in done.stdout + done.stderr
    assert not (folder / MODELS / "skewed_reader").exists()


def test_the_committed_pictures_are_those_that_are_drawn(folder):
    for drawn in sorted((folder / "sample").iterdir()):
        committed = np.asarray(Image.open(ROOT / "digits/sample" / drawn.name))
        np.testing.assert_array_equal(committed, np.asarray(Image.open(drawn)))
