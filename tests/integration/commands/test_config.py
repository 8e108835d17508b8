# SPDX-License-Identifier: Apache-2.0
"""``repo-tool config`` as a person types it."""

import json
import os
import pty
import subprocess

import pytest

from repo_tool.errors import UserMistakeError
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.edit_config import as_plain_values, change_config, field_value, split_assignment
from support.command import REPO_TOOL, environment, everything_in, repo_tool
from support.onnx_cases import relu, save_file

SMALL = """\
# Ours. Keep it.
name: "small"
backend: "onnxruntime"
max_batch_size: 8  # as the clients send it
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
parameters { key: "a=b" value { string_value: "1" } }
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
POLICY, POLICY_OF_1 = "priority_queue_policy { key: 1 value", "dynamic_batching.priority_queue_policy[1]"
CHAIN = """\
platform: "ensemble"
max_batch_size: 8
input [ { name: "a" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "b" data_type: TYPE_FP32 dims: [ 4 ] } ]
ensemble_scheduling { step { model_name: "small" model_version: -1
  input_map { key: "x" value: "a" } output_map { key: "y" value: "b" } } }
"""


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "models"
    (folder / "small" / "1").mkdir(parents=True)
    save_file(relu(["N", 4]), folder / "small" / "1")
    (folder / "small" / "config.pbtxt").write_text(SMALL)
    (folder / "chain" / "1").mkdir(parents=True)
    (folder / "chain" / "config.pbtxt").write_text(CHAIN)
    return folder


def read(repository):
    return (repository / "small" / "config.pbtxt").read_text()


def run(repository, *arguments, **more):
    return repo_tool("config", "small", *arguments, "--repository", repository, **more)


def test_without_more_it_prints_the_file_as_it_is(repository):
    shown = run(repository)
    assert (shown.returncode, shown.stdout) == (0, SMALL)


def test_one_field_is_shown_as_it_is_written(repository):
    assert run(repository, "input[0].dims").stdout == "[ 4 ]\n"
    assert run(repository, "parameters[a=b]").stdout == '{ string_value: "1" }\n'


def test_json_has_the_values_by_the_proto_s_names(repository):
    whole = json.loads(run(repository, "--json").stdout)
    assert whole["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert whole["parameters"] == {"a=b": {"string_value": "1"}}
    assert json.loads(run(repository, "input[0].dims", "--json").stdout) == [4]


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("max_batch_size: 0", "max_batch_size", 0),
        ("instance_group { kind: KIND_AUTO }", "instance_group[0].kind", "KIND_AUTO"),
        ('backend: ""', "backend", ""),
        ("response_cache { enable: false }", "response_cache.enable", False),
        ("dynamic_batching { }", "dynamic_batching", {}),
        ("input { dims: [ 1, 2 ] }", "input[0].dims[1]", 2),
        ('parameters { key: "a" value { string_value: "" } }', "parameters[a].string_value", ""),
        (f"dynamic_batching {{ {POLICY} {{ max_queue_size: 0 }} }} }}", f"{POLICY_OF_1}.max_queue_size", 0),
    ],
)
def test_json_has_defaults_that_are_written(text, path, value):
    assert as_plain_values(text, path) == value


def test_a_field_is_set_and_the_rest_stays(repository):
    shown = run(repository, "--set", "dynamic_batching.max_queue_delay_microseconds=500", "--set", "parameters[a=b]=2")
    assert shown.returncode == 0
    assert '+parameters { key: "a=b" value { string_value: "2" } }' in shown.stdout
    assert "repo-tool deploy small" in shown.stderr
    expected = SMALL.replace('"1"', '"2"') + "dynamic_batching { max_queue_delay_microseconds: 500 }\n"
    assert read(repository) == expected
    assert run(repository, "--unset", "dynamic_batching").returncode == 0
    assert read(repository) == SMALL.replace('"1"', '"2"')


def test_the_diff_is_ready_for_patch(repository, tmp_path):
    shown = run(repository, "--set", "max_batch_size=16", "--set", "name=", "--dry-run")
    subprocess.run(["patch", "-p1"], cwd=repository, input=shown.stdout, text=True, check=True, capture_output=True)
    assert read(repository) == SMALL.replace("size: 8", "size: 16").replace('"small"', '""')


def test_only_a_line_feed_ends_a_line_of_the_diff(repository):
    path = repository / "small" / "config.pbtxt"
    text = SMALL.replace("# as the clients", "# as\u2028all\x0cthe\x0bmany\x85good\u2029clients")
    path.write_bytes(text.encode())
    shown = run(repository, "--set", "max_batch_size=16", "--dry-run")
    patch = ["patch", "-p1", "--fuzz=0"]
    subprocess.run(patch, cwd=repository, input=shown.stdout.encode(), check=True, capture_output=True)
    assert path.read_bytes() == text.replace("size: 8", "size: 16").encode()


def test_a_dry_run_writes_nothing(repository):
    before = everything_in(repository)
    shown = run(repository, "--set", "max_batch_size=16", "--dry-run", "--json")
    facts = json.loads(shown.stdout)
    assert (facts["file"], facts["changed"], facts["written"]) == ("small/config.pbtxt", True, False)
    assert everything_in(repository) == before


def test_nothing_is_left_beside_the_model(repository):
    before = set(everything_in(repository))
    mode = 0o640
    (repository / "small" / "config.pbtxt").chmod(mode)
    run(repository, "--set", "max_batch_size=16")
    assert set(everything_in(repository)) == before
    assert (repository / "small" / "config.pbtxt").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("input[0].dims=[5]", "SIG108: small: input[0] 'x' is declared"),
        ("max_batch_size=4", "ENS110: chain: max_batch_size is 8"),  # the ensemble that it is a step of
        ("max_batch_sise=4", "did you mean max_batch_size?"),
        ("max_batch_size=many", "it is a whole number"),
        ("max_batch_size", "no equals sign"),
    ],
)
def test_what_would_not_load_or_is_no_field_is_refused(repository, assignment, words):
    before = everything_in(repository)
    with pytest.raises(UserMistakeError) as refused:
        change_config(ModelRepository(repository), "small", assignments=[split_assignment(assignment)])
    assert words in str(refused.value)
    assert everything_in(repository) == before


def test_a_refusal_leaves_with_2(repository):
    refused = run(repository, "--set", "input[0].dims=[5]")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "would not load with this change" in refused.stderr


def test_an_error_that_was_there_before_does_not_refuse_another_change(repository):
    path = repository / "small" / "config.pbtxt"
    path.write_text(SMALL.replace("dims: [ 4 ] } ]\noutput", "dims: [ 5 ] } ]\noutput"))
    assert run(repository, "--set", "instance_group[0].count=2").returncode == 0


def test_a_change_after_which_a_comment_would_hide_an_error_is_refused(repository):
    path = repository / "small" / "config.pbtxt"
    wrong = "response_cache { } input [ { # repo-tool: allow SIG108 because so\n"
    path.write_text(SMALL.replace("input [ {", wrong).replace("dims: [ 4 ] } ]\noutput", "dims: [ 5 ] } ]\noutput"))
    before = everything_in(repository)
    with pytest.raises(UserMistakeError, match=r"SIG108.*a comment in the file would come to suppress it"):
        change_config(ModelRepository(repository), "small", assignments=[], removals=["response_cache"])
    assert everything_in(repository) == before


def test_what_the_rules_say_anew_is_told_and_written(repository):
    shown = run(repository, "--set", "dynamic_batching.max_queue_delay_microseconds=500000")
    assert shown.returncode == 0
    assert ": CFG206 dynamic_batching" in shown.stderr


def test_nothing_to_change_says_so(repository):
    shown = run(repository, "--set", "max_batch_size=8")
    assert (shown.returncode, shown.stdout) == (0, "nothing to change: the file says so already\n")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("backend2", "did you mean backend?"),
        ("runtime", "'runtime' is not written; without it Triton reads \"\""),
        ("instance_group[0].passive", "without it Triton reads false"),
        ("instance_group[1].kind", "without it Triton reads KIND_AUTO"),
        ("response_cache", "'response_cache' is not written"),
    ],
)
def test_what_cannot_be_shown_is_told(path, words):
    with pytest.raises(UserMistakeError) as refused:
        field_value(SMALL, path)
    assert words in str(refused.value)


def test_a_field_is_shown_or_changed(repository):
    refused = run(repository, "name", "--set", "name=x")
    assert refused.returncode == 2
    assert "not both" in refused.stderr


def test_a_variant_is_shown_and_changed_in_its_own_file(repository):
    variant = repository / "small" / "configs" / "cpu.pbtxt"
    variant.parent.mkdir()
    variant.write_text(SMALL)
    assert run(repository, "--variant", "cpu", "--set", "instance_group[0].count=3").returncode == 0
    assert variant.read_text() == SMALL.replace("count: 1", "count: 3")
    assert read(repository) == SMALL
    place = ModelRepository(repository)
    for name in ("gpu", "../config", "../../chain/config"):
        with pytest.raises(UserMistakeError, match="has no variant"):
            change_config(place, "small", assignments=[("max_batch_size", "16")], variant=name)


VARIANT = SMALL.replace("# Ours. Keep it.", "# For one machine.")
GPU = VARIANT.replace("KIND_CPU", "KIND_GPU").replace('"1"', '"4"')


@pytest.fixture
def variants(repository):
    """The texts of both variants as they are now."""
    folder = repository / "small" / "configs"
    folder.mkdir()
    (folder / "cpu.pbtxt").write_text(VARIANT)
    (folder / "gpu.pbtxt").write_text(GPU)
    (folder / "mine.pbtxt").write_text(VARIANT)
    return lambda: {path.stem: path.read_text() for path in folder.iterdir()}


def test_a_change_is_carried_into_the_variants_and_shown(repository, variants):
    shown = run(repository, "--set", "max_batch_size=16", "--set", "instance_group[0].count=2")
    assert shown.returncode == 0, shown.stderr
    assert [line for line in shown.stdout.splitlines() if line.startswith("+++")] == [
        *("+++ b/small/config.pbtxt", "+++ b/small/configs/cpu.pbtxt", "+++ b/small/configs/gpu.pbtxt")
    ]
    changed = {
        name: text.replace("size: 8", "size: 16").replace("count: 1", "count: 2")
        for name, text in {"cpu": VARIANT, "gpu": GPU}.items()
    }
    assert variants() == changed | {"mine": VARIANT}


def test_what_a_variant_has_of_its_own_stays_and_is_told(repository, variants):
    shown = run(repository, "--set", "parameters[a=b]=2", "--set", "instance_group[0].kind=KIND_AUTO")
    assert "kept: small/configs/gpu.pbtxt has its own parameters[a=b]; change it with --variant gpu" in shown.stderr
    assert "kept: small/configs/gpu.pbtxt has its own instance_group[0].kind" in shown.stderr
    assert variants()["gpu"] == GPU
    facts = json.loads(run(repository, "--set", "parameters[a=b]=3", "--dry-run", "--json").stdout)
    assert facts["kept"] == [{"file": "small/configs/gpu.pbtxt", "field": "parameters[a=b]"}]
    assert facts["files"] == ["small/config.pbtxt", "small/configs/cpu.pbtxt"]


def test_a_variant_that_would_not_load_refuses_the_whole_change(repository, variants):
    own = VARIANT.replace("instance_group", "dynamic_batching { preferred_batch_size: 8 }\ninstance_group")
    (repository / "small" / "configs" / "cpu.pbtxt").write_text(own)
    before = everything_in(repository)
    (repository / "chain" / "config.pbtxt").write_text(CHAIN.replace("size: 8", "size: 4"))
    refused = run(repository, "--set", "max_batch_size=4")
    assert refused.returncode == 2
    assert "small/configs/cpu.pbtxt" in refused.stderr
    (repository / "chain" / "config.pbtxt").write_text(CHAIN)
    assert everything_in(repository) == before


def test_a_variant_that_does_not_parse_refuses_the_change(repository, variants):
    (repository / "small" / "configs" / "gpu.pbtxt").write_text("max_batch_sise: 8")
    before = everything_in(repository)
    refused = run(repository, "--set", "max_batch_size=4")
    assert refused.returncode == 2
    assert "cannot be carried into 'small/configs/gpu.pbtxt'" in refused.stderr
    assert everything_in(repository) == before


def test_a_link_is_not_parted_from_its_file(repository, tmp_path):
    path = repository / "small" / "config.pbtxt"
    path.rename(tmp_path / "shared.pbtxt")
    path.symlink_to(tmp_path / "shared.pbtxt")
    refused = run(repository, "--set", "max_batch_size=16")
    assert refused.returncode == 2
    assert "is a link" in refused.stderr
    assert path.is_symlink()


def test_a_terminal_gets_colours_and_the_same_words(repository):
    ours, theirs = pty.openpty()
    command = [REPO_TOOL, "config", "small", "-r", str(repository)]
    subprocess.run(command, stdout=theirs, env=environment(TERM="xterm", NO_COLOR=""), check=True)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "\x1b[" in shown
    assert "max_batch_size" in shown
