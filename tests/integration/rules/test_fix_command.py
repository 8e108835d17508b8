# SPDX-License-Identifier: Apache-2.0
"""validate --fix as a person types it, and a real Triton that loads what it mended."""

import json
import shutil
import subprocess

import pytest

from repo_tool.errors import LoadRefusedError, ServerStartError
from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import RULES, Severity, validate
from repo_tool.triton.server import EmbeddedServer, ServerOptions
from repo_tool.workflows.fix_repository import apply_fixes, find_fixes
from repo_tool.workflows.settings import ValidateSettings
from support.command import everything_in, repo_tool
from support.rule_cases import EMBEDDED_RELEASE, RuleCase

# Their bad cases show what only a person can mend.
BY_HAND = {"CFG402", "ENS109", "REP103"}
REFUSED = [
    rule.code
    for rule in RULES
    if rule.fixable and rule.severity is Severity.ERROR and rule.embedded_refuses and rule.code not in BY_HAND
]
CHAIN = """\
platform: "ensemble"  # no folder, no versions, and an entry that nobody reads
max_batch_size: 4
input [ { name: "in" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "out" data_type: TYPE_FP32 dims: [ 4 ] } ]
ensemble_scheduling {
  step {
    model_name: "first"
    input_map { key: "x" value: "in" }
    output_map { key: "y" value: "out" }
    # nobody reads this one
    output_map { key: "z" value: "unread" }
  }
}
"""
FIRST = """\
backend: "python"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }, { name: "z" data_type: TYPE_FP32 dims: [ 4 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    options = ServerOptions(load_timeout_s=30, graceful_stop_s=0)
    with EmbeddedServer(tmp_path_factory.mktemp("repository"), options) as running:
        yield running


@pytest.fixture
def emptied(server):
    """The served folder, cleared of models afterwards."""
    yield server.repository
    for model in reversed(list(ModelRepository(server.repository).models())):
        if server.is_running():
            server.unload(model.name)
        shutil.rmtree(model.path)


def load(server, model):
    """Load a model; Triton 2.51 itself crashes now and then where ensembles of one name come and go."""
    try:
        server.load(model)
    except ServerStartError:
        server.stop()
        server.start()
        server.load(model)


def mend(repository, case_release=EMBEDDED_RELEASE):
    place = ModelRepository(repository)
    fixes = find_fixes(place, ValidateSettings(releases=(case_release,)))
    apply_fixes(place, fixes)
    return fixes


@pytest.mark.parametrize("code", REFUSED)
def test_triton_loads_what_was_mended(code, server, emptied):
    case = RuleCase(code, "bad")
    case.write(emptied)
    found = validate(ModelRepository(emptied), release=release(case.release))
    models = {each.model for each in found if each.code == code}
    mend(emptied, case.release)
    for model in models:
        load(server, model)


@pytest.fixture
def chain(tmp_path):
    folder = tmp_path / "models"
    RuleCase("ENS109", "good").write(folder)
    shutil.rmtree(folder / "second")
    shutil.rmtree(folder / "chain" / "1")
    (folder / "first" / "config.pbtxt").write_text(FIRST)
    (folder / "chain" / "config.pbtxt").write_text(CHAIN)
    return folder


def test_an_ensemble_that_triton_refuses_is_mended_from_the_command_line(chain, server, emptied):
    shutil.copytree(chain, emptied, dirs_exist_ok=True)
    with pytest.raises(LoadRefusedError):
        server.load("chain")
    shown = repo_tool("validate", emptied, "--fix", "--release", EMBEDDED_RELEASE)
    assert shown.returncode == 0
    assert "+    model_version: -1\n" in shown.stdout
    assert '-    output_map { key: "z" value: "unread" }\n' in shown.stdout
    assert shown.stderr == "3 findings fixed: ENS103, ENS109, REP103\n"
    load(server, "chain")


def test_the_diff_is_shown_and_nothing_is_written(chain):
    before = everything_in(chain)
    shown = repo_tool("validate", chain, "--diff", "--release", EMBEDDED_RELEASE)
    assert shown.returncode == 1
    assert everything_in(chain) == before
    subprocess.run(["git", "apply", "-"], cwd=chain, input=shown.stdout, text=True, check=True)
    again = repo_tool("validate", chain, "--diff", "--release", EMBEDDED_RELEASE)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "nothing would be fixed\n")


def test_programs_get_what_was_fixed_and_what_is_left(chain):
    shown = repo_tool("validate", chain, "--fix", "--json", "--release", EMBEDDED_RELEASE)
    document = json.loads(shown.stdout)
    assert sorted(each["code"] for each in document["fixed"]) == ["ENS103", "ENS109", "REP103"]
    assert document["errors"] == 0
