# SPDX-License-Identifier: Apache-2.0
"""Labels of one model move whatever happens to those of another, and a file that a person wrote is not believed."""

import json

import pytest

from repo_tool.errors import RepositoryError
from repo_tool.repository.journal import Journal
from repo_tool.repository.labels import Labels, LabelsChange, labels_path, move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import rewrite


@pytest.fixture
def repository(tmp_path):
    repository = ModelRepository(tmp_path / "models")
    for name in ("m", "other"):
        for version in (1, 2):
            repository.model(name).version_path(version).mkdir(parents=True)
    return repository


def test_a_label_of_another_model_that_moves_meanwhile_is_in_nobodys_way(repository):
    move(repository, "m", "stable", 1)
    seen, change = Labels.of(repository), LabelsChange(model="m", versions={"stable": 2})
    move(repository, "other", "canary", 1)

    def require():
        seen.require_unchanged(repository, "m")

    rewrite(repository, {}, beside=lambda: change.texts(repository), require=require, entries=change.entries(seen))
    assert Labels.of(repository).by_model == {"m": {"stable": 2}, "other": {"canary": 1}}
    assert [entry.model for entry in Journal(repository).entries()] == ["m", "other", "m"]
    with pytest.raises(RepositoryError, match=r"the labels of 'm' .* have been changed meanwhile"):
        require()


@pytest.mark.parametrize(
    "labels",
    [
        {"../m": {"stable": 1}},
        {"m": {"../x": 1}},
        {"m": {"Stable": 1}},
        {"m": {"x" * 65: 1}},
        {"m": {"stable": 0}},
        {"m": {"stable": True}},
        {"m": {"stable": 1 << 63}},
        {"m": ["stable"]},
    ],
)
def test_names_and_numbers_that_cannot_be_are_refused(repository, labels):
    labels_path(repository).parent.mkdir()
    labels_path(repository).write_text(json.dumps({"schema": 1, "labels": labels}))
    with pytest.raises(RepositoryError, match="cannot be read"):
        Labels.of(repository)
