# SPDX-License-Identifier: Apache-2.0
"""What changes a repository beyond publishing: configurations that are replaced, models that go, one at a time."""

import pytest

from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import replace_config, sole_changer, staging, withdraw
from support.command import everything_in


@pytest.fixture
def repository(tmp_path):
    repository = ModelRepository(tmp_path / "models")
    (repository.path / "wine" / "1").mkdir(parents=True)
    (repository.path / "wine" / "1" / "model.onnx").write_bytes(b"onnx")
    (repository.path / "wine" / "config.pbtxt").write_text("max_batch_size: 1\n")
    return repository


def test_a_configuration_is_replaced_and_nothing_else(repository):
    before = everything_in(repository.path)
    with staging(repository) as stage:
        staged = stage.repository.model("wine")
        staged.path.mkdir()
        staged.config_path.write_text("max_batch_size: 2\n")
        replace_config(staged, repository)
    assert everything_in(repository.path) == before | {"wine/config.pbtxt": b"max_batch_size: 2\n"}


def test_a_model_goes_whole_and_leaves_nothing_beside(repository):
    with staging(repository) as stage:
        withdraw(repository.model("wine"), stage)
        assert list(repository.path.iterdir()) == []
    assert not (repository.private_path / "staging").exists()


def test_of_a_model_that_is_a_link_the_link_goes(repository, tmp_path):
    (repository.path / "wine").rename(tmp_path / "elsewhere")
    (repository.path / "wine").symlink_to(tmp_path / "elsewhere")
    with staging(repository) as stage:
        withdraw(repository.model("wine"), stage)
    assert list(repository.path.iterdir()) == []
    assert (tmp_path / "elsewhere" / "1" / "model.onnx").read_bytes() == b"onnx"


def test_two_never_change_a_repository_as_a_whole_at_once(repository):
    with (
        sole_changer(repository),
        pytest.raises(RepositoryError, match="another command is changing"),
        sole_changer(repository),
    ):
        pass
    with sole_changer(repository):
        pass
