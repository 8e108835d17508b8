# SPDX-License-Identifier: Apache-2.0
"""The steps that work on pictures: bad rows are named, and the numbers are those of the library that each names."""

import base64
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from conformance.steps.cases_images import FILES, FLOATS, PIXELS, encoded, png
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.wire import Wire
from support.step_cases import rows_of_bytes

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 30, 3), dtype=np.uint8))
PIL_FILTERS = {"nearest": "NEAREST", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "area": "BOX", "lanczos": "LANCZOS"}
CV_FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


def step(name, **parameters):
    return step_kind(name).with_parameters(parameters)


def decoded(*files, **parameters):
    return step("decode_image", **parameters).run({"image": rows_of_bytes(*files)})["pixels"]


def resized(pixels, **parameters):
    return step("resize", **parameters).run({"pixels": pixels})["resized"]


def small_decoder():
    return step("decode_image", height=2, width=2, mode="L")


def as_jpeg(**options):
    return encoded(PICTURE, "JPEG", **options)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return as_jpeg(exif=exif)


@pytest.mark.parametrize(
    "encoded_row",
    [b"", b"not a picture", png(1)[:60], as_jpeg()[:300], encoded(PICTURE, "WEBP")[:80], png(1)[:-30]],
    ids=["nothing", "something else", "half a PNG", "half a JPEG", "half a WebP", "a PNG without its end"],
)
def test_a_row_that_is_no_picture_is_named(encoded_row):
    with pytest.raises(ValueError, match=r"^row 1: not a readable image"):
        small_decoder().run({"image": rows_of_bytes(png(1), encoded_row)})


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM", "TGA"])
def test_a_format_that_nobody_asked_for_is_no_picture(kind):
    with pytest.raises(ValueError, match=r"^row 0: not a readable image"):
        decoded(encoded(PICTURE, kind))


def test_a_message_tells_no_address():
    with pytest.raises(ValueError, match=r"^row 0: ") as raised:
        decoded(b"not a picture")
    assert "0x" not in str(raised.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8_000, 12_000, 30_000])
def test_a_picture_too_large_is_refused_before_it_is_unpacked(side):
    bomb = encoded(Image.new("1", (side, 8_000)))
    with pytest.raises(ValueError, match=r"^row 0: the image has .*too many"):
        small_decoder().run({"image": rows_of_bytes(bomb)})


def test_a_picture_too_large_says_how_large_it_is():
    with pytest.raises(ValueError, match=r"^row 0: the image has 30 x 40 pixels, too many"):
        decoded(as_jpeg(), most_megapixels=0.001)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([png(1), as_jpeg(), encoded(PICTURE, "WEBP"), turned(6)]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    st.integers(0, 10_000),
)
def test_damaged_pictures_are_decoded_or_named(whole, changes, kept):
    damaged = bytearray(whole)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    damaged = bytes(damaged[: kept % (len(damaged) + 1)]) if kept % 2 else bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = small_decoder().run({"image": rows_of_bytes(damaged)})["pixels"]
        except ValueError as error:
            assert str(error).startswith("row 0: ")  # noqa: PT017  # either outcome is right
        else:
            assert pixels.shape == (1, 2, 2, 1)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP"]))
