# SPDX-License-Identifier: Apache-2.0
"""A pipeline that brings its own environment runs its Python steps in it."""

import io
import tarfile

import numpy as np

from repo_client import Client
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.repository.layout import ModelRepository
from repo_tool.triton.server import EmbeddedServer
from support.served_parts import write_compiled

STEP = """
import os
from dataclasses import dataclass

import numpy as np
import yaml  # which the image does not have

@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    def outputs(self, inputs):
        return {"told": ("BYTES", (1,))}

    def run(self, line):
        word = os.environ.get("BROUGHT", "nothing was brought")
        return {"told": np.array([[yaml.safe_dump([word, row.tolist()]).encode()] for row in line], dtype=object)}
"""


def test_its_steps_run_in_the_environment_that_it_brings(tmp_path):
    (tmp_path / "own_steps.py").write_text(STEP)
    activate = b"export BROUGHT='by the pipeline'\n"
    with tarfile.open(tmp_path / "environment.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("bin/activate")
        entry.size = len(activate)
        archive.addfile(entry, io.BytesIO(activate))
    (tmp_path / "brought.yaml").write_text(
        "name: brought\nexecution_env: environment.tar.gz\ninputs: {line: {datatype: INT32, dims: [2]}}\n"
        "steps: [{use: 'own_steps:Brought'}]\noutputs: [told]\n"
    )
    models = tmp_path / "models"
    write_compiled(models, compile_pipeline(read_pipeline(tmp_path / "brought.yaml"), ModelRepository(models)).own)
    with EmbeddedServer(models) as server:
        server.load("brought")
        with Client(f"grpc://{server.grpc_url}") as client:
            told = client.model("brought").infer({"line": np.array([[1, 2], [3, 4]], dtype=np.int32)})["told"]
    assert told.ravel().tolist() == [b"- by the pipeline\n- - 1\n  - 2\n", b"- by the pipeline\n- - 3\n  - 4\n"]
