# SPDX-License-Identifier: Apache-2.0
"""The embedded ``onnxruntime`` backend loads, refuses and answers what NVIDIA's own does, case by case."""

import pytest
from tritonclient.utils import InferenceServerException

from repo_tool.errors import LoadRefusedError
from repo_tool.triton import EmbeddedServer, ServerOptions
from support.arrays import assert_same
from support.inference import infer
from support.onnx_cases import CASES

LOADING = [case for case in CASES if not case.refused]
REFUSED = [case for case in CASES if case.refused]


def name_of(case):
    return case.name


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with the limits of the release that the cases were measured on."""
    repository = tmp_path_factory.mktemp("cases")
    for case in CASES:
        case.write(repository)
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0, max_opset=21, max_ir_version=10)) as running:
        yield running


@pytest.mark.parametrize("case", REFUSED, ids=name_of)
def test_what_nvidias_backend_refuses_is_refused_for_the_same_reason(server, case):
    with pytest.raises(LoadRefusedError) as refusal:
        server.load(case.name)
    assert case.refused in refusal.value.cause


@pytest.mark.parametrize("case", LOADING, ids=name_of)
def test_what_nvidias_backend_loads_is_loaded_and_answers_the_same(server, client, case):
    server.load(case.name)
    for request in case.requests:
        if request.error:
            with pytest.raises(InferenceServerException, match=request.error):
                infer(client, case.name, request.feeds)
        else:
            assert_same(infer(client, case.name, request.feeds), request.answer)
    server.unload(case.name)


def test_without_a_release_the_newest_opset_that_the_runtime_knows_is_loaded(tmp_path):
    newer = {case.name: case for case in REFUSED}["opset22_ir10"]
    newer.write(tmp_path)
    with EmbeddedServer(tmp_path, ServerOptions(graceful_stop_s=0)) as running:
        running.load(newer.name)
