# SPDX-License-Identifier: Apache-2.0
"""What changes a repository beyond publishing: configurations that are replaced, models that go, one at a time."""

import os
import shutil
import time

import pytest

from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import WITHDRAWN_FOR_DAYS, replace_config, sole_changer, staging, withdraw
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


def replace_by(repository, text, **expectation):
    with staging(repository) as stage:
        staged = stage.repository.model("wine")
        staged.path.mkdir()
        staged.config_path.write_text(text)
        replace_config(staged, repository, **expectation)


def test_a_configuration_keeps_its_mode(repository):
    config = repository.model("wine").config_path
    config.chmod(0o600)
    replace_by(repository, "max_batch_size: 2\n")
    assert config.stat().st_mode & 0o777 == 0o600


def test_a_configuration_is_replaced_only_where_it_says_what_was_read(repository):
    replace_by(repository, "max_batch_size: 2\n", expected=b"max_batch_size: 1\n")
    with pytest.raises(RepositoryError, match="changed meanwhile"):
        replace_by(repository, "max_batch_size: 3\n", expected=b"max_batch_size: 1\n")
    assert repository.model("wine").config_path.read_text() == "max_batch_size: 2\n"
    repository.model("wine").config_path.unlink()
    with pytest.raises(RepositoryError, match="is gone"):
        replace_by(repository, "max_batch_size: 3\n", expected=b"max_batch_size: 2\n")
    replace_by(repository, "max_batch_size: 3\n")
    assert repository.model("wine").config_path.read_text() == "max_batch_size: 3\n"


@pytest.mark.parametrize("linked", ["wine", "wine/config.pbtxt"])
def test_a_configuration_that_others_share_is_not_replaced(repository, tmp_path, linked):
    (repository.path / linked).rename(tmp_path / "elsewhere")
    (repository.path / linked).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RepositoryError, match=r"is a link|lies outside"):
        replace_by(repository, "max_batch_size: 2\n")
    assert repository.model("wine").config_path.read_text() == "max_batch_size: 1\n"


def test_a_model_goes_whole_and_is_kept_beside(repository):
    before = everything_in(repository.path / "wine")
    with staging(repository) as stage:
        kept = withdraw(repository.model("wine"), stage)
        assert list(repository.path.iterdir()) == []
    assert not (repository.private_path / "staging").exists()
    assert everything_in(kept) == before
    assert repository.private_path in kept.parents


def test_what_goes_is_kept_for_some_days_whatever_goes_after_it(repository):
    shutil.copytree(repository.path / "wine", repository.path / "other")
    shutil.copytree(repository.path / "wine", repository.path / "later")
    with staging(repository) as stage:
        first, other = (withdraw(repository.model(name), stage) for name in ("wine", "other"))
    (repository.path / "later").rename(repository.path / "wine")
    with staging(repository) as stage:
        second = withdraw(repository.model("wine"), stage)
    assert [path.exists() for path in (first, second, other)] == [True, True, True]
    long_ago = time.time() - WITHDRAWN_FOR_DAYS * 86_400 - 60
    os.utime(other.parent, (long_ago, long_ago))
    with staging(repository):
        pass
    assert [path.exists() for path in (first, second, other)] == [True, True, False]


def test_a_model_goes_only_as_it_was_seen(repository):
    with staging(repository) as stage, pytest.raises(RepositoryError, match="changed meanwhile"):
        withdraw(repository.model("wine"), stage, expected_version=2)
    with staging(repository) as stage:
        withdraw(repository.model("wine"), stage, expected_version=1)
    assert list(repository.path.iterdir()) == []


def test_of_two_who_let_a_model_go_one_is_told(repository):
    with staging(repository) as stage:
        withdraw(repository.model("wine"), stage)
        with pytest.raises(RepositoryError, match="holds something else than it should"):
            withdraw(repository.model("wine"), stage)


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
