# SPDX-License-Identifier: Apache-2.0
"""Drawings: the same for the same pipeline, well-formed whatever stands in it, and nothing lies upon anything."""

import re
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo_tool.errors import PipelineError, UserMistakeError
from repo_tool.pipelines import Pipeline, for_each, model, repeat, step, when, wire
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.drawing import (
    Box,
    BoxKind,
    Edge,
    Figure,
    Node,
    NodeKind,
    pipeline_figure,
    render_mermaid,
    render_svg,
)
from repo_tool.pipelines.drawing.layout import lay_out
from repo_tool.pipelines.drawing.lettering import code_width, columns, shortened
from repo_tool.pipelines.drawing.settling import settled
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.pipeline_graph import GRAPH_FORMATS, draw_pipeline
from support.golden import matches_golden

ROOT = Path(__file__).parents[3]
MODELS = ModelRepository(ROOT / "model_repository")
NASTY = '<b>&amp;"\\"; end --> n0["x"] `%%{init}%%` #35; 漢字 \x1b[31m\n subgraph'

DIGIT = step("normalise", mean=[0.305], std=[0.376]) | model(
    "digits_cnn", inputs={"image": "tensor"}, outputs={"output": "logits"}
)
CASCADE = (
    Pipeline("cascade", inputs={"image": "BYTES [1]"}, description="A second look where the first one is unsure.")
    | step("decode_image", height=8, width=8, mode="L")
    | DIGIT
    | step("softmax", outputs={"probabilities": "first"})
    | step("arg_max", inputs={"probabilities": "first"}, outputs={"index": "digit", "score": "confidence"})
    | when(
        "confidence",
        model("digits_cnn", inputs={"image": "tensor"}, outputs={"output": "second_logits"})
        | step(
            "softmax", name="second_softmax", inputs={"logits": "second_logits"}, outputs={"probabilities": "second"}
        ),
        is_below=0.9,
        otherwise={"second": wire("first")},
    )
    | step("top_k_labels", labels=[str(digit) for digit in range(10)], inputs={"probabilities": "second"})
).outputs("label", "confidence", probabilities="second")
PAGE = (
    Pipeline("page", inputs={"pixels": "UINT8 [64, 64, 1]", "boxes": "FP32 [10, 4]", "count": "INT64 [1]"})
    | step("crop_boxes", height=8, width=8)
    | for_each(
        {"crop": "crops"},
        step("normalise", mean=[0.305], std=[0.376], inputs={"pixels": "crop"})
        | model("digits_cnn", inputs={"image": "tensor"}, outputs={"output": "logits"})
        | step("arg_max", inputs={"probabilities": "logits"}),
        count="count",
        pad={"index": -1},
        outputs={"index": "digits"},
    )
).outputs("digits")
ROUNDS = (
    Pipeline("rounds", inputs={"image": "FP32 [1, 8, 8]"})
    | repeat(
        step("scale", factor=1.1, inputs={"values": "image"}, outputs={"scaled": "louder"})
        | model("digits_cnn", inputs={"image": "louder"}, outputs={"output": "logits"})
        | step("softmax")
        | step("arg_max")
        | step("threshold", cut_off=0.9, inputs={"probabilities": "score"}, outputs={"decision": "sure"}),
        carry={"louder": "image"},
        until="sure",
        at_most=5,
        outputs=["probabilities", "index"],
    )
).outputs("probabilities", "index")


@pytest.fixture
def drawn(tmp_path):
    def draw(pipeline, suffix):
        pipeline.save(tmp_path / f"{pipeline.name}.yaml")
        return draw_pipeline(str(tmp_path / f"{pipeline.name}.yaml"), MODELS, suffix=suffix)

    return draw


