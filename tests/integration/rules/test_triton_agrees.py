# SPDX-License-Identifier: Apache-2.0
"""A real Triton refuses what a rule calls an error, and loads what no rule calls one."""

import shutil

import pytest

from repo_tool.errors import LoadRefusedError, ServerStartError
from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Scope, Severity, find_rule, validate
from repo_tool.triton.server import EmbeddedServer, ServerOptions
from support.rule_cases import EMBEDDED_RELEASE, rule_cases

# Their backends are none of the embedded server's.
CANNOT_LOAD = {"CFG111", "CFG506", "CFG607"}
# Signatures that a framework of seconds finds wrong: SIG204 has it of TensorFlow, SIG201 of PyTorch.
SLOW = {"SIG202", "SIG205", "SIG206"}


def cases(side, *, wanted):
    return [case for case in rule_cases(side) if wanted(find_rule(case.code))]


def is_only_a_warning(found):
    """Whether the embedded server loads what the rule finds fault with."""
    if found.embedded_refuses or found.code in CANNOT_LOAD:
        return False
    return found.severity is Severity.WARNING and found.scope is Scope.CONFIG


def once(found):
    """Of cases with the same content one: what is right for many rules need not be loaded for each."""
    return list({case.digest(): case for case in found}.values())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    limits = release(EMBEDDED_RELEASE)
    options = ServerOptions(
        max_opset=limits.max_onnx_opset, max_ir_version=limits.max_onnx_ir, load_timeout_s=30, graceful_stop_s=0
    )
    with EmbeddedServer(tmp_path_factory.mktemp("repository"), options) as running:
        yield running


def load(server, model):
    """Load a model; a server that died is started once more.

    Triton 2.51 itself crashes now and then where ensembles of one name come and go. A model that kills it kills twice.
    """
    try:
        server.load(model)
    except ServerStartError:
        server.stop()
        server.start()
        server.load(model)


@pytest.fixture
def placed(server):
    """Copy a case into the served repository, and take it and what it loaded away afterwards."""

    def place(case):
        case.write(server.repository)
        return ModelRepository(server.repository)

    yield place
    for model in reversed(list(ModelRepository(server.repository).models())):
        if server.is_running() and server.ready_versions(model.name):
            server.unload(model.name)
        shutil.rmtree(model.path)


REFUSED = [
    pytest.param(case, marks=[pytest.mark.slow(reason="a framework is loaded")] if case.code in SLOW else [])
    for case in cases("bad", wanted=lambda rule: rule.embedded_refuses)
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.code)
def test_triton_refuses_what_a_rule_calls_an_error(server, placed, case):
    found = validate(placed(case), release=release(case.release))
    model = next(diagnostic.model for diagnostic in found if diagnostic.code == case.code)
    with pytest.raises((LoadRefusedError, ServerStartError)):  # some configurations end the whole server
        load(server, model)


@pytest.mark.slow  # some two hundred loads; the rules' own good cases are read in every run
@pytest.mark.parametrize(
    "case", once(cases("good", wanted=lambda rule: rule.scope is not Scope.REPOSITORY)), ids=lambda case: case.code
)
def test_triton_loads_what_no_rule_calls_an_error(server, placed, case):
    repository = placed(case)
    assert not [
        found for found in validate(repository, release=release(case.release)) if found.severity is Severity.ERROR
    ]
    for model in repository.models():
        if case.code not in CANNOT_LOAD:
            load(server, model.name)


@pytest.mark.parametrize(
    "case",
    cases("bad", wanted=is_only_a_warning),
    ids=lambda case: case.code,
)
def test_triton_accepts_what_is_only_a_warning(server, placed, case):
    models = list(placed(case).models())
    assert models
    for model in models:
        load(server, model.name)
        assert server.ready_versions(model.name)
