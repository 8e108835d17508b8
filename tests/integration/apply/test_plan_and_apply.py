# SPDX-License-Identifier: Apache-2.0
"""One repository through its life by ``repo-tool.yaml``: made, edited by hand, retrained, cut down."""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import yaml

from repo_tool.repository.layout import ModelRepository
from support.command import REPO_TOOL, environment, everything_in, repo_tool

DELAY = "dynamic_batching.max_queue_delay_microseconds"
PIPELINE = """
name: varieties
inputs:
  features: {datatype: FP32, dims: [4]}
steps:
  - model: iris
    outputs: {label: number, probabilities: chances}
  - use: top_k_labels
    with: {k: 2, labels: {file: words.txt}}
    inputs: {probabilities: chances}
outputs: [label, top_labels]
"""
TRAINING = """
from pathlib import Path

import joblib

MODEL = joblib.load(Path(__file__).with_name("iris.joblib"))


def as_trained(features):
    return {"chances": MODEL.predict_proba([features])[0]}
"""


def train(folder, name, *, strength=1.0):
    import joblib
    from sklearn import datasets
    from sklearn.linear_model import LogisticRegression

    rows, answers = getattr(datasets, f"load_{name}")(return_X_y=True)
    rows = (rows / rows.max(axis=0)).astype(np.float32)
    joblib.dump(LogisticRegression(C=strength).fit(rows, answers), folder / f"{name}.joblib")
    np.savez(folder / f"{name}.npz", features=rows[::6])


def listed(**config):
    return {
        "schema": 1,
        "options": {"repository": "models", "release": "26.07"},
        "models": [
            {"name": "wine", "source": "wine.joblib", "sample": "wine.npz", "config": config},
            {"name": "iris", "source": "iris.joblib", "sample": "iris.npz", "instances": 2},
        ],
        "pipelines": [{"file": "varieties.yaml", "sample": "iris.npz", "reference": "training.py:as_trained"}],
    }


def write(folder, declared):
    (folder / "repo-tool.yaml").write_text(yaml.safe_dump(declared))


def plan(folder, *options):
    """The exit code, and what would be done as {model: (action, reasons)}."""
    done = repo_tool("plan", "--json", *options, cwd=folder)
    said = json.loads(done.stdout)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, {entry["model"]: (entry["action"], entry["reasons"]) for entry in said["actions"]}


