# SPDX-License-Identifier: Apache-2.0
"""A compiled pipeline on disk: names that it may have, and configurations for the hardware of its neighbours."""

import json

import pytest

from repo_tool.errors import PipelineError, RepositoryError
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import write_provenance
from repo_tool.workflows.pipeline_staging import require_own_names, write_pipeline

PIPELINE = PipelineFile.model_validate(
    {
        "name": "reader",
        "inputs": {"image": {"datatype": "BYTES", "dims": [1]}},
        "steps": [{"use": "decode_image", "with": {"height": 2, "width": 2}}],
        "outputs": ["pixels"],
    }
)


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "models").mkdir()
    return ModelRepository(tmp_path / "models")


def publish(repository, name, *, config="", **facts):
    version = repository.model(name).version_path(1)
    version.mkdir(parents=True)
    repository.model(name).config_path.write_text(config or f'name: "{name}"')
    write_provenance(version / "provenance.json", facts)


@pytest.mark.parametrize("there", [[], ["gpu"], ["cpu", "gpu", "own"]])
def test_it_gets_the_variants_that_the_repository_has(repository, tmp_path, there):
    for name in there:
        (repository.path / "neighbour" / "configs").mkdir(parents=True, exist_ok=True)
        (repository.path / "neighbour" / "configs" / f"{name}.pbtxt").write_text("")
    stage = ModelRepository(tmp_path / "stage")
    (staged,) = write_pipeline(stage, compile_pipeline(PIPELINE, repository), 3, repository)
    assert staged.directory.variants() == tuple(name for name in there if name != "own")
    assert staged.directory.versions() == (3,)
    assert all(staged.directory.read_config(name) == staged.directory.read_config() for name in there if name != "own")


def test_a_further_version_of_the_same_pipeline_may_have_its_names(repository):
    publish(repository, "reader", pipeline_digest="sha256:0")
    publish(repository, "reader_pre", pipeline="reader")
    require_own_names("reader", ["reader_pre", "reader_post"], repository)


@pytest.mark.parametrize(
    ("name", "facts"),
    [("reader", {"source": "a.onnx"}), ("reader_pre", {"source": "a.onnx"}), ("reader_pre", {"pipeline": "other"})],
)
def test_a_model_of_another_making_keeps_its_name(repository, name, facts):
    publish(repository, name, **facts)
    with pytest.raises(PipelineError, match=f"the repository has a model '{name}'"):
        require_own_names("reader", ["reader_pre"], repository)


def test_a_pipeline_that_another_one_was_proven_with_does_not_change(repository):
    publish(repository, "reader", pipeline_digest="sha256:0")
    pins = json.dumps(json.dumps({"reader": 1}))
    parameters = f'name: "larger" parameters {{ key: "pins" value {{ string_value: {pins} }} }}'
    publish(repository, "larger", config=parameters, pipeline_digest="sha256:1")
    with pytest.raises(RepositoryError, match="'larger' was proven with the 'reader' that there is"):
        require_own_names("reader", [], repository)
