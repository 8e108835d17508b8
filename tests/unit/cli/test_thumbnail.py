# SPDX-License-Identifier: Apache-2.0
"""Pictures in a terminal."""

import numpy as np

from repo_tool.cli.thumbnail import thumbnail


def test_without_colours_brighter_is_denser():
    ramp = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], 4, axis=0).repeat(3, axis=2)
    lines = thumbnail(ramp, colours=False).plain.splitlines()
    assert len(lines) == 2
    assert (lines[0][0], lines[0][-1]) == (" ", "@")
    assert sorted(lines[0], key=" .:-=+*#%@".index) == list(lines[0])


def test_a_character_is_two_pixels_in_their_colours():
    picture = np.zeros((2, 32, 3), dtype=np.uint8)
    picture[0] = (255, 0, 0)
    picture[1] = (0, 0, 255)
    text = thumbnail(picture, colours=True)
    assert text.plain.strip() == "▀" * 32
    assert {str(span.style) for span in text.spans} == {"#ff0000 on #0000ff"}


def test_a_large_picture_is_shrunk_and_a_tiny_one_enlarged():
    large = thumbnail(np.full((300, 600, 3), 200, dtype=np.uint8), colours=False).plain.splitlines()
    assert (len(large), len(large[0])) == (8, 32)
    tiny = thumbnail(np.full((8, 8, 3), 200, dtype=np.uint8), colours=False).plain.splitlines()
    assert (len(tiny), len(tiny[0])) == (16, 32)
