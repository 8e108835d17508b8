# SPDX-License-Identifier: Apache-2.0
"""What stand_in.c is, as a Python-based backend: for machines without a C compiler, at a hundred times the time."""

import json
from pathlib import Path

import triton_python_backend_utils as pb_utils

OPENED = {
    "fil": ("xgboost.json", "xgboost.ubj", "model.txt", "checkpoint.tl", "xgboost.model"),
    "openvino": ("model.xml",),
    "pytorch": ("model.pt", "model.pt2"),
    "tensorflow": ("model.savedmodel", "model.graphdef"),
    "tensorrt": ("model.plan",),
}


class TritonPythonModel:
    """Accepts every model whose file is there, and answers with nothing."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        named = (config["default_model_filename"],) if config.get("default_model_filename") else ()
        wanted = OPENED.get(config["backend"], ())
        if named == ("model.pt",):
            named = ()  # Triton fills it in where nothing is named; repo-tool's own backend then opens model.pt2 too
        if wanted and not any((folder / file).exists() for file in named or wanted):
            raise pb_utils.TritonModelException(f"the stand-in for {config['backend']} finds no model file in {folder}")

    def execute(self, requests):
        return [pb_utils.InferenceResponse([]) for _ in requests]
