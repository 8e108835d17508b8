# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline run``: rows through a pipeline as a client sends them, and one row step by step."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from repo_tool.errors import UserMistakeError
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.repository.layout import ModelRepository
from repo_tool.triton.server import EmbeddedServer
from repo_tool.workflows.pipeline_staging import write_pipeline
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.trace_pipeline import RunRequest, run_pipeline
from support.colour_reader import write_workshop
from support.command import repo_tool

AS_THEY_ARE = """
name: as_they_are
inputs:
  image: {datatype: BYTES, dims: [1]}
steps:
  - use: decode_image
outputs: [pixels]
"""
CUT_OFF = 300  # bytes of a picture that the decoder misses the rest of


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """The colour reader published, and a folder with a whole picture and one that is cut off."""
    folder = tmp_path_factory.mktemp("run")
    write_workshop(folder)
    for command in (
        ("add-model", "colours.onnx", "-n", "colours", "-r", "models", "--max-batch-size", 4),
        ("add-pipeline", "colours.yaml", "-s", "pictures", "-r", "models"),
    ):
        done = repo_tool(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    (folder / "damaged").mkdir()
    whole = (folder / "pictures" / "1.png").read_bytes()
    (folder / "damaged" / "a.png").write_bytes(whole)
    (folder / "damaged" / "b.png").write_bytes(whole[:CUT_OFF])
    (folder / "sizes").mkdir()
    for name, size in (("a", (3, 2)), ("b", (4, 5))):
        Image.new("RGB", size, "red").save(folder / "sizes" / f"{name}.png")
    (folder / "as_they_are.yaml").write_text(AS_THEY_ARE)
    models = ModelRepository(folder / "models")
    write_pipeline(models, compile_pipeline(read_pipeline(folder / "as_they_are.yaml"), models), 1, models)
    return folder


@pytest.fixture(scope="module")
def server(workshop):
    with EmbeddedServer(workshop / "models") as server:
        assert all(outcome.is_ready for outcome in server.load_all())
        yield f"grpc://{server.grpc_url}"


def shown(workshop, *arguments, **more):
    return repo_tool("pipeline", "run", *arguments, "-r", "models", cwd=workshop, **more)


def ran(workshop, pipeline, *, sample="pictures", **more):
    """What it prints with --json."""
    sample_path = workshop / sample if sample else None
    request = RunRequest(pipeline=str(pipeline), repository=workshop / "models", sample=sample_path, **more)
    return json.loads(json.dumps(run_pipeline(request, RecordedProgress()).to_dict()))


def test_all_rows_are_answered_in_batches(workshop, server):
    every = ran(workshop, "colour_reader", server=server)
    assert (every["rows"], len(every["outputs"]["label"]), every["error"]) == (6, 6, "")
    assert list(every["outputs"]) == ["label", "probability"]
    done = shown(workshop, "colour_reader", "--row", 4, "--url", server)
    assert done.returncode == 0, done.stderr
    assert f"│   4 │ {every['outputs']['label'][4][0]}" in done.stdout


def test_rows_that_become_tensors_of_several_sizes_are_asked_for_one_by_one(workshop, server):
    told = ran(workshop, workshop / "as_they_are.yaml", sample="sizes", server=server)
    assert (told["error"], [np.shape(row) for row in told["outputs"]["pixels"]]) == ("", [(2, 3, 3), (5, 4, 3)])
    traced = ran(workshop, workshop / "as_they_are.yaml", sample="sizes", row=1, trace=True, server=server)
    assert traced["trace"]["largest_difference"] == 0


def test_a_trace_has_every_part_and_every_step_in_it(workshop, server):
    told = ran(workshop, "colour_reader", row=2, trace=True, server=server)
    parts = told["trace"]["parts"]
    assert [(part["model"], part["kind"]) for part in parts] == [
        ("colour_reader_pre", "python"),
        ("colour_reader_model", "graph"),
    ]
    assert all(part["ms"] > 0 and part["reason"] for part in parts)
    inside = [
        (stage["title"], stage["where"], [tensor["wire"] for tensor in stage["writes"]])
        for part in parts
        for stage in part["stages"]
    ]
    assert inside[:4] == [
        ("step 'decode_image'", "here", ["pixels"]),
        ("step 'resize'", "here", ["resized"]),
        ("step 'normalise'", "here", ["tensor"]),
        ("model 'colours'", "alone", ["logits"]),
    ]
    pixels, resized = parts[0]["stages"][0]["writes"][0], parts[0]["stages"][1]["writes"][0]
    assert (pixels["datatype"], pixels["shape"], pixels["is_picture"]) == ("UINT8", [1, 17, 20, 3], True)
    assert 0 <= pixels["low"] < pixels["mean"] < pixels["high"] <= 255
    assert resized["shape"] == [1, 8, 8, 3]
    assert told["trace"]["largest_difference"] == 0


def test_a_trace_shows_pictures_in_colours_and_without(workshop, server):
    plain = shown(workshop, "colour_reader", "--trace", "--url", server)
    assert plain.returncode == 0, plain.stderr
    assert "pixels  UINT8 [1, 17, 20, 3]" in plain.stdout
    assert "the same answer, bit for bit" in plain.stdout
    assert "▀" not in plain.stdout
    assert "\x1b" not in plain.stdout
    assert sum(1 for line in plain.stdout.splitlines() if line.strip() and not set(line) - set(" .:-=+*#%@")) > 30
    terminal = {"NO_COLOR": "", "FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm-256color"}
    coloured = shown(workshop, "colour_reader", "--trace", "--url", server, **terminal)
    assert coloured.stdout.count("▀") > 500
    assert "\x1b[38;2;" in coloured.stdout


def test_a_failure_is_traced_to_its_step_with_what_it_got(workshop, server):
    told = ran(workshop, "colour_reader", sample="damaged", row=1, trace=True, server=server)
    assert told["trace"]["failed_at"] == "step 'decode_image' in 'colour_reader_pre'"
    (part,) = told["trace"]["parts"]
    assert part["reads"][0]["first"] == [f"PNG, {CUT_OFF} bytes"]
    assert "row 0: not a readable image" in part["error"]
    assert "row 0: not a readable image" in told["error"]
    done = shown(workshop, "colour_reader", "--sample", "damaged", "--row", 1, "--trace", "--url", server)
    assert done.returncode == 1
    assert "failed at step 'decode_image' in 'colour_reader_pre'" in done.stdout


def test_a_file_is_run_on_a_server_of_its_own_with_its_blocks(workshop):
    before = sorted(path.name for path in (workshop / "models").iterdir())
    told = ran(workshop, workshop / "cascade.yaml", row=2, trace=True)
    assert [part["kind"] for part in told["trace"]["parts"]] == ["python", "graph", "control"]
    assert told["trace"]["parts"][-1]["stages"][0]["title"] == "block 'unsure'"
    assert told["trace"]["largest_difference"] == 0
    assert sorted(path.name for path in (workshop / "models").iterdir()) == before


@pytest.mark.parametrize(
    ("pipeline", "more", "words"),
    [
        ("colour_reader", {"row": 6, "trace": True}, "there is no row 6"),
        ("colours.yaml", {"sample": None}, "there is no pipeline 'colours.yaml'"),
        ("colour_raeder", {}, "did you mean 'colour_reader'?"),
        ("colour_reader", {"server": "grpc://127.0.0.1:1"}, "no server"),
    ],
)
def test_a_mistake_gets_one_message(workshop, pipeline, more, words):
    with pytest.raises(UserMistakeError) as raised:
        ran(workshop, pipeline, **more)
    assert words in str(raised.value)


def test_a_file_has_no_rows_of_its_own(workshop):
    with pytest.raises(UserMistakeError, match="there are no rows"):
        ran(workshop, workshop / "colours.yaml", sample=None)


def test_a_merged_model_is_asked_in_its_own_version_when_a_newer_one_is_served(workshop, tmp_path):
    for name in ("models", "pictures"):
        shutil.copytree(workshop / name, tmp_path / name)
    colours = tmp_path / "models" / "colours"
    shutil.copytree(colours / "1", colours / "2")
    before = (colours / "config.pbtxt").read_text()
    told = ran(tmp_path, "colour_reader", row=2, trace=True)
    stages = [stage for part in told["trace"]["parts"] for stage in part["stages"]]
    assert ("model 'colours'", "") in [(stage["title"], stage["error"]) for stage in stages]
    assert told["trace"]["failed_at"] == ""
    assert (colours / "config.pbtxt").read_text() == before
