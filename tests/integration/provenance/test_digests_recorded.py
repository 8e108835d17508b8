# SPDX-License-Identifier: Apache-2.0
"""What is published while ``add-model`` proves it, and changes meanwhile, is never published as something else."""

import json
import os
from contextlib import contextmanager

from repo_tool.repository.integrity import require_intact
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digest_of
from repo_tool.workflows.add_model import add_model
from repo_tool.workflows.add_model_values import AddModelRequest
from repo_tool.workflows.progress import RecordedProgress
from support.package_sources import relu_onnx


class Tampering(RecordedProgress):
    """Changes the staged model once it is proven, and puts its time back."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    @contextmanager
    def step(self, title):
        with super().step(title) as step:
            yield step
        if title == "verify on Triton":
            (path,) = self.folder.glob(".models.repo-tool/staging/*/repository/relu/1/model.onnx")
            status = path.stat()
            path.write_bytes(path.read_bytes().replace(b"Relu", b"Selu"))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_the_digests_are_those_of_the_bytes_that_are_published(tmp_path):
    source, repository = tmp_path / "relu.onnx", ModelRepository(tmp_path / "models")
    relu_onnx(source)
    add_model(AddModelRequest(source=str(source), name="relu", repository=repository.path), Tampering(tmp_path))
    model = repository.model("relu")
    require_intact(model, 1)
    recorded = json.loads(model.provenance_path(1).read_text())
    assert recorded["files"]["model.onnx"] == digest_of(model.version_path(1) / "model.onnx")
    assert recorded["source_digest"] == digest_of(source)
    assert recorded["source_digest"] != recorded["files"]["model.onnx"]
