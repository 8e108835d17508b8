# SPDX-License-Identifier: Apache-2.0
"""What of a configuration would reach a shell, told from what only looks like it."""

import pytest

from repo_tool.config import pbtxt
from repo_tool.config.shell import unsafe_shell_words

ENVIRONMENT = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "%s" } }'


@pytest.mark.parametrize(
    "text",
    [
        'name: "m" instance_group { name: "m_0" count: 1 }',
        'input { name: "serving_default_x:0 (raw)" }',
        '# instance_group { name: "$(false)" }\nmax_batch_size: 4',
        r'parameters { key: "labels" value { string_value: "{\"a\": \"$1; b\"}" } }',
        ENVIRONMENT % "$$TRITON_MODEL_DIRECTORY/env.tar.gz",
        'metric_tags { key: "x" value: "instance_group { name: $(false) }" }',
    ],
)
def test_an_ordinary_configuration_has_none(text):
    assert unsafe_shell_words(pbtxt.parse(text)) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('instance_group { name: "$(false)" }', "$(false)"),
        ("instance_group [ { count: 1 }, { name: 'a;b' } ]", "a;b"),
        ('instance_group: < name: "a" "`b`" >', "a`b`"),
        (r'instance_group { name: "\x24(false)" }', "$(false)"),
        (ENVIRONMENT % "/env; false", "/env; false"),
        ('default_model_filename: "$(touch ${HOME}-x).onnx"', "$(touch ${HOME}-x).onnx"),
        (ENVIRONMENT.replace("EXECUTION_ENV", 'EXECUTION" "_ENV') % "/$(false)", "/$(false)"),
        (ENVIRONMENT.replace("EXECUTION_ENV", r"EXECUTION\137ENV") % "/$(false)", "/$(false)"),
    ],
)
def test_every_way_to_the_shell_is_found(text, word):
    assert unsafe_shell_words(pbtxt.parse(text)) == [word]