def test_any_bytes_are_named(tail, head):
    with pytest.raises(ValueError, match=r"^row 0: not a readable image"):
        decoded(head + tail)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_pixels_are_those_that_were_encoded(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    (pixels,) = decoded(encoded(PICTURE, kind, **options))
    np.testing.assert_array_equal(pixels, np.asarray(PICTURE))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_exif_says(orientation):
    (upright,) = decoded(turned(orientation))
    (lying,) = decoded(turned(orientation), exif_rotation=False)
    ways = {
        1: lying,
        2: lying[:, ::-1],
        3: lying[::-1, ::-1],
        4: lying[::-1],
        5: lying.transpose(1, 0, 2),
        6: np.rot90(lying, -1),
        7: lying[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(lying),
    }
    np.testing.assert_array_equal(upright, ways[orientation])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("source", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_becomes_the_one_asked_for_as_pillow_does_it(source, mode):
    picture = PICTURE.convert(source)
    (pixels,) = decoded(encoded(picture), mode=mode)
    np.testing.assert_array_equal(pixels, np.atleast_3d(np.asarray(picture.convert(mode))))


def test_grey_of_16_bits_is_refused_and_not_made_white():
    deep = encoded(Image.fromarray(np.arange(0, 48_000, 1000, dtype=np.uint16).reshape(6, 8)))
    for parameters in ({}, {"height": 6, "width": 8, "mode": "L"}):
        with pytest.raises(ValueError, match=r"^row 1: the image has more than 8 bits"):
            decoded(png(1), deep, **parameters)


def test_pictures_that_are_too_large_together_are_refused_before_any_is_unpacked():
    half = encoded(Image.new("L", (1_000, 600)))[:-30]  # which unpacking would refuse as damaged
    with pytest.raises(ValueError, match=r"^row 3: the images up to this one have 2.4 megapixels .* at most 2 are"):
        decoded(*[half] * 4, most_megapixels=1)
    assert decoded(*[encoded(Image.new("L", (1_000, 600)))] * 4, most_megapixels=1, height=2, width=2).shape[0] == 4


def test_pictures_that_would_become_too_large_together_are_refused():
    with pytest.raises(ValueError, match=r"^row 2: the pictures up to this one would become 3.0 megapixels"):
        resized([PIXELS[0][:7, :7]] * 3, shorter=1_000, most_megapixels=1)
    assert len(resized([PIXELS[0][:7, :7]] * 3, shorter=1_000, most_megapixels=1, most_megapixels_together=3)) == 3


def test_crops_that_would_be_too_large_together_are_refused():
    boxes = [np.zeros((many, 4), np.float32) for many in (9, 60, 40)]
    made = step("crop_boxes", height=100, width=100, most_megapixels=1)
    with pytest.raises(ValueError, match=r"^row 2: the crops up to this row are 1.1 megapixels"):
        made.run({"pixels": [PIXELS[0]] * 3, "boxes": boxes})
    assert [len(crops) for crops in made.run({"pixels": [PIXELS[0]] * 2, "boxes": boxes[:2]})["crops"]] == [9, 60]
    with pytest.raises(PipelineError, match="step 'crop_boxes' cannot work"):
        made.output_wires({"pixels": Wire(DataType.UINT8, (9, 7, 3)), "boxes": Wire(DataType.FP32, (101, 4))})


def test_a_jpeg_of_print_colours_is_read():
    (pixels,) = decoded(encoded(PICTURE.convert("CMYK"), "JPEG"))
    assert pixels.shape == (40, 30, 3)


@pytest.mark.parametrize(
    "wrapped", [base64.b64encode, base64.encodebytes, lambda b: b"data:image/png;base64," + base64.b64encode(b)]
)
def test_base64_is_read_with_line_ends_and_as_a_data_url(wrapped):
    (pixels,) = decoded(wrapped(FILES[0]), encoding="base64")
    np.testing.assert_array_equal(pixels, decoded(FILES[0])[0])


@pytest.mark.parametrize("text", [b"%%%", b"abc", FILES[0]])
def test_what_is_no_base64_is_named(text):
    with pytest.raises(ValueError, match=r"^row 0: not base64"):
        decoded(text, encoding="base64")


def test_base64_that_begins_as_many_data_urls_is_refused_in_no_time():
    with pytest.raises(ValueError, match=r"^row 0: not base64"):
        decoded(b"data:" * 400_000, encoding="base64")  # minutes, if each beginning were searched to the end


@pytest.mark.parametrize("size", [(5, 11), (40, 30), (90, 17), (1, 1)])
@pytest.mark.parametrize("interpolation", PIL_FILTERS)
def test_resizing_is_pillow_s(interpolation, size):
    (found,) = resized(np.asarray(PICTURE)[None], height=size[0], width=size[1], interpolation=interpolation)
    expected = PICTURE.resize(size[::-1], Image.Resampling[PIL_FILTERS[interpolation]])
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(5, 11), (40, 30), (90, 17), (1, 1)])
@pytest.mark.parametrize("interpolation", CV_FLAGS)
def test_resizing_is_opencv_s(interpolation, size, dtype):
    picture = np.asarray(PICTURE).astype(dtype)
    (found,) = resized(picture[None], height=size[0], width=size[1], interpolation=interpolation, library="opencv")
    np.testing.assert_array_equal(found, cv2.resize(picture, size[::-1], interpolation=CV_FLAGS[interpolation]))


def test_the_two_libraries_differ():
    pixels = np.asarray(PICTURE)[None]
    ours = [resized(pixels, height=8, width=8, library=library) for library in ("pil", "opencv")]
    assert np.abs(ours[0].astype(int) - ours[1]).max() > 20


@pytest.mark.parametrize("size", [(333, 500), (500, 333), (224, 224), (57, 1000)])
def test_the_longer_side_is_as_long_as_in_transformers(size):
    image_transforms = pytest.importorskip("transformers.image_transforms")
    picture = np.zeros((*size, 3), dtype=np.uint8)
    (found,) = resized([picture], shorter=224)
    assert found.shape[:2] == image_transforms.get_resize_output_image_size(
        picture, 224, default_to_square=False, input_data_format="channels_last"
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [((333, 500), (149, 224)), ((500, 333), (224, 149)), ((224, 224), (224, 224)), ((1, 999), (1, 224))],
)
def test_the_shorter_side_follows_the_longer_one(size, expected):
    (found,) = resized([np.zeros((*size, 3), dtype=np.uint8)], longer=224)
    assert found.shape[:2] == expected


def test_the_side_that_follows_may_be_rounded():
    (down,) = resized(np.zeros((1, 10, 15, 1), np.uint8), shorter=5)
    (nearest,) = resized(np.zeros((1, 10, 15, 1), np.uint8), shorter=5, other_side="round", library="opencv")
    assert (down.shape, nearest.shape) == ((5, 7, 1), (5, 8, 1))


@pytest.mark.parametrize(
    ("library", "interpolation", "antialias"),
    [("pil", "bilinear", False), ("opencv", "bicubic", True), ("pil", "nearest", True), ("opencv", "area", False)],
)
def test_an_antialias_that_the_library_does_not_have_is_refused(library, interpolation, antialias):
    with pytest.raises(PipelineError) as raised:
        step("resize", shorter=4, library=library, interpolation=interpolation, antialias=antialias)
    assert "antialias" in raised.value.cause


@pytest.mark.parametrize("parameters", [{}, {"height": 3}, {"shorter": 3, "longer": 3}, {"shorter": 0}])
def test_a_size_that_is_none_is_refused(parameters):
    with pytest.raises(PipelineError, match="'resize' do not fit"):
        step("resize", **parameters)


def test_a_row_that_cannot_be_resized_is_named():
    thin = np.zeros((1, 3_000, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"^row 1: it would become 224 x 672000 pixels, too many"):
        resized([PIXELS[0], thin], shorter=224)
    with pytest.raises(ValueError, match=r"^row 1: the picture is 0 x 7 pixels"):
        resized([PIXELS[0], np.zeros((0, 7, 3), np.uint8)], shorter=2)


@pytest.mark.parametrize("size", [(4, 4), (3, 7), (9, 6)])
def test_cropping_is_that_of_transformers(size):
    image_transforms = pytest.importorskip("transformers.image_transforms")
    found = step("centre_crop", height=size[0], width=size[1]).run({"pixels": PIXELS})["cropped"]
    expected = [image_transforms.center_crop(p, size, input_data_format="channels_last") for p in PIXELS]
    np.testing.assert_array_equal(found, expected)


# What `center_crop` of torchvision 0.28.0 gave.
@pytest.mark.parametrize(("over", "start"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3), (7, 4), (9, 4)])
def test_a_crop_begins_where_torchvision_was_seen_to_begin(over, start):
    ramp = np.arange(10 + over, dtype=np.uint8)[None, :, None, None].repeat(10, axis=2)
    found = step("centre_crop", height=10, width=10, convention="torchvision").run({"pixels": ramp})["cropped"]
    assert found[0, 0, 0, 0] == start


def test_a_picture_too_small_to_crop_or_too_large_to_pad_is_named():
    rows = [PIXELS[0], np.zeros((3, 20, 3), dtype=np.uint8)]
    with pytest.raises(ValueError, match=r"^row 1: the picture is 3 x 20 pixels, less than the 4 x 4"):
        step("centre_crop", height=4, width=4).run({"pixels": rows})
    with pytest.raises(ValueError, match=r"^row 1: the picture is 3 x 20 pixels, more than the 9 x 9"):
        step("pad", height=9, width=9).run({"pixels": rows})


@pytest.mark.parametrize(("place", "start"), [("centre", (1, 0)), ("top_left", (0, 0))])
def test_padding_leaves_the_picture_where_it_belongs(place, start):
    padded = step("pad", height=12, width=8, fill=[9, 8, 7], place=place).run({"pixels": PIXELS})["padded"]
    np.testing.assert_array_equal(padded[:, start[0] : start[0] + 9, start[1] : start[1] + 7], PIXELS)
    assert padded.sum() == PIXELS.sum(dtype=np.int64) + 5 * (12 * 8 - 9 * 7) * (9 + 8 + 7)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("centre_crop", {"height": 10, "width": 4}),
        ("pad", {"height": 8, "width": 8}),
        ("pad", {"height": 9, "width": 9, "fill": 300}),
        ("pad", {"height": 9, "width": 9, "fill": [1, 2]}),
        ("normalise", {"mean": [0.5], "std": [0.5]}),
    ],
)
def test_what_never_fits_is_refused_before_anything_runs(name, parameters):
    with pytest.raises(PipelineError, match=f"step '{name}' cannot work") as raised:
        step(name, **parameters).output_wires({"pixels": Wire(DataType.UINT8, (9, 7, 3))})
    assert "'pixels'" in raised.value.cause


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("normalise", {"mean": [np.nan], "std": [1]}),
        ("normalise", {"mean": [0], "std": [np.nan]}),
        ("normalise", {"mean": [0], "std": [-1]}),
        ("normalise", {"mean": [0], "std": [1e-60]}),
        ("normalise", {"mean": [0], "std": [1], "divide_by": np.inf}),
        ("normalise", {"mean": [0], "std": [1], "divide_by": 0}),
        ("scale", {"factor": np.nan}),
        ("scale", {"offset": 1e39}),
        ("scale", {"divide_by": 1e-60}),
        ("pad", {"height": 9, "width": 9, "fill": []}),
        ("pad", {"height": 9, "width": 9, "fill": np.nan}),
        ("decode_image", {"most_megapixels_together": 0}),
        ("decode_image", {"height": 10_000, "width": 10_000}),
        ("resize", {"height": 10_000, "width": 10_000}),
        ("resize", {"shorter": 5, "most_megapixels": np.nan}),
        ("crop_boxes", {"height": 5, "width": 5, "most_megapixels": -1}),
    ],
)
def test_numbers_that_can_never_work_are_refused(name, parameters):
    with pytest.raises(PipelineError, match=f"'{name}' do not fit"):
        step(name, **parameters)


