# SPDX-License-Identifier: Apache-2.0
"""A repository, and a real Triton that serves version 1 of its model 'm'."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from repo_tool.repository.layout import ModelRepository
from support.live_roll_outs import Live, live
from support.open_loop import publish_versioned


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


@pytest.fixture
def served(repository: ModelRepository) -> Iterator[Live]:
    publish_versioned(repository, "m", 1)
    with live(repository) as running:
        yield running
