# SPDX-License-Identifier: Apache-2.0
"""``examples/detector``: a picture becomes JSON with the boxes in it, as the training script's own loops have them."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from repo_client import RefusedRequestError
from support.command import repo_tool
from support.examples import ROOT, add, run_in, serving, train

pytestmark = pytest.mark.slow

# What JSON leaves of a number is half of its last place off at most; torch and ONNX Runtime differ in the sixth digit.
BOX_WITHIN, SCORE_WITHIN = 0.05 + 1e-3, 0.0005 + 1e-5


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    train("detector", folder)
    models = {name: (f"{name}.pt2", "--sample", f"{name}.sample.npz") for name in ("shapes", "colours")}
    told = add(folder, models, "pictures", reference="detector")
    run_in(folder, "add-pipeline", "with_colours.yaml", "--sample", "pictures")
    with serving(folder, told) as served:
        yield served


@pytest.fixture(scope="module")
def with_colours(example):
    return dataclasses.replace(example, pipeline="coloured_shape_finder")


def things_in(served, pictures):
    return [json.loads(text)["things"] for (text,) in served.ask("image", pictures)["json"]]


def pictures_of(example):
    return [(example.folder / "test" / row["picture"]).read_bytes() for row in example.answers]


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return stream.getvalue()


def check(found, answers, words):
    for things, answer in zip(found, answers, strict=True):
        trained = answer["found"]
        assert all(thing.keys() == {"box", "score", *words} for thing in things)
        assert [[thing[word] for word in words] for thing in things] == [
            [each[word] for word in words] for each in trained
        ]
        for thing, each in zip(things, trained, strict=True):
            np.testing.assert_allclose(thing["box"], each["box"], rtol=0, atol=BOX_WITHIN)
            np.testing.assert_allclose(thing["score"], each["score"], rtol=0, atol=SCORE_WITHIN)


def test_every_picture_of_the_test_set_is_answered_as_in_training(example):
    check(things_in(example, pictures_of(example)), example.answers, ["shape"])
    assert sum(len(answer["found"]) for answer in example.answers) > 250


def test_a_second_model_tells_the_colour_of_each_thing_as_in_training(example, with_colours):
    check(things_in(with_colours, pictures_of(example)), example.answers, ["shape", "colour"])
    colours = [thing["colour"] for answer in example.answers for thing in answer["found"]]
    assert len(set(colours)) == 4
    pairs = [(answer["drawn"], answer["found"]) for answer in example.answers]
    assert sum(sorted_colours(drawn) == sorted_colours(found) for drawn, found in pairs) > 0.8 * len(pairs)


def sorted_colours(things):
    return sorted(thing["colour"] for thing in things)


def test_a_picture_without_anything_has_no_things(example, with_colours):
    nothing = png(np.full((120, 90, 3), 128, dtype=np.uint8))
    assert things_in(example, [nothing]) == things_in(with_colours, [nothing]) == [[]]


def test_a_picture_of_any_form_is_answered(example):
    forms = [(1, 1, 3), (2, 400, 3), (300, 1, 3)]
    answered = things_in(example, [png(np.zeros(form, dtype=np.uint8)) for form in forms])
    for form, things in zip(forms, answered, strict=True):
        assert all(0 <= side <= max(form[:2]) for thing in things for side in thing["box"])


def test_what_is_no_picture_is_refused_by_step_and_row(example, with_colours):
    good = pictures_of(example)[0]
    for served in (example, with_colours):
        with pytest.raises(RefusedRequestError, match="step 'decode_image', row 1: "):
            served.ask("image", [good, good[:200]])
        assert things_in(served, [good])[0]


def test_its_repository_is_without_complaint(example):
    done = repo_tool("validate", "models", "--release", "26.07", "--strict", cwd=example.folder)
    assert done.returncode == 0, done.stdout


def test_the_raw_samples_are_those_that_training_writes(example):
    written = sorted((example.folder / "pictures").iterdir())
    assert [path.name for path in written] == [path.name for path in sorted((ROOT / "detector" / "pictures").iterdir())]
    for path in written:
        with Image.open(path) as ours, Image.open(ROOT / "detector" / "pictures" / path.name) as kept:
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(kept))
