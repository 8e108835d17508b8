# SPDX-License-Identifier: Apache-2.0
"""The page about repositories elsewhere, followed from top to bottom with an object store that has its bucket."""

from pathlib import Path

import boto3
import pytest

from repo_tool.repository.layout import ModelRepository
from support.documents import Reader, commands
from support.open_loop import publish_versioned

PAGE = Path(__file__).parents[3] / "docs" / "remote.md"


@pytest.mark.slow
def test_the_page_can_be_followed(endpoint_url, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint_url)
    boto3.client("s3").create_bucket(Bucket="our-bucket")
    publish_versioned(ModelRepository(tmp_path / "model_repository"), "churn", 1)
    page = tmp_path / PAGE.name
    page.write_text(PAGE.read_text().replace("/mnt/shared", str(tmp_path / "mounted")))
    with Reader(tmp_path) as reader:
        reader.follow(page)
    assert (tmp_path / "elsewhere" / "models" / "churn" / "1" / "model.onnx").is_file()
    assert (tmp_path / "mounted" / "models" / "churn" / "config.pbtxt").is_file()


def test_the_page_shows_each_command():
    shown = " ".join(commands(PAGE))
    for name in ("push", "pull", "sync"):
        assert f"repo-tool {name}" in shown
