# SPDX-License-Identifier: Apache-2.0
"""Every form of source, written and brought in once for the whole suite."""

import contextlib
import os
from pathlib import Path

import pytest

from repo_tool.importers.base import ImportRequest
from repo_tool.importers.child import import_in_child
from support.importer_sources import CASES

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The folder and the source of a case, written at first use."""
    done = {}

    def get(case):
        if case.name not in done:
            folder = tmp_path_factory.mktemp(case.name)
            done[case.name] = folder, case.write(folder)
        return done[case.name]

    return get


@pytest.fixture(scope="session")
def brought_in(written, tmp_path_factory):
    """What a case became, and the folder that it was brought into."""
    done = {}

    def get(case):
        if case.name not in done:
            folder, source = written(case)
            options = {
                name: Path(value) if name in ("sample", "weights") else value for name, value in case.request.items()
            }
            into = tmp_path_factory.mktemp(f"{case.name}-in")
            with contextlib.chdir(folder):
                request = ImportRequest(source=source, max_opset=21, max_ir_version=9, **options)
                done[case.name] = import_in_child(request, into), into
        return done[case.name]

    return get


SLOW = (  # each has a quicker one of its framework, or unit tests of its importer
    "huggingface-features",
    "pytorch-factory-safetensors",
    "pytorch-factory-state-dict",
    "pytorch-exported-program-as-script",
    "keras-two-heads",
    "keras-as-saved-model",
)
FORMS = [
    pytest.param(each, marks=[pytest.mark.slow(reason="ten seconds of export")] if each.name in SLOW else [])
    for each in CASES
]


@pytest.fixture(params=FORMS, ids=str)
def case(request):
    """Each form of source in turn."""
    return request.param
