# SPDX-License-Identifier: Apache-2.0
"""A backend that only a GPU server has: refused as unproven, and let in with --unverified, which nothing hides."""

import json

import numpy as np
import pytest

from repo_tool.repository.layout import ModelRepository
from support.command import repo_tool


@pytest.fixture(scope="module")
def booster(tmp_path_factory):
    xgboost = pytest.importorskip("xgboost")
    folder = tmp_path_factory.mktemp("fil")
    random = np.random.default_rng(7)
    rows = random.normal(size=(40, 4)).astype(np.float32)
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(rows, np.arange(40) % 3)
    model.save_model(folder / "scores.json")
    np.save(folder / "rows.npy", rows)
    return folder


def add(booster, repository, *more):
    source = ("add-model", booster / "scores.json", "--name", "scores", "--sample", booster / "rows.npy")
    return repo_tool(*source, "--repository", repository, "--backend", "fil", *more)


def test_it_is_refused_with_the_way_to_have_it_all_the_same(booster, tmp_path):
    done = add(booster, tmp_path / "models")
    assert done.returncode == 2
    assert "no FIL backend" in done.stderr
    assert "--unverified" in done.stderr
    assert not (tmp_path / "models" / "scores").exists()


def test_unverified_it_is_published_and_says_so_wherever_one_looks(booster, tmp_path):
    done = add(booster, tmp_path / "models", "--unverified")
    assert done.returncode == 0, done.stderr
    assert "NOT PROVEN" in done.stdout
    model = ModelRepository(tmp_path / "models").model("scores")
    assert "NOT VERIFIED" in model.config_path.read_text()
    assert "were run before publishing" not in model.config_path.read_text()
    provenance = json.loads(model.provenance_path(1).read_text())
    assert (provenance["verified"], provenance["parity"]) == (False, None)
    shown = repo_tool("show", "scores", "--repository", tmp_path / "models")
    assert "no FIL backend" in shown.stdout, shown.stderr


def test_a_machine_reads_that_nothing_was_proven(booster, tmp_path):
    said = json.loads(add(booster, tmp_path / "models", "--unverified", "--json").stdout)
    assert (said["verified"], said["largest_absolute_difference"]) == (False, None)