def test_normalising_is_that_of_transformers():
    image_transforms = pytest.importorskip("transformers.image_transforms")
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    found = step("normalise", mean=mean, std=std).run({"pixels": PIXELS})["tensor"]
    scaled = PIXELS.astype(np.float32) / np.float32(255)
    expected = [image_transforms.normalize(p, mean, std, input_data_format="channels_last") for p in scaled]
    np.testing.assert_allclose(found, np.transpose(expected, (0, 3, 1, 2)), rtol=1e-6)


def test_floats_that_are_scaled_already_are_not_divided_again():
    scaled = step("scale", divide_by=255).run({"values": PIXELS})["scaled"]
    made = step("normalise", mean=[0.5, 0.4, 0.3], std=[0.5, 1, 2])
    np.testing.assert_array_equal(made.run({"pixels": scaled})["tensor"], made.run({"pixels": PIXELS})["tensor"])


def test_grey_is_pillow_s_and_opencv_s():
    pixels = np.random.default_rng(5).integers(0, 256, (1, 500, 600, 3), dtype=np.uint8)
    ours = {
        library: step("greyscale", library=library).run({"pixels": pixels})["grey"] for library in ("pil", "opencv")
    }
    np.testing.assert_array_equal(ours["pil"][0, :, :, 0], np.asarray(Image.fromarray(pixels[0]).convert("L")))
    np.testing.assert_array_equal(ours["opencv"][0, :, :, 0], cv2.cvtColor(pixels[0], cv2.COLOR_RGB2GRAY))
    assert (ours["pil"] != ours["opencv"]).any()


