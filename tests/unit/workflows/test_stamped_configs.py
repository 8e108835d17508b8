# SPDX-License-Identifier: Apache-2.0
"""What commands make of the stamps in configurations: they follow from the versions, and are nobody's change."""

import shutil

import pytest

from repo_tool.config import pbtxt
from repo_tool.releases import DEFAULT_RELEASE, release
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import read_provenance, shared_digests_of
from repo_tool.repository.publish import replace_config, staging
from repo_tool.repository.stamps import due_stamps, stamps_of, unstamped
from repo_tool.rules.validation import validate
from repo_tool.workflows.diff_repositories import diff
from repo_tool.workflows.edit_config import change_config
from repo_tool.workflows.plan_found import read_found
from support.open_loop import publish_versioned


@pytest.fixture
def repository(tmp_path):
    """Two versions, of which the second is served, and a variant."""
    repository = ModelRepository(tmp_path / "models")
    publish_versioned(repository, "m", 1)
    model = repository.model("m")
    model.variants_path.mkdir()
    model.variant_path("cpu").write_bytes(model.config_path.read_bytes())
    publish_versioned(repository, "m", 2)
    return repository


def test_a_field_that_is_set_keeps_them_and_another_policy_changes_them(repository):
    model = repository.model("m")
    before = model.config_path.read_text()
    change_config(repository, "m", assignments=[("max_batch_size", "2")])
    assert stamps_of(model.read_config()) == stamps_of(pbtxt.parse(before)) == due_stamps(model, model.read_config())
    change = change_config(repository, "m", assignments=[("version_policy.specific.versions", "[1, 2]")])
    for variant in ("", "cpu"):
        assert sorted(stamps_of(model.read_config(variant))) == [1, 2]
    assert '+parameters { key: "provenance.1"' in change.diff


def test_a_model_that_has_none_gets_none_by_another_field(repository):
    model = repository.model("m")
    model.config_path.write_text(unstamped(model.config_path.read_text()))
    change_config(repository, "m", assignments=[("max_batch_size", "2")])
    assert stamps_of(model.read_config()) == {}


def test_a_configuration_that_takes_the_place_of_a_lost_one_is_stamped(repository):
    model = repository.model("m")
    with staging(repository) as stage:
        staged = stage.repository.model("m")
        staged.path.mkdir()
        staged.config_path.write_text(unstamped(model.config_path.read_text()))
        model.config_path.unlink()
        replace_config(staged, repository)
    assert list(stamps_of(model.read_config())) == [2]


def test_they_are_no_difference(repository, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(repository.path, other)
    for path in other.rglob("*.pbtxt"):
        path.write_text(unstamped(path.read_text()))
    assert diff(str(repository.path), str(other)).models == ()


def test_they_are_no_drift(repository):
    found = read_found(repository, ["m"])["m"]
    assert found.config_text != found.bare_text
    assert found.is_as_published({})
    model = repository.model("m")
    before = shared_digests_of(model.path)
    change_config(repository, "m", assignments=[("version_policy.specific.versions", "[1, 2]")], variant="cpu")
    changed = {name for name, digest in shared_digests_of(model.path).items() if digest != before[name]}
    assert changed == {"configs/cpu.pbtxt"}
    model.variant_path("cpu").write_text(unstamped(model.config_path.read_text()))
    assert (
        shared_digests_of(model.path)["configs/cpu.pbtxt"] == read_provenance(model.provenance_path(2))["config_digest"]
    )


def test_no_rule_finds_fault_with_them(repository):
    found = validate(repository, release=release(DEFAULT_RELEASE))
    assert [each.code for each in found if "provenance" in str(each)] == []
