# SPDX-License-Identifier: Apache-2.0
"""``configs/NAME.pbtxt``: a real Triton reads it in place of config.pbtxt, and so do the checks before it."""

import pytest
from tritonclient import grpc

from repo_tool.errors import ConfigError, LoadRefusedError
from repo_tool.triton import EmbeddedServer, ServerOptions
from support.onnx_cases import LINEAR, Case, linear

CPU = ServerOptions(graceful_stop_s=0, model_config_name="cpu")
RUNS_A_COMMAND = 'max_batch_size: 4 instance_group { count: 1 kind: KIND_CPU name: "$(touch x)" }'


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("both", "plain", "unsafe"):
        Case(name, linear(), LINEAR).write(folder)
    write_variant(
        folder / "both", (folder / "both" / "config.pbtxt").read_text().replace("batch_size: 4", "batch_size: 9")
    )
    write_variant(folder / "unsafe", RUNS_A_COMMAND)
    return folder


def write_variant(model, text):
    (model / "configs").mkdir()
    (model / "configs" / "cpu.pbtxt").write_text(text)


def test_the_variant_is_what_is_served_and_what_is_checked(repository):
    with EmbeddedServer(repository, CPU) as server:
        outcomes = {outcome.model: outcome for outcome in server.load_all()}
        assert {name: outcome.is_ready for name, outcome in outcomes.items()} == {
            "both": True,
            "plain": True,
            "unsafe": False,
        }
        assert isinstance(outcomes["unsafe"].refusal, LoadRefusedError)
        assert "unsafe/configs/cpu.pbtxt" in outcomes["unsafe"].refusal.next_step
        with grpc.InferenceServerClient(server.grpc_url) as client:
            served = {name: client.get_model_config(name).config.max_batch_size for name in ("both", "plain")}
    assert served == {"both": 9, "plain": 4}
    assert not (repository / "x").exists()


@pytest.mark.parametrize("name", ["../cpu", "a b", "cpu/", ".cpu"])
def test_a_variant_s_name_leads_nowhere_else(repository, name):
    with pytest.raises(ConfigError, match="does not name a configuration"):
        EmbeddedServer(repository, ServerOptions(model_config_name=name)).start()