@pytest.mark.parametrize("pipeline", [CASCADE, PAGE, ROUNDS], ids=lambda pipeline: pipeline.name)
def test_a_drawing_is_the_golden_file(pipeline):
    figure = pipeline_figure(pipeline.to_file(), compile_pipeline(pipeline.to_file(), MODELS), version=3)
    for suffix, render in GRAPH_FORMATS.items():
        assert matches_golden(render(figure), f"drawings/{pipeline.name}{suffix}")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "demo").glob("digits_reader*.yaml")), ids=lambda path: path.stem
)
def test_the_committed_graph_of_a_demo_pipeline_is_current(path):
    committed = path.with_suffix(".svg")
    wanted = draw_pipeline(str(path), MODELS, suffix=".svg")
    assert committed.read_text() == wanted, f"draw it anew: repo-tool pipeline graph {path} -o {committed}"


def test_a_drawing_has_every_wire_that_travels_and_every_step(drawn):
    shown = ElementTree.fromstring(drawn(CASCADE, ".svg"))  # noqa: S314 # our own
    words = " ".join(shown.itertext())
    for name in ("decode_image", "digits_cnn", "confidence < 0.9", "otherwise", "second_logits", "cascade_model"):
        assert name in words


def test_a_wire_s_name_and_type_have_a_place_each_inside_it(drawn):
    """Renderers disagree on where the parts of one centred text begin."""
    assert "<tspan" not in drawn(CASCADE, ".svg")
    pipeline = CASCADE.to_file()
    layout = lay_out(pipeline_figure(pipeline, compile_pipeline(pipeline, MODELS)))
    wires = [placed for placed in layout.nodes if placed.node.kind is NodeKind.WIRE]
    assert wires
    for placed in wires:
        assert placed.x <= placed.seam - code_width(placed.title)
        assert placed.seam + code_width(" ".join(("", *placed.lines))) <= placed.x + placed.width


def test_what_a_file_says_is_text_in_every_format():
    node = Node(identity="n", kind=NodeKind.STEP, title=NASTY, lines=(NASTY,))
    box = Box(identity="b", kind=BoxKind.PYTHON, title=NASTY, tag=NASTY, reason=NASTY, items=(node,))
    figure = Figure(title=NASTY, description=NASTY, items=(box,), edges=())
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(render_svg(figure)).iter()}  # noqa: S314
    assert tags == {"svg", "title", "style", "rect", "text", "g", "path"} - {"path"}
    lines = render_mermaid(figure).splitlines()
    assert len(lines) == 4
    assert all(
        re.fullmatch(r' *(subgraph b0 |n0)\["[^"<>\[\]`;%\\]*(?:(?:#\d+;|<br/>)[^"<>\[\]`;%\\]*)*"\]', line)
        for line in lines[1:3]
    )


@pytest.mark.parametrize("suffix", ["", ".png", ".SVGZ"])
def test_an_unknown_format_is_a_mistake(suffix):
    with pytest.raises(UserMistakeError, match=r"\.svg|suffix|format"):
        draw_pipeline("any", MODELS, suffix=suffix)


def test_a_model_that_is_no_pipeline_is_not_drawn():
    with pytest.raises(PipelineError, match="'wine' was not published as a pipeline"):
        draw_pipeline("wine", MODELS, suffix=".svg")


@st.composite
def figures(draw):
    """Boxes in boxes, and edges from earlier nodes to later ones."""
    nodes: list[str] = []

    def items(depth):
        made = []
        for _ in range(draw(st.integers(1, 5))):
            if depth < 3 and draw(st.booleans()):
                identity = f"b{draw(st.integers(0, 10**9))}-{len(nodes)}"
                made.append(
                    Box(
                        identity=identity,
                        kind=BoxKind.GRAPH,
                        title="box",
                        reason="why " * draw(st.integers(0, 40)),
                        items=tuple(items(depth + 1)),
                    )
                )
            else:
                nodes.append(f"n{len(nodes)}")
                kind = draw(st.sampled_from([NodeKind.STEP, NodeKind.WIRE, NodeKind.MODEL]))
                made.append(
                    Node(
                        identity=nodes[-1],
                        kind=kind,
                        title="x" * draw(st.integers(1, 60)),
                        lines=("y",) * draw(st.integers(0, 3)),
                    )
                )
        return made

    whole = tuple(items(0))
    ends = st.tuples(st.integers(0, len(nodes) - 1), st.integers(0, len(nodes) - 1)).filter(
        lambda pair: pair[0] < pair[1]
    )
    pairs = draw(st.lists(ends, max_size=12, unique=True)) if len(nodes) > 1 else []
    return Figure(
        title="any", items=whole, edges=tuple(Edge(source=nodes[one], target=nodes[two]) for one, two in pairs)
    )


