# SPDX-License-Identifier: Apache-2.0
"""Which versions a configuration asks for; what somebody else wrote there stops nobody."""

import pytest

from repo_tool.config.model import ModelConfig
from repo_tool.repository.pins import PINS_PARAMETER, pins_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"cnn": 3, "bert": 1}', {"cnn": 3, "bert": 1}),
        ('{"cnn": true, "bert": "1", "gpt": 1.0, "vit": -1, "yolo": [2]}', {}),
        ("[" * 50_000, {}),
        ('{"cnn": ' * 50_000, {}),
        ('{"cnn": ' + "9" * 5_000 + "}", {}),
        ('{"cnn": 1' + " " * (1 << 20) + "}", {}),
        ("[3]", {}),
        ("", {}),
    ],
    ids=["pins", "others", "deep list", "deep map", "endless number", "long", "list", "empty"],
)
def test_what_is_no_pin_counts_for_nothing(text, expected):
    config = ModelConfig(name="asking", backend="python", parameters={PINS_PARAMETER: text})
    assert dict(pins_of(config)) == expected
