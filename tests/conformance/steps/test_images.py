# SPDX-License-Identifier: Apache-2.0
"""The steps that work on pictures, each against the library whose convention it has."""

import io

import pytest
from PIL import Image

from conformance.steps.cases_images import png
from repo_tool.pipelines.catalogue import step_kind
from support.step_cases import rows_of_bytes


def small_decoder():
    return step_kind("decode_image").with_parameters({"height": 2, "width": 2, "mode": "L"})


@pytest.mark.parametrize(
    "encoded", [b"", b"not a picture", png(1)[:60]], ids=["nothing", "something else", "half a picture"]
)
def test_a_row_that_is_no_picture_is_named(encoded):
    with pytest.raises(ValueError, match="row 1: not a readable image"):
        small_decoder().run({"image": rows_of_bytes(png(1), encoded)})


def test_a_picture_too_large_is_refused_before_it_is_unpacked():
    stream = io.BytesIO()
    Image.new("1", (8_000, 8_000)).save(stream, format="PNG")
    with pytest.raises(ValueError, match="row 0: the image has 8000 x 8000 pixels, too many"):
        small_decoder().run({"image": rows_of_bytes(stream.getvalue())})
