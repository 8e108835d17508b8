# SPDX-License-Identifier: Apache-2.0
"""A published pipeline is read as it is served, also where newer versions lie beside it."""

import json

import pytest

from repo_tool.errors import PipelineError
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.pipeline_source import published_version, read_pipeline_source

SPECIFIC = "version_policy { specific { versions: 1 } }"


def published(folder, config):
    model = ModelRepository(folder).model("reader")
    for version, used in ((1, "softmax"), (2, "sigmoid")):
        model.version_path(version).mkdir(parents=True)
        values = {
            "name": "reader",
            "inputs": {"x": {"datatype": "FP32", "dims": [4]}},
            "steps": [{"use": used, "inputs": {"logits": "x"}}],
            "outputs": ["probabilities"],
        }
        (model.version_path(version) / "pipeline.json").write_text(json.dumps(values))
    model.config_path.write_text(f'name: "reader" backend: "python" {config}')
    return ModelRepository(folder)


@pytest.mark.parametrize(
    ("config", "version", "used"), [(SPECIFIC, 1, "softmax"), ("", 2, "sigmoid"), ("of no form {", 2, "sigmoid")]
)
def test_the_version_is_the_one_that_is_served(tmp_path, config, version, used):
    repository = published(tmp_path, config)
    assert published_version("reader", repository) == version
    assert read_pipeline_source("reader", repository).steps[0].use == used


def test_a_model_that_is_served_in_place_of_a_pipeline_is_none(tmp_path):
    repository = published(tmp_path, "")
    (repository.model("reader").version_path(2) / "pipeline.json").unlink()
    with pytest.raises(PipelineError, match="was not published as a pipeline"):
        read_pipeline_source("reader", repository)
