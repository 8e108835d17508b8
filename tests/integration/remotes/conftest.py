# SPDX-License-Identifier: Apache-2.0
"""Two kinds of remotes, and repositories of this machine that are pushed to them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from repo_tool.remotes.base import open_remote
from repo_tool.remotes.folder import FolderRemote
from repo_tool.remotes.s3 import S3Remote
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.pull_models import PullRequest, pull
from repo_tool.workflows.push_models import PushRequest, push
from support.object_store import CREDENTIALS, new_bucket, object_store


@dataclass(frozen=True)
class Elsewhere:
    """The address of an empty remote, and what is needed to reach it."""

    url: str
    endpoint_url: str | None = None
    client: Any = None

    @property
    def remote(self):
        return open_remote(self.url, endpoint_url=self.endpoint_url)

    def push(self, repository, *models, **options):
        request = PushRequest(
            repository=Path(repository), remote=self.url, endpoint_url=self.endpoint_url, models=models, **options
        )
        return {(each.model, each.state): each for each in push(request, RecordedProgress()).models}

    def pull(self, repository, *models, **options):
        request = PullRequest(
            repository=Path(repository), remote=self.url, endpoint_url=self.endpoint_url, models=models, **options
        )
        return {(each.model, each.state): each for each in pull(request, RecordedProgress()).models}

    def files(self):
        """What Triton sees there, by path in the repository."""
        remote = self.remote
        return {place.split("/", 1)[1]: remote.read(place).content for place in remote.places(remote.name)}


@pytest.fixture(scope="session")
def endpoint_url():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, object_store() as url:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield url


@pytest.fixture
def bucket(endpoint_url):
    name, client = new_bucket(endpoint_url)
    return Elsewhere(url=f"s3://{name}/team/models", endpoint_url=endpoint_url, client=client)


@pytest.fixture
def mounted(tmp_path):
    return Elsewhere(url=str(tmp_path / "mounted" / "models"))


@pytest.fixture(params=["mounted", "bucket"])
def elsewhere(request):
    """For what hangs on the kind of remote."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def repository(tmp_path):
    return ModelRepository(tmp_path / "here" / "model_repository")


@pytest.fixture
def cut_off_after():
    """Let pushes end as by kill -9 when so many files have arrived: nothing is undone."""

    def limit(patch, uploads):
        left = [uploads]
        for kind in (FolderRemote, S3Remote):
            upload = kind.upload

            def limited(self, place, source, digest, sent, upload=upload):
                if left[0] == 0:
                    raise ConnectionError("cut off")
                left[0] -= 1
                upload(self, place, source, digest, sent)

            patch.setattr(kind, "upload", limited)

    return limit


@pytest.fixture
def push_until_cut_off(monkeypatch, cut_off_after):
    def push_until(elsewhere, repository, uploads):
        with monkeypatch.context() as patch:
            cut_off_after(patch, uploads)
            with pytest.raises(ConnectionError, match="cut off"):
                elsewhere.push(repository.path)

    return push_until