def overlap(one, two):
    return (
        one.x + 0.1 < two.x + two.width
        and two.x + 0.1 < one.x + one.width
        and one.y + 0.1 < two.y + two.height
        and two.y + 0.1 < one.y + one.height
    )


@settings(deadline=None, max_examples=40)
@given(figures())
def test_nothing_lies_upon_anything_and_all_is_in_its_box(figure):
    layout = lay_out(figure)
    places = {node.node.identity: node for node in layout.nodes}
    assert set(places) == {node.identity for node in figure.nodes()}
    assert not [pair for pair in combinations(layout.nodes, 2) if overlap(*pair)]
    for box in layout.boxes:
        inside = {node.identity for node in box.box.nodes()}
        for identity, node in places.items():
            assert overlap(box, node) == (identity in inside)
            if identity in inside:
                assert box.x < node.x
                assert node.x + node.width < box.x + box.width
                assert box.y < node.y
                assert node.y + node.height < box.y + box.height
    assert all(node.x >= 0 and node.x + node.width <= layout.width + 0.1 for node in layout.nodes)
    assert lay_out(figure) == layout


@settings(deadline=None, max_examples=25)
@given(figures())
def test_every_edge_goes_down_from_its_node_to_the_other_and_through_none(figure):
    layout = lay_out(figure)
    ends = {(round(x, 1), round(y, 1)) for path in layout.paths for x, y in (path.points[0], path.points[-1])}
    for path in layout.paths:
        assert all(one[1] <= two[1] + 0.1 for one, two in pairwise(path.points))
        for x, y in (path.points[0], path.points[-1]):
            assert not [n for n in layout.nodes if n.x < x < n.x + n.width and n.y + 0.2 < y < n.y + n.height - 0.2]
    for node in layout.nodes:
        tops = [end for end in ends if end[1] == round(node.y, 1) and node.x <= end[0] <= node.x + node.width]
        bottoms = [
            end for end in ends if end[1] == round(node.y + node.height, 1) and node.x <= end[0] <= node.x + node.width
        ]
        assert bool(tops) >= any(edge.target == node.node.identity for edge in figure.edges)
        assert bool(bottoms) >= any(edge.source == node.node.identity for edge in figure.edges)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0.1, 9), st.floats(0, 50)), min_size=1, max_size=8))
def test_places_keep_their_order_and_distances_and_wishes_that_fit_are_met(rows):
    wishes, weights, distances = ([row[index] for row in rows] for index in range(3))
    found = settled(wishes, weights, distances[:-1])
    assert all(two - one >= gap - 1e-6 for (one, two), gap in zip(pairwise(found), distances, strict=False))
    fitting = [sum(distances[:place]) for place in range(len(rows))]
    assert settled(fitting, weights, distances[:-1]) == pytest.approx(fitting)


@given(st.text(max_size=80), st.integers(3, 60))
def test_a_shortened_name_fits(text, most):
    assert columns(shortened(text, most)) <= most
    assert code_width("ab") == 2 * code_width("a")


def test_mermaid_text_has_one_line_for_each_node_and_edge(drawn):
    text = drawn(PAGE, ".mmd")
    names = re.findall(r"^\s*(n\d+)[\[({]", text, re.MULTILINE)
    assert len(names) == len(set(names))
    assert set(re.findall(r"\bn\d+\b", text)) == set(names)
    assert text.count("subgraph") == len(re.findall(r"^\s*end$", text, re.MULTILINE))
