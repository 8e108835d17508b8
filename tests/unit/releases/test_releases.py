# SPDX-License-Identifier: Apache-2.0
"""The table of releases answers what each can load."""

import re

import pytest
from tritonclient.grpc import model_config_pb2

from repo_tool.errors import ReleaseError
from repo_tool.releases import (
    DEFAULT_RELEASE,
    first_release_with_all_fixes,
    first_release_with_field,
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


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("26.07", set()),
        ("25.10", {"ensemble_scheduling.max_inflight_requests"}),
        ("24.10", {"model_metrics", "ensemble_scheduling.max_inflight_requests"}),
    ],
)
def test_fields_that_came_later(name, fields):
    assert release(name).unknown_config_fields == fields


def test_the_oldest_release_lacks_every_field_that_came_later():
    fields = release(known_releases()[0]).unknown_config_fields
    assert {"runtime", "sequence_batching.state.use_growable_memory", "input.is_non_linear_format_io"} <= fields
    assert all(first_release_with_field(field) in known_releases() for field in fields)


def test_fields_that_came_later_are_fields_of_the_message():
    for path in release(known_releases()[0]).unknown_config_fields:
        message = model_config_pb2.ModelConfig.DESCRIPTOR
        for name in path.split("."):
            message = message.fields_by_name[name].message_type


def test_the_vulnerabilities_of_a_release_come_the_gravest_first():
    found = release("24.10").vulnerabilities
    assert len(found) == 59
    assert [each.cve for each in found if (each.score or 0) >= 9] == [
        "CVE-2025-23310", "CVE-2025-23311", "CVE-2025-23316", "CVE-2026-24207", "CVE-2026-47627", "CVE-2025-23317",
    ]  # fmt: skip


@pytest.mark.parametrize("name", known_releases())
def test_a_vulnerability_goes_with_the_release_that_mends_it(name):
    for each in release(name).vulnerabilities:
        assert re.fullmatch(r"CVE-20\d\d-\d{4,}", each.cve)
        assert name < each.fixed
        assert each.fixed in known_releases()
        assert each.bulletin


def test_the_opset_of_ml_never_shrinks():
    opsets = [found.max_ml_opset for found in map(release, known_releases()) if found.max_ml_opset]
    assert opsets == sorted(opsets)
    assert (release("24.01").max_ml_opset, release("24.10").max_ml_opset) == (3, 5)
