# SPDX-License-Identifier: Apache-2.0
"""A pipeline file names what lies beside it and nothing else, whoever reads, shows or publishes it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from repo_tool.errors import PipelineError
from repo_tool.pipelines.catalogue import StepKind
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.pipeline_source import read_pipeline_source

TOP = {"use": "top_k_labels", "with": {"k": 1, "labels": {"file": "words.txt"}}}
OWN = "class Step: ...\n"


def values(name, **more):
    return {
        "name": "named",
        "inputs": {"probabilities": {"datatype": "FP32", "dims": [2]}},
        "steps": [TOP | {"with": {"k": 1, "labels": {"file": name}}}],
        "outputs": ["label"],
        **more,
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret.txt").write_text("open sesame\n")
    (tmp_path / "steps.py").write_text(OWN)
    folder = tmp_path / "own"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "words.txt").write_text("a\nb\n")
    (folder / "within.txt").symlink_to("below/words.txt")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "out").symlink_to(tmp_path)
    (folder / "steps.py").symlink_to(tmp_path / "steps.py")
    (folder / "round.txt").symlink_to("round.txt")
    os.mkfifo(folder / "pipe.txt")
    return folder


def compiled(folder, given):
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(given))
    return compile_pipeline(read_pipeline(folder / "pipeline.yaml"), ModelRepository(folder / "models"))


@pytest.mark.parametrize("name", ["below/words.txt", "./below/../within.txt"])
def test_files_in_the_folder_and_below_are_read_and_published(folder, name):
    own = compiled(folder, values(name)).own
    assert own.files[f"assets/{name.rpartition('/')[2]}"].read_text() == "a\nb\n"


OUTSIDE = ["../secret.txt", "out.txt", "out/secret.txt", "below/../../secret.txt"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, f"names '{name}', which lies outside its folder") for name in OUTSIDE),
        ("round.txt", "which can be no file"),
        ("a\0b", "which can be no file"),
        ("a" * 300, "which can be no file"),
        ("pipe.txt", "is no regular file"),
        ("below", "is no regular file"),
    ],
)
def test_what_lies_elsewhere_is_refused(folder, name, words):
    with pytest.raises(PipelineError) as raised:
        compiled(folder, values(name))
    assert words in str(raised.value)
    assert "sesame" not in str(raised.value)


def test_an_absolute_path_is_refused_though_it_leads_to_the_folder(folder):
    with pytest.raises(PipelineError, match="which is an absolute path"):
        compiled(folder, values(str(folder / "within.txt")))


def test_a_file_that_would_fill_the_memory_is_refused(folder):
    with (folder / "large.txt").open("wb") as stream:
        stream.truncate(3 << 30)
    with pytest.raises(PipelineError, match=r"`labels:` takes what stands in '.*large\.txt', which has 3072 MiB"):
        compiled(folder, values("large.txt"))


@pytest.mark.parametrize("use", ["steps:Step", "out.steps:Step", "{}/steps:Step"])
def test_a_step_of_ones_own_lies_beside_its_pipeline(folder, use):
    steps = [{"use": use.format(folder.parent)}]
    with pytest.raises(PipelineError, match="outside its folder"):
        compiled(folder, values("within.txt", steps=steps, outputs=["x"]))


def test_an_environment_lies_beside_its_pipeline(folder):
    (folder / "environment.tar.gz").symlink_to(folder.parent / "secret.txt")
    pipeline = values("within.txt", execution_env="environment.tar.gz")
    with pytest.raises(PipelineError, match=r"names 'environment\.tar\.gz', which lies outside"):
        compiled(folder, pipeline)


def test_a_pipeline_in_python_names_what_lies_beside_it(folder):
    (folder / "mine.py").write_text(
        "from pathlib import Path\nfrom repo_tool.pipelines import Pipeline, step\n"
        "p = Pipeline('p', inputs={'x': 'FP32 [2]'}) | step('top_k_labels', k=1, labels=Path('../secret.txt'))\n"
        "p = p.outputs('label')\n"
    )
    with pytest.raises(PipelineError, match="outside its folder"):
        read_pipeline_source(folder / "mine.py")


@pytest.mark.parametrize("name", ["../../../secret.txt", "link.txt"])
def test_a_published_pipeline_names_only_its_own_files(folder, name):
    version = folder.parent / "models" / "named" / "1"
    (version / "assets").mkdir(parents=True)
    (version / "assets" / "link.txt").symlink_to(folder.parent / "secret.txt")
    (version / "pipeline.json").write_text(json.dumps(values(name)))
    (version.parent / "config.pbtxt").write_text('name: "named"\n')
    with pytest.raises(PipelineError, match="outside its folder"):
        read_pipeline_source("named", ModelRepository(folder.parent / "models"))


def test_the_folder_of_a_published_pipeline_s_files_is_no_link(folder):
    (folder / "assets").symlink_to(folder.parent)
    (folder / "pipeline.json").write_text(json.dumps(values("secret.txt")))
    with pytest.raises(PipelineError, match=r"assets' is a link"):
        read_pipeline(folder / "pipeline.json")


@dataclass(frozen=True, kw_only=True)
class Reads:
    by_name: dict[str, list[Path]]
    once: tuple[Path, ...]


def test_the_files_of_a_step_are_found_wherever_they_stand():
    step = StepKind("reads", Reads, Path("reads.py")).with_parameters(
        {"by_name": {"a": ["x", "y"]}, "once": ["x", "z"]}
    )
    assert step.files == (Path("x"), Path("y"), Path("z"))


def test_a_wire_called_file_is_no_file(folder):
    given = values("within.txt", outputs={"file": "label"})
    published = json.loads(compiled(folder, given).own.files["pipeline.json"])
    assert published["outputs"] == {"file": "label"}
    assert read_pipeline(folder / "pipeline.yaml").digest.startswith("sha256:")
