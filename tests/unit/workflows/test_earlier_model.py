# SPDX-License-Identifier: Apache-2.0
"""A configuration that loads other versions says so, also in its comments."""

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig, VersionPolicy
from repo_tool.workflows.earlier_model import with_versions


def test_no_comment_tells_of_the_newest_once_others_are_loaded():
    config = ModelConfig(name="churn", backend="onnxruntime", version_policy=VersionPolicy(latest=1))
    text = pbtxt.render(config)
    assert "Only the newest version is loaded" in text
    assert with_versions(text, [2], there=(1, 2)) == text
    earlier = with_versions(text, [1], there=(1, 2))
    assert pbtxt.parse(earlier).version_policy == VersionPolicy(specific=(1,))
    assert "Only the newest" not in earlier
    assert "asks for just these versions" in earlier
