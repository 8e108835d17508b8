# SPDX-License-Identifier: Apache-2.0
"""Every example of a pipeline is whole: what it is, its training script, its pipelines, raw samples, and its test."""

import re
from pathlib import Path

import pytest
import yaml

from repo_tool.pipelines.spec import PipelineFile

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/pipeline.yaml"))
MOST_BYTES = 200_000  # of raw samples
OURS = {"README.md", "train.py"}


def files_of(example):
    return [path for path in example.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_there_are_the_five():
    assert [example.name for example in EXAMPLES] == ["breast_cancer", "detector", "digits", "text", "wine"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
class TestExample:
    def test_it_is_told_trained_and_scored(self, example):
        assert {path.name for path in files_of(example)} >= OURS
        assert (ROOT / "tests" / "integration" / "examples" / f"test_{example.name}.py").is_file()

    def test_its_page_names_every_file_and_the_commands(self, example):
        page = (example / "README.md").read_text()
        named = {path.relative_to(example).parts[0] for path in files_of(example)} - {"README.md"}
        assert not [name for name in named if f"`{name}" not in page]
        for command in ("train.py ", "repo-tool add-model ", "repo-tool add-pipeline pipeline.yaml "):
            assert command in page

    def test_its_raw_samples_are_there_and_small(self, example):
        samples = [path for path in files_of(example) if path.name not in OURS and path.suffix != ".yaml"]
        assert samples
        assert sum(path.stat().st_size for path in samples) < MOST_BYTES

    def test_its_pipelines_have_names_of_their_own_and_a_description(self, example):
        files = [PipelineFile.model_validate(yaml.safe_load(path.read_text())) for path in example.glob("*.yaml")]
        assert len({file.name for file in files}) == len(files)
        for file in files:
            assert re.fullmatch(r"\w+", file.name)
            assert file.description.endswith(".")
