# SPDX-License-Identifier: Apache-2.0
"""A pipeline that does otherwise than the training code is not published, and the step that does so is named."""

import json
from importlib import metadata

import numpy as np
import pytest

from repo_tool.errors import ParityError, PipelineError
from repo_tool.workflows.add_pipeline import AddPipelineRequest, add_pipeline
from repo_tool.workflows.progress import RecordedProgress
from support.colour_reader import write_workshop
from support.command import everything_in, repo_tool

# The same arithmetic in numpy, which gives other last bits than ONNX Runtime's sigmoid.
SQUASHED = """
name: squashed
inputs:
  image: {datatype: BYTES, dims: [1]}
steps:
  - use: decode_image
    with: {height: 8, width: 8}
  - use: normalise
    with: {mean: [0.4, 0.45, 0.5], std: [0.2, 0.25, 0.3]}
  - use: sigmoid
    inputs: {logits: tensor}
  - model: colours
    inputs: {x: probabilities}
outputs: [logits]
"""
SQUASH = """
import io

import numpy as np
from PIL import Image

MEAN, STD = np.array([0.4, 0.45, 0.5], dtype=np.float32), np.array([0.2, 0.25, 0.3], dtype=np.float32)


def squash(image):
    pixels = np.asarray(Image.open(io.BytesIO(image)).resize((8, 8), Image.Resampling.BILINEAR), dtype=np.float32)
    tensor = ((pixels / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)
    small = np.exp(-np.abs(tensor))
    return np.where(tensor >= 0, 1, small) / (1 + small)
"""
NUMBERS = """
name: numbers
inputs:
  ids: {datatype: INT64, dims: [2]}
  values: {datatype: FP32, dims: [2]}
steps:
  - use: cast
    name: whole
    with: {datatype: INT64}
    inputs: {values: ids}
    outputs: {cast: whole}
  - use: cast
    name: half
    with: {datatype: FP16}
    outputs: {cast: half}
outputs: [whole, half]
"""
OFF_BY_ONE = """
def off_by_one(ids, values):
    return {"whole": ids + 1, "half": values}
"""
RESIZED_DIFFERS = ["'resize'", "resized", "6", "of", "6"]
TENSOR_DIFFERS = ["'normalise'", "tensor", "6", "of", "6"]
ONE_MORE = pytest.mark.slow(reason="a further mismatch, which takes a search for its cause")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """The files of the colour reader, and a repository with its model."""
    folder = tmp_path_factory.mktemp("skew")
    write_workshop(folder)
    (folder / "squashed.yaml").write_text(SQUASHED)
    (folder / "squash.py").write_text(SQUASH)
    (folder / "numbers.yaml").write_text(NUMBERS)
    (folder / "off_by_one.py").write_text(OFF_BY_ONE)
    np.savez(
        folder / "numbers.npz",
        ids=np.int64([[2**53, 2**53 + 2], [-(2**62), 2**62], [0, 1]]),
        values=np.float32([[0.1, 1000.3], [2049, 3.3333], [0, -7.77]]),
    )
    done = repo_tool("add-model", "colours.onnx", "-n", "colours", "-r", "models", "--max-batch-size", 4, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def tried(workshop, function, *, file="colours.yaml", code="train.py", sample="pictures", **more):
    request = AddPipelineRequest(
        file=workshop / file,
        sample=workshop / sample,
        repository=workshop / "models",
        reference=f"{workshop / code}:{function}",
        dry_run=True,
        **more,
    )
    return add_pipeline(request, RecordedProgress())


@pytest.mark.parametrize(
    ("function", "first", "looks_like", "table"),
    [
        (
            "bgr",
            "first in step 'resize', which writes 'resized'",
            "looks like BGR and RGB swapped",
            [RESIZED_DIFFERS, TENSOR_DIFFERS],
        ),
        pytest.param(
            "bgr_model_input",
            "first in step 'normalise', which writes 'tensor'",
            "looks like BGR and RGB swapped",
            [TENSOR_DIFFERS],
            marks=ONE_MORE,
        ),
        pytest.param(
            "other_mean",
            "first in step 'normalise', which writes 'tensor'",
            "looks like another mean: with mean: [0.485, 0.456, 0.406] in step 'normalise' they agree",
            [["'resize'", "resized", "0", "of", "6"], TENSOR_DIFFERS],
            marks=ONE_MORE,
        ),
        pytest.param(
            "other_interpolation",
            "first in step 'normalise', which writes 'tensor'",
            "looks like another interpolation: with interpolation: bicubic in step 'resize' they agree",
            [TENSOR_DIFFERS],
            marks=ONE_MORE,
        ),
        (
            "other_words",
            "first in step 'top_k_labels', which writes 'label'",
            "'label'",
            [["'top_k_labels'", "label", "6", "of", "6"]],
        ),
    ],
)
def test_a_mismatch_is_caught_and_named(workshop, function, first, looks_like, table):
    before = everything_in(workshop / "models")
    with pytest.raises(ParityError) as raised:
        tried(workshop, function)
    assert first in raised.value.fact
    assert raised.value.fact.endswith(looks_like)
    assert "6 of 6 rows differ, most in row " in raised.value.cause
    assert [line.split()[1:6] for line in raised.value.cause.splitlines() if line.startswith("step '")] == table
    assert everything_in(workshop / "models") == before


def test_final_wires_are_held_to_what_their_types_can_hold(workshop):
    with pytest.raises(ParityError, match="first in step 'whole', which writes 'whole'") as raised:
        tried(workshop, "off_by_one", file="numbers.yaml", code="off_by_one.py", sample="numbers.npz")
    assert raised.value.fact.endswith("'whole'")
    table = [line.split()[1:6] for line in raised.value.cause.splitlines() if line.startswith("step '")]
    assert table == [["'whole'", "whole", "3", "of", "3"], ["'half'", "half", "0", "of", "3"]]


def test_what_is_tolerated_passes(workshop):
    added = tried(workshop, "other_mean", tolerances={"tensor": 10.0})
    assert added.skew.first_that_differs is None
    assert added.skew.wires[-1].largest_absolute > 0.1


def test_training_code_that_agrees_lets_it_be_published(workshop):
    done = repo_tool(
        *("add-pipeline", "colours.yaml", "-s", "pictures", "-r", "models", "--reference", "train.py:preprocess"),
        cwd=workshop,
    )
    assert done.returncode == 0, done.stderr
    assert "compared with train.py:preprocess, 6 rows" in done.stdout
    assert sorted(path.name for path in (workshop / "models").iterdir()) == [
        "colour_reader",
        "colour_reader_model",
        "colour_reader_pre",
        "colours",
    ]
    facts = json.loads((workshop / "models" / "colour_reader" / "1" / "provenance.json").read_text())
    assert facts["member_versions"] == {"colours": 1}
    assert facts["pipeline_digest"].startswith("sha256:")
    used = ("numpy", "opencv-python-headless", "pillow")
    assert facts["tools"] == {name: metadata.version(name) for name in used}
    assert facts["reference"]["source"] == "train.py:preprocess"
    assert facts["reference"]["digest"].startswith("sha256:")
    assert [(wire["wire"], wire["rows_that_differ"]) for wire in facts["reference"]["wires"]] == [
        ("resized", 0),
        ("tensor", 0),
    ]


def test_what_the_reference_does_not_tell_cannot_be_tolerated(workshop):
    with pytest.raises(PipelineError, match="'pixels' is tolerated"):
        tried(workshop, "preprocess", tolerances={"pixels": 1.0})


def test_what_is_compared_is_what_the_merged_graph_computes(workshop):
    added = tried(workshop, "squash", file="squashed.yaml", code="squash.py")
    (wire,) = added.skew.wires
    assert (wire.wire, wire.step, wire.is_final) == ("probabilities", "step 'sigmoid'", False)
    assert 0 < wire.largest_absolute < 1e-6
    assert added.skew.untried == ()
