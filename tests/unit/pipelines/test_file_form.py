# SPDX-License-Identifier: Apache-2.0
"""What is said of a pipeline file that has no good form."""

import pytest

from repo_tool.errors import PipelineError
from repo_tool.pipelines.spec import read_pipeline

GOOD = """name: tried
inputs: {x: {datatype: FP32, dims: [4]}}
steps:
- use: softmax
  inputs: {logits: x}
outputs: [probabilities]
"""


def refused(path, text):
    path.write_text(text)
    with pytest.raises(PipelineError) as raised:
        read_pipeline(path)
    return str(raised.value)


def test_the_file_itself_is_good(tmp_path):
    (tmp_path / "tried.yaml").write_text(GOOD)
    assert read_pipeline(tmp_path / "tried.yaml").name == "tried"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 1", ["the file: it should be a mapping"]),
        (GOOD.replace("[probabilities]", "[]"), ["outputs: it is empty"]),
        (GOOD.replace("use: softmax", "uses: softmax"), ["step 1, uses: there is no such key", "did you mean 'use'"]),
        (GOOD.replace("name: tried\n", ""), ["name: it is missing"]),
        (
            GOOD.replace("use: softmax", "use: softmax\n  use: sigmoid"),
            ["tried.yaml:5:3: 'use' is given twice", "mend"],
        ),
        (GOOD + "outputs: [x]\n", ["tried.yaml:7:1: 'outputs' is given twice"]),
        (GOOD + "  - [", ["tried.yaml:7:", "mend the file there"]),
        ("#" * (5 << 20), ["it has more than 4 MiB", "files of their own"]),
    ],
)
def test_a_mistake_is_told_with_its_place_in_plain_words(tmp_path, text, words):
    said = refused(tmp_path / "tried.yaml", text)
    for each in words:
        assert each in said
    assert "unicode string" not in said


def test_json_has_no_key_twice_either(tmp_path):
    assert "'name' is given twice" in refused(tmp_path / "tried.json", '{"name": "a", "name": "b"}')
    assert "tried.json:1:2: " in refused(tmp_path / "tried.json", "{,}")
