# SPDX-License-Identifier: Apache-2.0
"""Run a published artifact in its own runtime, without Triton."""

import importlib
import sys
from contextlib import contextmanager

import numpy as np

from repo_tool.importers import onnx_graph


def run_artifact(imported, inputs):
    """The artifact's answers by output name."""
    return _RUNNERS[imported.backend](imported, inputs)


def _onnxruntime(imported, inputs):
    return onnx_graph.run(onnx_graph.open_session(imported.artifact), inputs)


def _pytorch(imported, inputs):
    import torch

    arguments = [torch.from_numpy(np.array(inputs[spec.name])) for spec in imported.signature.inputs]
    with torch.inference_mode():
        answer = torch.jit.load(imported.artifact)(*arguments)
    answers = answer if isinstance(answer, tuple) else (answer,)
    return {spec.name: value.numpy() for spec, value in zip(imported.signature.outputs, answers, strict=True)}


def _tensorflow(imported, inputs):
    import tensorflow as tf

    loaded = tf.saved_model.load(imported.artifact)
    values = {name: tf.constant(array) for name, array in inputs.items()}
    return {name: value.numpy() for name, value in loaded.signatures["serving_default"](**values).items()}


def _python(imported, inputs):
    module, name = imported.parameters["python_class"].split(":")
    with on_the_path(imported.artifact.parent / "code"):
        answers = getattr(importlib.import_module(module), name)().predict(inputs)
    return {name: np.asarray(answer) for name, answer in answers.items()}


@contextmanager
def on_the_path(folder):
    """Modules of ``folder`` can be imported in the block, and are forgotten after it."""
    known = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - known:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


_RUNNERS = {"python": _python, "onnxruntime": _onnxruntime, "pytorch": _pytorch, "tensorflow": _tensorflow}
