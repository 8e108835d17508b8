# SPDX-License-Identifier: Apache-2.0
"""The hooks, the action and the GitLab template: valid by their systems' schemas, and run here as there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from support.command import REPO_TOOL, environment
from support.documents import blocks

ROOT = Path(__file__).parents[3]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
GITLAB = yaml.safe_load((ROOT / "deploy" / "ci" / "gitlab.yml").read_text())
STEPS = {step.get("id", step.get("uses", "").partition("@")[0]): step for step in ACTION["runs"]["steps"]}
FOREIGN_VERSIONS = ("1.0 --index-url=x", "@ git+x", "$(id)", "../x", "1.0\n--pre")
HOSTILE = ("$(touch pwned)", '"; touch pwned; "', "a\ntouch pwned", "-x", "*")


def run(*command, cwd, **more):
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """Somebody's work tree with a good repository, and a runner's folders."""
    work = tmp_path / "work"
    shutil.copytree(
        ROOT / "model_repository" / "wine",
        work / "model_repository" / "wine",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    tool = tmp_path / "runner" / "repo-tool" / "bin" / "repo-tool"
    tool.parent.mkdir(parents=True)
    tool.symlink_to(REPO_TOOL)
    return work


def break_model(work):
    config = work / "model_repository" / "wine" / "config.pbtxt"
    config.write_text(re.sub(r"max_batch_size: \d+", "max_batch_size: -7", config.read_text()))


def run_step(name, work, **inputs):
    """Run one step as the action's runner does: inputs in the environment, the script in a file of its own."""
    step, runner = STEPS[name], work.parent / "runner"
    given = {key: spec.get("default", "") for key, spec in ACTION["inputs"].items()} | inputs
    values = {f"${{{{ inputs.{key} }}}}": value for key, value in given.items()}
    values["${{ github.action_path }}"] = str(ROOT)
    script = runner / "script.sh"
    script.write_text(step["run"])
    variables = {name: values[expression] for name, expression in step["env"].items()}
    output = runner / "output"
    output.write_text("")
    done = run(
        *("bash", "--noprofile", "--norc", "-eo", "pipefail", script),
        cwd=work,
        RUNNER_TEMP=str(runner),
        GITHUB_OUTPUT=str(output),
        PATH=f"{runner}/stand-ins:{os.environ['PATH']}",
        **variables,
    )
    return done, dict(line.split("=", 1) for line in output.read_text().splitlines())


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        (["--builtin-schema", "vendor.github-actions"], "action.yml"),
        (["--builtin-schema", "vendor.gitlab-ci"], "deploy/ci/gitlab.yml"),
        (["--check-metaschema"], "docs/repo-tool.schema.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_is_what_its_system_accepts(schema, file):
    done = run(Path(sys.executable).parent / "check-jsonschema", *schema, file, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_of_the_page_are_what_their_systems_accept(tmp_path):
    page = {block.text.splitlines()[0][2:]: block.text for block in blocks(ROOT / "docs" / "ci.md")}
    schemas = {".github/workflows/models.yaml": "vendor.github-workflows", ".gitlab-ci.yml": "vendor.gitlab-ci"}
    for name, schema in schemas.items():
        (tmp_path / "example.yaml").write_text(page[name])
        check = Path(sys.executable).parent / "check-jsonschema"
        done = run(check, "--builtin-schema", schema, "example.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    example = yaml.safe_load(page[".github/workflows/models.yaml"])
    used = example["jobs"]["validate"]["steps"][1]["with"]
    assert used.keys() <= ACTION["inputs"].keys()
    assert set(yaml.safe_load(page[".gitlab-ci.yml"])["variables"]) <= GITLAB["variables"].keys()


def test_every_input_is_documented():
    page = (ROOT / "docs" / "ci.md").read_text()
    assert all(f"| `{name}` |" in page for name in ACTION["inputs"])


def test_no_script_of_the_action_has_an_expression_in_its_text():
    assert all("${{" not in step.get("run", "") for step in ACTION["runs"]["steps"])


def test_what_others_wrote_is_used_at_a_commit_with_its_version_beside_it():
    used = [line for line in (ROOT / "action.yml").read_text().splitlines() if "uses:" in line]
    assert len(used) == 2
    for line in used:
        commit = line.partition("@")[2]
        assert len(commit.split()[0]) == 40
        assert commit.split()[1:2] == ["#"]
        assert commit.split()[2].startswith("v")


@pytest.mark.parametrize(
    ("inputs", "report"),
    [
        ({}, None),
        ({"format": "text", "release": "26.07 26.08", "strict": "true"}, None),
        ({"format": "sarif"}, "repo-tool.sarif"),
        ({"format": "junit", "release": "24.10,26.07"}, "repo-tool.xml"),
    ],
)
def test_the_action_passes_a_good_repository_and_writes_the_report(folder, inputs, report):
    done, output = run_step("validate", folder, **inputs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert output == ({"report": str(folder.parent / "runner" / report)} if report else {})
    assert report is None or (folder.parent / "runner" / report).stat().st_size > 0


def test_the_action_fails_a_bad_repository_with_an_annotation(folder):
    break_model(folder)
    done, _ = run_step("validate", folder)
    assert done.returncode == 1
    assert done.stdout.startswith("::error ")
    assert "file=model_repository/wine/config.pbtxt" in done.stdout


@pytest.mark.parametrize(
    ("step", "names"),
    [("validate", ("path", "release", "strict", "format")), ("plan", ("plan",)), ("install", ("version",))],
)
@pytest.mark.parametrize("words", HOSTILE)
def test_no_input_of_the_action_is_run(folder, step, names, words):
    stand_in_python(folder)
    done, _ = run_step(step, folder, **dict.fromkeys(names, words))
    assert done.returncode != 0
    assert not list(folder.parent.rglob("pwned"))


def stand_in_python(folder):
    """A ``python`` that writes down what it is asked for, in place of one that installs for a minute."""
    stand_in = folder.parent / "runner" / "stand-ins" / "python"
    stand_in.parent.mkdir(exist_ok=True)
    stand_in.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" >> "$RUNNER_TEMP/asked"\n'
        '[ "$2" != venv ] || { mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; }\n'
    )
    stand_in.chmod(0o755)
    return folder.parent / "runner" / "asked"


@pytest.mark.parametrize(
    ("version", "what"),
    [("", f"{ROOT}[onnx]"), ("0.2.0", "triton-repo-tool[onnx]==0.2.0"), ("1.0rc1", "triton-repo-tool[onnx]==1.0rc1")],
)
def test_the_action_installs_itself_or_the_version_asked_for(folder, version, what):
    asked = stand_in_python(folder)
    done, _ = run_step("install", folder, version=version)
    assert done.returncode == 0, done.stderr
    assert asked.read_text().splitlines()[-1] == what


@pytest.mark.parametrize("version", FOREIGN_VERSIONS)
def test_the_action_installs_nothing_else(folder, version):
    asked = stand_in_python(folder)
    done, _ = run_step("install", folder, version=version)
    assert done.returncode == 2
    assert not asked.exists()


def test_the_action_holds_the_repository_against_its_file(folder):
    (folder / "repo-tool.yaml").write_text("schema: 1\n")
    assert run_step("plan", folder, plan="repo-tool.yaml")[0].returncode == 0
    assert run_step("plan", folder, plan="absent.yaml")[0].returncode == 2


@pytest.mark.parametrize(("is_broken", "releases"), [(False, "26.07 26.08"), (False, "26.07,26.08"), (True, "")])
def test_the_gitlab_template_reports_what_it_finds(folder, is_broken, releases):
    if is_broken:
        break_model(folder)
    job = GITLAB["repo-tool-validate"]
    variables = GITLAB["variables"] | {"REPO_TOOL_RELEASES": releases, "REPO_TOOL_STRICT": "true"}
    path = f"{REPO_TOOL.parent}:{os.environ['PATH']}"
    done = run("sh", "-ec", "\n".join(job["script"]), cwd=folder, **variables | {"PATH": path})
    assert done.returncode == (1 if is_broken else 0), done.stdout + done.stderr
    report = ElementTree.parse(folder / job["artifacts"]["reports"]["junit"]).getroot()  # noqa: S314  # we wrote it
    assert bool(list(report.iter("failure"))) == is_broken


@pytest.mark.parametrize(
    ("version", "what"),
    [
        ("", "triton-repo-tool[onnx]"),
        ("1!1.0rc1+us", "triton-repo-tool[onnx]==1!1.0rc1+us"),
        *((version, None) for version in FOREIGN_VERSIONS),
    ],
)
def test_the_gitlab_template_installs_a_version_and_nothing_else(folder, version, what):
    asked = stand_in_python(folder)
    path = f"{folder.parent}/runner/stand-ins:{os.environ['PATH']}"
    script = "\n".join(GITLAB[".repo-tool"]["before_script"])
    variables = {"REPO_TOOL_VERSION": version, "RUNNER_TEMP": str(folder.parent / "runner"), "PATH": path}
    done = run("sh", "-ec", script, cwd=folder, **GITLAB["variables"] | variables)
    assert done.returncode == (0 if what else 2), done.stderr
    assert (asked.read_text().splitlines()[-1] if asked.exists() else None) == what
    assert not list(folder.parent.rglob("pwned"))


@pytest.mark.parametrize("words", HOSTILE[:2])
def test_no_variable_of_the_gitlab_template_is_run(folder, words):
    path = f"{REPO_TOOL.parent}:{os.environ['PATH']}"
    variables = dict.fromkeys(GITLAB["variables"], words) | {"PATH": path}
    run("sh", "-ec", "\n".join(GITLAB["repo-tool-validate"]["script"]), cwd=folder, **variables)
    run("sh", "-ec", "\n".join(GITLAB["repo-tool-plan"]["script"]), cwd=folder, **variables)
    assert not list(folder.parent.rglob("pwned"))


def test_the_hooks_run_in_somebody_elses_repository(folder, tmp_path):
    """Each hook as pre-commit runs it, but from this environment: one of its own would take minutes to install."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == ["repo-tool-validate", "repo-tool-plan"]
    here = [
        {key: value for key, value in hook.items() if key != "additional_dependencies"} | {"language": "system"}
        for hook in hooks
    ]
    ours = tmp_path / "hooks"
    ours.mkdir()
    (ours / ".pre-commit-hooks.yaml").write_text(yaml.safe_dump(here))
    (folder / "repo-tool.yaml").write_text("schema: 1\n")
    for place in (ours, folder):
        git("init", "--quiet", "--initial-branch=main", cwd=place)
        git("add", ".", cwd=place)
        git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "first", cwd=place)
    good = try_hooks(ours, folder, tmp_path)
    assert good.returncode == 0, good.stdout + good.stderr
    assert good.stdout.count("Passed") == 2
    break_model(folder)
    bad = try_hooks(ours, folder, tmp_path)
    assert bad.returncode == 1, bad.stdout + bad.stderr
    assert "max_batch_size: -7" in bad.stdout


def try_hooks(ours, folder, tmp_path):
    return run(
        *(Path(sys.executable).parent / "pre-commit", "try-repo", ours, "--all-files", "--color=never"),
        cwd=folder,
        PRE_COMMIT_HOME=str(tmp_path / "cache"),
        PATH=f"{REPO_TOOL.parent}:{os.environ['PATH']}",
    )


def git(*arguments, cwd):
    done = run("git", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr


def test_pre_commit_accepts_the_hooks():
    done = run(Path(sys.executable).parent / "pre-commit", "validate-manifest", ".pre-commit-hooks.yaml", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