def apply(folder, *options):
    done = repo_tool("apply", "--yes", "--json", *options, cwd=folder)
    said = json.loads(done.stdout)
    return done.returncode, {entry["model"]: (entry["result"], entry["version"]) for entry in said["outcomes"]}, said


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with sources, the file and the repository that apply made of them; and what it said."""
    folder = tmp_path_factory.mktemp("described")
    for name in ("wine", "iris"):
        train(folder, name)
    (folder / "varieties.yaml").write_text(PIPELINE)
    (folder / "words.txt").write_text("setosa\nversicolor\nvirginica\n")
    (folder / "training.py").write_text(TRAINING)
    write(folder, listed(**{DELAY: 300}))
    before = plan(folder)
    return folder, before, apply(folder)


@pytest.fixture
def folder(made, tmp_path):
    """A clone of it: the same files at other times in another place."""
    shutil.copytree(made[0], tmp_path / "clone", copy_function=shutil.copyfile)
    return tmp_path / "clone"


def config_of(folder, model):
    return ModelRepository(folder / "models").model(model)


def test_what_is_listed_is_made_and_proven(made):
    folder, (code, planned), (applied_code, outcomes, said) = made
    assert (code, [action for action, _ in planned.values()]) == (1, ["add", "add", "add"])
    assert (applied_code, outcomes) == (0, {"wine": ("done", 1), "iris": ("done", 1), "varieties": ("done", 1)})
    assert said["published"]
    assert [found for found in said["diagnostics"] if found["severity"] == "error"] == []
    assert config_of(folder, "wine").read_config().dynamic_batching.max_queue_delay_us == 300
    facts = json.loads(config_of(folder, "varieties").provenance_path(1).read_text())
    assert (facts["by"], facts["verified"], facts["member_versions"]) == ("apply", True, {"iris": 1})
    assert (facts["reference"]["source"], facts["reference"]["rows"]) == ("training.py:as_trained", 25)


@pytest.mark.slow(reason="a pipeline is proven anew")
def test_a_pipeline_is_compared_again_with_training_code_that_has_changed(folder):
    (folder / "training.py").write_text(TRAINING.replace("[features]", "[features * 2]"))
    code, planned = plan(folder)
    assert (code, planned["varieties"][0]) == (1, "change")
    assert planned["varieties"][1][0].startswith("reference: ")
    code, outcomes, _ = apply(folder)
    assert (code, outcomes["varieties"][0]) == (1, "failed")
    assert ModelRepository(folder / "models").model("varieties").versions() == (1,)


def test_a_clone_has_nothing_to_do_and_apply_says_so(folder):
    before = everything_in(folder)
    done = repo_tool("plan", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "nothing to do: models has 3 as repo-tool.yaml says\n")
    again = repo_tool("apply", cwd=folder)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert everything_in(folder) == before


def test_an_edit_by_hand_is_found_and_given_back(folder):
    path = config_of(folder, "iris").config_path
    as_applied = path.read_text()
    path.write_text(as_applied.replace("count: 2", "count: 9"))
    code, planned = plan(folder)
    assert (code, planned) == (1, {"iris": ("configure", ["config.pbtxt is not as listed"])})
    shown = repo_tool("plan", cwd=folder).stdout
    assert "-  { kind: KIND_AUTO count: 9 }" in shown
    assert "+  { kind: KIND_AUTO count: 2 }" in shown
    assert apply(folder)[:2] == (0, {"iris": ("done", None)})
    assert path.read_text() == as_applied
    assert plan(folder) == (0, {})


@pytest.mark.slow(reason="two plans and an application, each a command")
def test_a_field_set_otherwise_changes_the_configuration_alone(folder):
    path = config_of(folder, "wine").config_path
    path.write_text(f"# a person's own words\n{path.read_text()}")
    assert plan(folder) == (0, {})
    write(folder, listed(**{DELAY: 700}))
    assert plan(folder)[1]["wine"][0] == "configure"
    assert apply(folder)[0] == 0
    assert path.read_text().startswith("# a person's own words\n")
    assert config_of(folder, "wine").read_config().dynamic_batching.max_queue_delay_us == 700
    assert config_of(folder, "wine").versions() == (1,)


def test_a_configuration_that_triton_refuses_is_not_applied(folder):
    write(folder, listed(**{"instance_group[0].kind": "KIND_GPU", "instance_group[0].count": 0, "max_batch_size": -1}))
    before = everything_in(folder / "models")
    code, outcomes, said = apply(folder)
    assert (code, outcomes["wine"][0]) == (1, "failed")
    assert said["outcomes"][0]["error"]["fact"]
    assert everything_in(folder / "models") == before


@pytest.mark.slow(reason="a model and its pipeline are made anew")
def test_a_retrained_model_gets_a_version_and_so_does_what_uses_it(folder):
    train(folder, "iris", strength=0.5)
    code, planned = plan(folder)
    assert code == 1
    assert planned.keys() == {"iris", "varieties"}
    assert planned["iris"][1][0].startswith("source: ")
    assert planned["varieties"][1] == ["its model 'iris' gets a new version"]
    assert apply(folder)[:2] == (0, {"iris": ("done", 2), "varieties": ("done", 2)})
    assert plan(folder) == (0, {})


def test_a_label_is_no_edit_by_hand(folder):
    """The version that it points at is loaded beside the newest one, as the file does not say."""
    wine = folder / "models" / "wine"
    shutil.copytree(wine / "1", wine / "2")
    assert plan(folder) == (0, {})
    labelled = repo_tool("promote", "wine", "--version", "1", "--label", "stable", "-r", folder / "models")
    assert labelled.returncode == 0, labelled.stderr
    assert ModelRepository(folder / "models").model("wine").read_config().version_policy.specific == (1, 2)
    assert plan(folder) == (0, {})


@pytest.mark.slow(reason="three plans and two applications, each a command")
def test_what_is_no_longer_listed_goes_unless_somebody_else_added_it(folder):
    declared = listed()
    declared["models"] = declared["models"][1:]
    write(folder, declared)
    shutil.copytree(folder / "models" / "wine", folder / "models" / "theirs")
    config = config_of(folder, "theirs").config_path
    config.write_text(config.read_text().replace('name: "wine"', 'name: "theirs"', 1))
    facts = config_of(folder, "theirs").provenance_path(1)
    facts.write_text(facts.read_text().replace('"by": "apply"', '"by": "add-model"'))
    assert plan(folder) == (1, {"wine": ("remove", ["it is not listed and apply added it"])})
    assert apply(folder)[:2] == (0, {"wine": ("done", None)})
    assert sorted(path.name for path in (folder / "models").iterdir()) == [
        "iris",
        "theirs",
        "varieties",
    ]
    assert plan(folder) == (0, {})
    assert plan(folder, "--prune") == (1, {"theirs": ("remove", ["it is not listed"])})
    write(folder, {"options": {"repository": "models"}})
    assert apply(folder)[0] == 0
    assert [path.name for path in (folder / "models").iterdir()] == ["theirs"]


def test_one_that_fails_stops_those_alone_that_need_it_and_a_dry_run_publishes_nothing(folder):
    before = everything_in(folder / "models")
    train(folder, "wine", strength=0.5)
    (folder / "iris.joblib").write_bytes(b"no model")
    code, outcomes, said = apply(folder, "--dry-run")
    assert (code, outcomes) == (
        1,
        {"wine": ("done", 2), "iris": ("failed", None), "varieties": ("skipped", None)},
    )
    assert [entry["why"] for entry in said["outcomes"] if entry["result"] == "skipped"] == [
        "'iris' comes first, and failed"
    ]
    assert not said["published"]
    assert everything_in(folder / "models") == before


def has_begun(folder):
    """Whether a model is being converted: its worker has written something."""
    staged = (folder / ".models.repo-tool" / "staging").glob("*")
    return any(any((each / "work").glob("*")) for each in staged)


def test_ctrl_c_leaves_the_repository_as_it_was_and_the_next_run_goes_on(folder):
    train(folder, "iris", strength=0.5)
    before = everything_in(folder / "models")
    process = subprocess.Popen(
        [REPO_TOOL, "apply", "--yes"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not has_begun(folder) and time.monotonic() < deadline:
        time.sleep(0.02)  # between two looks of a poll with a deadline
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopped after 0 of 2: apply again to go on" in said
    assert everything_in(folder / "models") == before
    assert not list(folder.glob(".models.repo-tool/staging/*"))


def test_nothing_is_changed_without_a_word(folder):
    train(folder, "iris", strength=0.5)
    done = repo_tool("apply", cwd=folder)
    assert done.returncode == 2
    assert "pass --yes" in done.stderr
    typed, terminal = os.openpty()
    os.write(typed, b"n\n")
    asked = subprocess.run(
        [REPO_TOOL, "apply"], cwd=folder, env=environment(), stdin=terminal, capture_output=True, text=True, check=False
    )
    assert (asked.returncode, "nothing was changed" in asked.stderr) == (1, True), asked.stderr
    assert plan(folder)[0] == 1


def test_a_pointer_of_git_lfs_is_as_good_as_the_file(folder):
    for path in (folder / "wine.joblib", config_of(folder, "wine").version_path(1) / "model.onnx"):
        import hashlib

        digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
        path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n")
    assert plan(folder) == (0, {})


def test_the_plan_has_no_colours_when_asked_and_some_else(folder):
    train(folder, "iris", strength=0.5)
    assert "\x1b[" not in repo_tool("plan", cwd=folder).stdout
    coloured = subprocess.run(
        [REPO_TOOL, "plan"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "\x1b[" in coloured.stdout
