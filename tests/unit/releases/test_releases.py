# SPDX-License-Identifier: Apache-2.0
"""The table of releases answers what each can load."""

import re

import pytest

from repo_tool.errors import ReleaseError
from repo_tool.releases import (
    DEFAULT_RELEASE,
    first_release_with_all_fixes,
    known_releases,
    last_release_with_backend,
    release,
)


@pytest.mark.parametrize("name", known_releases())
def test_a_release_is_whole(name):
    found = release(name)
    assert found.name == name
    assert re.fullmatch(r"2\.\d+\.\d+", found.triton_version)
    assert re.fullmatch(r"3\.\d+", found.python_version)
    has_onnx = "onnxruntime" in found.backends
    assert has_onnx == (None not in (found.onnxruntime_version, found.max_onnx_ir, found.max_onnx_opset))
    assert {"python", "pytorch"} <= found.backends


def test_limits_never_shrink_from_one_release_to_the_next():
    limits = [
        (found.max_onnx_ir, found.max_onnx_opset) for found in map(release, known_releases()) if found.max_onnx_ir
    ]
    assert limits == sorted(limits)
    versions = [tuple(map(int, release(name).triton_version.split("."))) for name in known_releases()]
    assert versions == sorted(versions)


@pytest.mark.parametrize(
    ("name", "backend", "ships"),
    [
        ("24.01", "onnxruntime", True),
        ("24.02", "onnxruntime", False),
        ("24.03", "onnxruntime", True),
        ("25.02", "tensorflow", True),
        ("25.03", "tensorflow", False),
        ("26.07", "onnxruntime", True),
    ],
)
def test_backends_come_and_go(name, backend, ships):
    assert (backend in release(name).backends) is ships


def test_the_last_release_with_a_backend():
    assert last_release_with_backend("tensorflow") == "25.02"
    assert last_release_with_backend("onnxruntime") == known_releases()[-1]
    assert last_release_with_backend("of_my_own") is None


@pytest.mark.parametrize(("name", "python"), [("24.10", "3.10"), ("24.11", "3.12")])
def test_the_python_of_the_stub(name, python):
    assert release(name).python_version == python


def test_the_default_is_safe_and_older_releases_are_not():
    assert release().name == DEFAULT_RELEASE
    assert release().fixed_all_published_cves
    assert not release("26.06").fixed_all_published_cves
    assert first_release_with_all_fixes() == "26.07"


@pytest.mark.parametrize(("name", "near"), [("26.7", "26.07"), ("24.13", "24.12"), ("latest", known_releases()[-1])])
def test_an_unknown_release_lists_near_ones(name, near):
    with pytest.raises(ReleaseError) as error:
        release(name)
    assert near in error.value.next_step


@pytest.mark.parametrize(("name", "fields"), [("24.10", {"model_metrics", "max_inflight_requests"}), ("26.07", set())])
def test_fields_that_came_later(name, fields):
    assert release(name).unknown_config_fields == fields
