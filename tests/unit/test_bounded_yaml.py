# SPDX-License-Identifier: Apache-2.0
"""YAML of others: no key twice."""

import pytest
import yaml

from repo_tool.bounded_yaml import read_bounded_yaml, yaml_complaint


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("steps:\n- with: {k: 3, k: 1}\n", ":2:16: 'k' is given twice"),
        ("outputs: [a]\nname: x\noutputs: [b]\n", ":3:1: 'outputs' is given twice"),
        ("? {a: 1, a: 2}\n: 1\n", ":1:10: 'a' is given twice"),
        ("a: [\n", ":2:1: expected the node content, but found '<stream end>'"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, text, place):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    with pytest.raises(yaml.YAMLError) as raised:
        read_bounded_yaml(path)
    assert yaml_complaint(raised.value, path) == f"{path}{place}"


def test_keys_that_differ_are_kept(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, x: 2}\n1: i\n'1': s\n")
    assert read_bounded_yaml(path) == {"a": {"x": 1}, "b": {"x": 2}, 1: "i", "1": "s"}
