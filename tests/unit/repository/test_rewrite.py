# SPDX-License-Identifier: Apache-2.0
"""Files of a repository get other words at once or not at all."""

import pytest

from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import rewrite


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_bytes(b"old\r\n")
    return ModelRepository(tmp_path / "models")


def config(repository):
    return repository.path / "m" / "config.pbtxt"


def test_a_file_is_replaced_and_keeps_its_mode_and_line_ends(repository):
    config(repository).chmod(0o604)
    rewrite(repository, {"m/config.pbtxt": ("old\r\n", "new\r\n")})
    assert config(repository).read_bytes() == b"new\r\n"
    assert config(repository).stat().st_mode & 0o777 == 0o604


def test_folders_are_made_with_a_file_that_git_keeps(repository):
    rewrite(repository, {}, folders=["m/1"])
    rewrite(repository, {}, folders=["m/1"])
    assert [path.name for path in (repository.path / "m" / "1").iterdir()] == [".gitkeep"]


def test_what_somebody_else_wrote_meanwhile_is_not_lost(repository):
    config(repository).write_text("theirs")
    with pytest.raises(RepositoryError, match="changed meanwhile"):
        rewrite(repository, {"m/config.pbtxt": ("old\r\n", "new")})
    assert config(repository).read_text() == "theirs"


def test_a_link_is_not_replaced(repository, tmp_path):
    config(repository).rename(tmp_path / "shared")
    config(repository).symlink_to(tmp_path / "shared")
    with pytest.raises(RepositoryError, match="is a link"):
        rewrite(repository, {"m/config.pbtxt": ("old\r\n", "new")})
    assert (tmp_path / "shared").read_bytes() == b"old\r\n"


def test_a_file_that_is_gone_says_so(repository):
    config(repository).unlink()
    with pytest.raises(RepositoryError, match="is gone"):
        rewrite(repository, {"m/config.pbtxt": ("old\r\n", "new")})


def test_where_one_file_cannot_be_replaced_none_is(repository):
    variant = repository.path / "m" / "configs" / "cpu.pbtxt"
    variant.parent.mkdir()
    variant.write_text("theirs")
    with pytest.raises(RepositoryError, match="changed meanwhile"):
        rewrite(repository, {"m/config.pbtxt": ("old\r\n", "new"), "m/configs/cpu.pbtxt": ("old", "new")})
    assert config(repository).read_bytes() == b"old\r\n"


def test_what_a_link_leads_to_outside_of_the_repository_stays(repository, tmp_path):
    (repository.path / "m").rename(tmp_path / "outside")
    (repository.path / "m").symlink_to(tmp_path / "outside")
    with pytest.raises(RepositoryError, match="lies outside of"):
        rewrite(repository, {"m/config.pbtxt": ("old\r\n", "new")}, folders=["m/1"])
    assert [path.read_bytes() for path in (tmp_path / "outside").iterdir()] == [b"old\r\n"]


def test_a_link_within_the_repository_is_followed(repository):
    (repository.path / "m").rename(repository.path / "n")
    (repository.path / "m").symlink_to("n")
    rewrite(repository, {"m/config.pbtxt": ("old\r\n", "new")})
    assert (repository.path / "n" / "config.pbtxt").read_text() == "new"
