# SPDX-License-Identifier: Apache-2.0
"""Every command and every Python block of README and docs/ is run, page by page, with a real server."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.command import environment, repo_tool
from support.documents import Reader, blocks, commands

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "examples" / "demo"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NETS = """
from torch import nn


def make_net():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
"""

SCORING = next(block.text for block in blocks(ROOT / "docs" / "add-model.md") if "class Scorer" in block.text)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The demo's models under the names that the pages use, and `churn` in a repository."""
    folder = tmp_path_factory.mktemp("trained")
    for script in ("train_sklearn.py", "train_onnx.py", "train_pytorch.py", "train_keras.py"):
        subprocess.run(
            [sys.executable, DEMO / script, folder], env=environment(), check=True, capture_output=True, timeout=240
        )
    names = {
        "breast_cancer.joblib": "churn.joblib",
        "digits_cnn.pt2": "digits.pt2",
        "digits_cnn.sample.npz": "digits.npz",
        "digits_keras.keras": "digits.keras",
        "digits_keras.sample.npz": "digits_keras.npz",
        "digits_reader.pictures": "pictures",
    }
    for old, new in names.items():
        (folder / old).rename(folder / new)
    with np.load(folder / "breast_cancer.sample.npz") as sample:
        header = ",".join(f"measurement_{index}" for index in range(30))
        np.savetxt(folder / "rows.csv", sample["features"], delimiter=",", header=header, comments="")
    shutil.copyfile(DEMO / "digit_words.txt", folder / "digit_words.txt")
    write_net(folder)
    write_trees(folder)
    return folder


def write_net(folder):
    (folder / "nets.py").write_text(NETS)
    (folder / "scoring.py").write_text(SCORING)
    np.save(folder / "net.npy", np.ones((4, 6), dtype=np.float32))
    code = (
        "import nets, safetensors.torch as s; n = nets.make_net(); "
        "s.save_file({k: v.contiguous() for k, v in n.state_dict().items()}, 'net.safetensors')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


def write_trees(folder):
    code = (
        "import numpy, xgboost; x = numpy.loadtxt('rows.csv', delimiter=',', skiprows=1)[:, :4].astype('f4'); "
        "m = xgboost.XGBRegressor(n_estimators=5).fit(x, x.sum(axis=1)); m.save_model('trees.json'); "
        "numpy.savetxt('trees.csv', x, delimiter=',', header='a,b,c,d', comments='')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


@pytest.fixture(scope="session")
def with_churn(trained):
    done = repo_tool("add-model", "churn.joblib", "--name", "churn", "--sample", "rows.csv", cwd=trained)
    assert done.returncode == 0, done.stderr
    return trained


ELSEWHERE = (
    "client-testing.md",  # by tests/integration/client/test_testing_page.py, with a model that it names
    "remote.md",  # by tests/integration/remotes/test_remote_page.py, with an object store
)
FOLLOWED = [page for page in PAGES if page.name not in ELSEWHERE]


@pytest.mark.slow(reason="every command of every page, with a server for each")
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.name)
def test_the_page_can_be_followed(page, with_churn, tmp_path):
    folder = tmp_path / "reader"
    shutil.copytree(with_churn, folder)
    with Reader(folder) as reader:
        reader.follow(page)


def test_every_page_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in readme


def test_every_command_is_shown_somewhere():
    shown = " ".join(command for page in PAGES for command in commands(page))
    for name in (
        "add-model",
        "add-pipeline",
        "serve",
        "call",
        "bench",
        "show",
        "verify",
        "validate",
        "rule",
        "release",
        "plan",
        "apply",
        "config",
        "diff",
        "push",
        "pull",
        "sync",
        "doctor",
        "pipeline check",
        "pipeline explain",
        "pipeline graph",
        "pipeline run",
        "versions",
        "promote",
        "rollback",
        "remove",
        "prune",
        "client generate",
    ):
        assert f"repo-tool {name}" in shown


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile():
    targets = [line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line]
    made = [command.split()[1] for command in commands(ROOT / "README.md") if command.startswith("make ")]
    assert made == ["demo", "test"]
    assert set(made) <= set(targets)


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "make test" in script
    assert script.index("make test") < script.index("make check")


def test_every_fenced_block_of_a_page_is_closed():
    for page in PAGES:
        fences = [line for line in page.read_text().splitlines() if line.startswith("```")]
        assert len(fences) == 2 * len(blocks(page)), page.name
