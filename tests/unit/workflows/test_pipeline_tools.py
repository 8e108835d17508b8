# SPDX-License-Identifier: Apache-2.0
"""Steps may give other numbers with another version of what they import: it is recorded, and told."""

from repo_tool.image_packages import IMAGE_VERSIONS
from repo_tool.workflows.pipeline_tools import other_in_image


def test_another_version_than_the_image_has_is_told():
    (sentence,) = other_in_image({**IMAGE_VERSIONS, "numpy": "1.26.4", "pillow": "1.0"})
    assert sentence == f"proven with pillow 1.0, and the image has {IMAGE_VERSIONS['pillow']}"
