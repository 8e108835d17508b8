# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline check``, ``graph`` and ``explain`` of files, of Python and of what is published."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from support.command import everything_in, repo_tool
from support.documents import blocks

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "examples" / "demo"
READER = """from repo_tool.pipelines import Pipeline, model, step

soft = (
    Pipeline("soft", inputs={"x": "FP32 [4]"}, description="Four numbers that add up to 1.")
    | model("relu")
    | step("softmax", inputs={"logits": "y"})
).outputs("probabilities")
"""


@pytest.fixture(scope="module")
def published(sources, tmp_path_factory):
    """A pipeline that was written in Python and published as version 1, and a later version of its model."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "mine.py").write_text(READER)
    np.savez(folder / "rows.npz", x=np.arange(12, dtype=np.float32).reshape(3, 4))
    for command in (
        ("add-model", sources / "relu.onnx", "--name", "relu"),
        ("add-pipeline", "mine.py:soft", "--sample", "rows.npz"),
        ("add-model", sources / "relu.onnx", "--name", "relu"),
    ):
        done = repo_tool(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_check_shows_every_step_with_what_it_reads_and_writes():
    done = repo_tool("pipeline", "check", DEMO / "digits_reader.yaml", cwd=ROOT, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["decode_image", "image", "pixels", "UINT8", "[8,", "8,", "1]"] in lines
    assert ["digits_cnn", "v1", "tensor", "logits", "FP32", "[10]"] in lines
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_check_tells_programs_the_same():
    done = repo_tool("pipeline", "check", DEMO / "digits_reader.yaml", "--json", cwd=ROOT)
    told = json.loads(done.stdout)
    assert told["members"] == {"digits_cnn": 1}
    assert [stage.get("use") or stage["model"] for stage in told["stages"]] == [
        *("decode_image", "normalise", "digits_cnn", "softmax", "top_k_labels")
    ]
    assert told["stages"][1]["types"] == {"tensor": {"datatype": "FP32", "dims": [1, 8, 8]}}


def test_check_draws_the_spot_as_the_page_shows_it_and_writes_nothing(tmp_path):
    page = ROOT / "docs" / "pipelines.md"
    told, shown = (
        next(block.text for block in blocks(page) if block.language == language) for language in ("yaml", "text")
    )
    (tmp_path / "wrong.yaml").write_text(told.replace("CHW", "HWC"))
    shutil.copy(DEMO / "digit_words.txt", tmp_path)
    shutil.copytree(ROOT / "model_repository" / "digits_cnn", tmp_path / "models" / "digits")
    config = tmp_path / "models" / "digits" / "config.pbtxt"
    config.write_text(config.read_text().replace("digits_cnn", "digits"))
    before = everything_in(tmp_path)
    done = repo_tool("pipeline", "check", "wrong.yaml", "-r", "models", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == shown
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("pipeline", ["mine.py:soft", "mine.py", "soft"])
def test_a_pipeline_is_named_by_its_file_or_by_what_is_published(published, pipeline):
    done = repo_tool("pipeline", "check", pipeline, "--json", cwd=published)
    told = json.loads(done.stdout)
    assert told["pipeline"] == "soft"
    assert told["members"] == {"relu": 1 if pipeline == "soft" else 2}


@pytest.mark.slow(reason="four commands; a drawing is a golden file in every run")
def test_graph_writes_the_format_that_the_file_asks_for(published):
    for name in ("soft.svg", "soft.mmd", "soft.md"):
        done = repo_tool("pipeline", "graph", "soft", "-o", name, cwd=published)
        assert (done.returncode, done.stdout) == (0, f"wrote {name}\n"), done.stderr
    words = " ".join(ElementTree.parse(published / "soft.svg").getroot().itertext())  # noqa: S314 # our own
    assert "ONNX graph · version 1" in words
    assert (published / "soft.md").read_text().count("```") == 2
    shown = repo_tool("pipeline", "graph", "soft", cwd=published)
    assert shown.stdout == (published / "soft.mmd").read_text()


def test_graph_refuses_a_format_that_it_has_not(published):
    done = repo_tool("pipeline", "graph", "soft", "-o", "soft.png", cwd=published)
    assert done.returncode == 2
    assert "'.png' is no format of drawings" in done.stderr


def test_a_name_that_is_none_is_told_with_what_is_near(published):
    done = repo_tool("pipeline", "graph", "sotf", cwd=published)
    assert done.returncode == 2
    assert "did you mean 'soft'?" in done.stderr


def test_explain_says_what_runs_where_and_what_travels():
    done = repo_tool("pipeline", "explain", DEMO / "digits_reader.yaml", cwd=ROOT, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "digits_reader: an ensemble of 2 models, max_batch_size 32"
    assert any(line.startswith("  ↓ from digits_reader_pre: pixels UINT8 [8, 8, 1]; 64 bytes a row") for line in lines)
    assert "    digits_reader_model: ONNX Runtime, 1 instance" in lines
    assert "because: step 'decode_image' needs Python" in done.stdout
    assert max(map(len, lines)) <= 80


def test_explain_says_of_a_single_model_that_nothing_travels(published):
    done = repo_tool("pipeline", "explain", "soft", cwd=published)
    assert done.stdout.startswith("soft: 1 model, max_batch_size ")
    assert done.stdout.endswith("No hops: a request costs what its model costs.\n")
    told = json.loads(repo_tool("pipeline", "explain", "soft", "--json", cwd=published).stdout)
    assert (told["is_ensemble"], told["cost_us"], told["merged"]) == (False, 0, {"relu": 1})
    assert [hop["wires"] for hop in told["hops"]] == [
        {"x": {"datatype": "FP32", "dims": [4]}},
        {"probabilities": {"datatype": "FP32", "dims": [4]}},
    ]


def test_the_shell_completes_pipelines_and_files(published):
    done = repo_tool(
        cwd=published,
        _REPO_TOOL_COMPLETE="complete_bash",
        COMP_WORDS="repo-tool pipeline graph ",
        COMP_CWORD="3",
    )
    assert {"soft", "mine.py"} <= set(done.stdout.split())


def test_the_schema_is_the_published_one():
    done = repo_tool("pipeline", "schema")
    assert json.loads(done.stdout) == json.loads((ROOT / "docs" / "pipeline.schema.json").read_text())