def test_channel_order_is_opencv_s():
    found = step("channel_order").run({"pixels": PIXELS})["reordered"]
    np.testing.assert_array_equal(found, [cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) for pixels in PIXELS])


@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        ([0.0, 256.0], "UINT8"),
        ([0.0, -1.0], "UINT8"),
        ([0.0, np.nan], "INT64"),
        ([0.0, np.inf], "INT32"),
        ([0.0, 2.0**63], "INT64"),
        ([0.0, 2.0**64], "UINT64"),
    ],
)
@pytest.mark.parametrize("as_rows", [np.asarray, list])
def test_a_number_that_does_not_fit_is_named(values, datatype, as_rows):
    rows = as_rows(np.array(values, dtype=np.float32)[:, None])
    with pytest.raises(ValueError, match=f"^row 1: .* does not fit {datatype}"):
        step("cast", datatype=datatype).run({"values": rows})


@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        (np.array([[255], [-1]]), "UINT64"),
        (np.array([[3], [2**40]]), "INT32"),
        (np.array([[3], [2**63]], np.uint64), "INT64"),
    ],
)
def test_an_integer_that_does_not_fit_is_named(values, datatype):
    with pytest.raises(ValueError, match=f"^row 1: .* does not fit {datatype}"):
        step("cast", datatype=datatype).run({"values": values})


def test_the_largest_and_the_smallest_that_fit_are_kept():
    kept = step("cast", datatype="UINT8").run({"values": np.array([[-0.9], [255.9]], np.float32)})["cast"]
    np.testing.assert_array_equal(kept, [[0], [255]])
    rounded = step("cast", datatype="INT8", rounding="nearest").run({"values": np.array([[-1.5], [2.5]])})["cast"]
    np.testing.assert_array_equal(rounded, [[-2], [2]])
    widest = np.array([[np.iinfo(np.int64).min], [np.iinfo(np.int64).max]])
    np.testing.assert_array_equal(step("cast", datatype="INT64").run({"values": widest})["cast"], widest)


def test_scaling_is_float32_in_the_order_that_is_told():
    found = step("scale", divide_by=255, factor=2, offset=-1).run({"values": PIXELS})["scaled"]
    np.testing.assert_array_equal(found, PIXELS.astype(np.float32) / np.float32(255) * 2 - 1)
    assert found.dtype == np.float32
    assert step("scale", factor=2).run({"values": FLOATS})["scaled"].dtype == np.float32
