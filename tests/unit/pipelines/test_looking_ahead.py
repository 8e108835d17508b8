# SPDX-License-Identifier: Apache-2.0
"""Who writes a missing wire further down is looked for once, however many steps there miss one too."""

import time

import pytest

from repo_tool.errors import PipelineError
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.pipelines.wiring import type_pipeline
from repo_tool.repository.layout import ModelRepository


def test_many_steps_that_miss_an_input_are_told_at_once(tmp_path):
    steps = [{"use": "softmax", "outputs": {"probabilities": f"p{at}"}} for at in range(16)]
    inputs = {"features": {"datatype": "FP32", "dims": [3]}}
    pipeline = PipelineFile.model_validate({"name": "many", "inputs": inputs, "steps": steps, "outputs": ["p0"]})
    start = time.monotonic()
    with pytest.raises(PipelineError, match=r"reads 'logits'.* which nothing before it writes"):
        type_pipeline(pipeline, ModelRepository(tmp_path))
    assert time.monotonic() - start < 5
