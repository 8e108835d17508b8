# SPDX-License-Identifier: Apache-2.0
"""What the shell offers where a label is to be typed."""

import pytest

from repo_tool.repository.labels import move
from repo_tool.repository.layout import ModelRepository
from support.command import repo_tool


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("repo-tool call churn --label ", ["canary", "stable"]),
        ("repo-tool call churn --label s", ["stable"]),
        ("repo-tool promote churn --label c", ["canary"]),
        ("repo-tool call other --label ", []),
    ],
)
def test_the_labels_of_the_model_are_offered(tmp_path, words, offered):
    repository = ModelRepository(tmp_path / "model_repository")
    repository.model("churn").version_path(1).mkdir(parents=True)
    for label in ("stable", "canary"):
        move(repository, "churn", label, 1)
    done = repo_tool(cwd=tmp_path, _REPO_TOOL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="4")
    assert done.stdout.split() == offered
