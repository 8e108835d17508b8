# SPDX-License-Identifier: Apache-2.0
"""``repo-tool diff`` as a person or a CI job runs it, and a real Triton that breaks where it says so."""

import json
import subprocess

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.workflows.diff_repositories import diff
from support.command import environment, everything_in, repo_tool
from support.golden import matches_golden
from support.inference import infer
from support.onnx_cases import Case, config, relu

CHURN = """
name: "churn"
backend: "onnxruntime"
max_batch_size: 32
input [ { name: "features" data_type: TYPE_FP32 dims: [ 30 ] } ]
output [ { name: "probabilities" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]
instance_group [ { kind: KIND_AUTO count: 1 } ]
"""
NEXT_CHURN = """
name: "churn"
backend: "onnxruntime"
max_batch_size: 16
input [
  { name: "measurements" data_type: TYPE_FP32 dims: [ 30 ] },
  { name: "region" data_type: TYPE_STRING dims: [ 1 ] optional: true }
]
output [ { name: "probabilities" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]
instance_group [ { kind: KIND_AUTO count: 2 } ]
dynamic_batching { max_queue_delay_microseconds: 500 default_queue_policy { max_queue_size: 64 } }
"""
SMALL = """
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""


def write(repository, name, text, labels="", **variants):
    model = repository / name
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(text)
    if labels:
        (model / "labels.txt").write_text(labels)
    for variant, words in variants.items():
        (model / "configs").mkdir(exist_ok=True)
        (model / "configs" / f"{variant}.pbtxt").write_text(words)
    return model


@pytest.fixture
def repositories(tmp_path):
    """Two states of a repository, `old` and `new`, in a folder."""
    old, new = tmp_path / "old", tmp_path / "new"
    write(old, "churn", CHURN, "stays\nleaves\n", gpu=CHURN.replace("AUTO", "GPU"))
    write(new, "churn", NEXT_CHURN, "stays\nleaves\nreturns\n")
    write(old, "retired", SMALL)
    write(new, "recent\x1b[31m", SMALL)
    for repository in (old, new):
        write(repository, "steady", SMALL)
    return tmp_path


def test_a_person_reads_what_breaks_first(repositories):
    done = repo_tool("diff", "old", "new", cwd=repositories, NO_COLOR="1")
    assert done.returncode == 1, done.stderr
    assert matches_golden(done.stdout, "diff/repositories.txt")


def test_a_program_reads_the_same(repositories):
    done = repo_tool("diff", "old", "new", "--json", cwd=repositories)
    assert done.returncode == 1
    assert matches_golden(done.stdout, "diff/repositories.json")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("old", "old", 0),
        ("old/steady", "new/steady", 0),
        ("old/churn/config.pbtxt", "old/churn/configs/gpu.pbtxt", 0),
        ("old/churn", "new/churn", 1),
        ("old/churn/config.pbtxt", "new/churn/config.pbtxt", 1),
        ("old", "old/churn", 2),
        ("old", "nowhere", 2),
        ("broken.pbtxt", "old/churn/config.pbtxt", 2),
        ("HEAD:old", "old", 2),
    ],
)
def test_the_exit_code_tells_a_ci_job(repositories, old, new, code):
    (repositories / "broken.pbtxt").write_text("max_batch_size: many")
    done = repo_tool("diff", old, new, cwd=repositories)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_revision_of_git_is_as_good_as_a_folder(repositories):
    git(repositories, "init", "--quiet")
    git(repositories, "add", "old")
    git(repositories, "commit", "--quiet", "--message", "first")
    before = everything_in(repositories / "old")
    (repositories / "old" / "churn" / "labels.txt").write_text("leaves\nstays\n")
    said = repo_tool("diff", "HEAD:old", "old", "--json", cwd=repositories)
    assert said.returncode == 1, said.stderr
    changes = [change for model in json.loads(said.stdout)["models"] for change in model["changes"]]
    assert {change["path"] for change in changes} == {"output[0].label_filename"}
    one = repo_tool("diff", "HEAD:old/churn/config.pbtxt", "new/churn/config.pbtxt", cwd=repositories)
    assert one.returncode == 1, one.stderr
    assert everything_in(repositories / "old").keys() == before.keys()


def git(folder, *arguments):
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, env=environment(), check=True, capture_output=True)


def test_labels_outside_of_the_model_directory_are_not_read(repositories):
    for name in ("old", "new"):
        escaping = CHURN.replace("labels.txt", "../../secret.txt")
        write(repositories / name, "escaping", escaping)
    (repositories / "secret.txt").write_text("password")
    assert "password" not in repo_tool("diff", "old", "new", "--json", cwd=repositories).stdout


WIDE, NARROW = (config([("x", "FP32", dims)], [("y", "FP32", [-1])], batch=4) for dims in ([-1], [4]))
STATES = {
    "wide": WIDE,
    "narrow": NARROW,
    "fewer_rows": WIDE.replace("max_batch_size: 4", "max_batch_size: 2"),
    "more_rows": WIDE.replace("max_batch_size: 4", "max_batch_size: 8"),
    "no_batches": config([("x", "FP32", [-1, -1])], [("y", "FP32", [-1, -1])], batch=0),
    "more_instances": WIDE.replace("count: 1", "count: 2"),
}
REQUESTS = [np.ones(shape, np.float32) for shape in ((1, 4), (2, 4), (4, 4), (8, 4), (9, 4), (1, 5), (4, 5))]


def test_triton_refuses_requests_exactly_where_a_change_breaks_them(tmp_path):
    for name, text in STATES.items():
        Case(name, relu(), text).write(tmp_path)
    with EmbeddedServer(tmp_path, ServerOptions(graceful_stop_s=0)) as server:
        assert all(outcome.is_ready for outcome in server.load_all())
        with grpc.InferenceServerClient(server.grpc_url) as client:
            taken = {name: [is_taken(client, name, rows) for rows in REQUESTS] for name in STATES}
    for old in STATES:
        for new in STATES:
            refused = any(before and not after for before, after in zip(taken[old], taken[new], strict=True))
            told = diff(str(tmp_path / old), str(tmp_path / new))
            words = {
                change.path for model in told.models for change in model.changes if change.effect.value == "breaking"
            }
            # Without a batch dimension nothing promises that an answer has as many rows as its request.
            promises_less = old != new == "no_batches"
            assert bool(words - {"name"}) == (refused or promises_less), (old, new, words)


def is_taken(client, model, rows):
    try:
        infer(client, model, {"x": rows})
    except InferenceServerException:
        return False
    return True


def test_folders_without_models_are_not_called_equal(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name / "models").mkdir(parents=True)
    done = repo_tool("diff", tmp_path / "old", tmp_path / "new")
    assert done.returncode == 2
    assert "holds a model" in done.stderr
