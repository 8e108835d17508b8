# SPDX-License-Identifier: Apache-2.0
"""The coverage page: totals that count every model once, and no refusal without its reason."""

from support.golden import matches_golden
from support.zoo import Outcome
from support.zoo_page import draw, page

OUTCOMES = [
    Outcome(family="scikit-learn", name="Ridge", backend="onnxruntime", largest_difference=2e-7, seconds=1.7),
    Outcome(family="scikit-learn", name="RANSAC", backend="sklearn", reason="no converter | for 'RANSAC'", seconds=2.0),
    Outcome(family="scikit-learn", name="DBSCAN", reason="it has no predict for other rows", seconds=0.9),
    Outcome(family="ONNX", name="node/abs", backend="onnxruntime", seconds=0.5),
    Outcome(family="ONNX", name="node/odd", reason="the process died: -11", is_bug=True),
    Outcome(family="ONNX", name="node/seq_1", reason="input 'x' is a sequence", seconds=0.4),
    Outcome(family="ONNX", name="node/seq_2", reason="input 'y' is a sequence", seconds=0.4),
]


def test_the_page_counts_each_model_once_and_gives_each_refusal_its_reason():
    assert matches_golden(page(OUTCOMES, machine="a machine"), "coverage/page.md")


def test_the_picture_is_one_bar_a_family(tmp_path):
    draw(OUTCOMES, tmp_path / "coverage.png")
    assert (tmp_path / "coverage.png").read_bytes().startswith(b"\x89PNG")
