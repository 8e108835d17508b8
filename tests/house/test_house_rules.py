# SPDX-License-Identifier: Apache-2.0
"""The code's own rules that no linter knows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.command import repo_tool
from support.golden import matches_golden

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "add-model",
    "add-pipeline",
    "serve",
    "deploy",
    "call",
    "client",
    "client generate",
    "bench",
    "show",
    "versions",
    "promote",
    "rollback",
    "remove",
    "prune",
    "fsck",
    "history",
    "verify",
    "validate",
    "rule",
    "release",
    "diff",
    "config",
    "plan",
    "apply",
    "push",
    "pull",
    "sync",
    "doctor",
    "pipeline",
    "pipeline check",
    "pipeline explain",
    "pipeline graph",
    "pipeline run",
    "pipeline steps",
    "pipeline schema",
)
HEAVY = ("numpy", "onnx", "onnxruntime", "pandas", "sklearn", "tensorflow", "torch", "tritonclient", "yaml")


def tracked(*patterns):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def test_every_source_file_names_its_licence_first():
    without = [
        str(path.relative_to(ROOT))
        for path in tracked("*.py", ":!tests/rules/cases")
        if path.stat().st_size and not path.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")
    ]
    assert without == []


def test_no_page_has_a_section_twice():
    for page in tracked("*.md"):
        headings = [line for line in page.read_text().splitlines() if line.startswith("## ")]
        assert len(headings) == len(set(headings)), page


@pytest.mark.parametrize("command", ["", *COMMANDS], ids=lambda command: command or "repo-tool")
def test_the_help_is_the_golden_file(command):
    done = repo_tool(*command.split(), "--help")
    assert done.returncode == 0
    text = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    assert matches_golden(text + "\n", f"help/{command.replace(' ', '-') or 'repo-tool'}.txt")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command):
    assert f"repo-tool {command}" in repo_tool(*command.split(), "--help").stdout.partition("Example")[2]


def test_the_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "sys.argv = ['repo-tool', '--help']\n"
        "from repo_tool.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_an_unknown_option_is_a_mistake_of_the_user():
    done = repo_tool("serve", "--loud")
    assert done.returncode == 2
    assert "--loud" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("ParityError", 1), ("LoadRefusedError", 1), ("SourceError", 2), ("PortInUseError", 2), ("TritonError", 3),
        ("ServerStartError", 3), ("BenchmarkError", 3), ("RepoToolError", 3),
    ],
)  # fmt: skip
def test_an_exit_code_says_whose_the_failure_is_and_programs_read_which(tmp_path, kind, code):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, types\n"
        "broken = types.ModuleType('repo_tool.workflows.call_model')\n"
        f"def fail(name):\n    from repo_tool import errors\n    raise errors.{kind}('f', cause='c', next_step='n')\n"
        "broken.__getattr__ = fail\n"
        "sys.modules['repo_tool.workflows.call_model'] = broken\n"
    )
    done = repo_tool("call", "wine", "--json", PYTHONPATH=str(tmp_path))
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout) == {"error": kind, "fact": "f", "cause": "c", "next_step": "n"}
    assert done.stderr.splitlines() == ["error: f", "cause: c", "next:  n"]


def test_a_terminal_obeys_nothing_that_a_file_says(tmp_path):
    place = tmp_path / "a\x1b[2J\x9b31m\u202eb.onnx"
    place.write_bytes(b"no model")
    done = repo_tool("add-model", place, "-n", "model", "-r", tmp_path / "models")
    assert done.returncode == 2
    assert "\\x1b[2J\\x9b31m\\u202eb.onnx" in done.stderr
    assert all(sign.isprintable() or sign == "\n" for sign in done.stderr)


def test_a_wrong_option_is_told_to_programs_as_well():
    done = repo_tool("show", "wine", "--json", "--loud")
    assert done.returncode == 2
    assert "--loud" in json.loads(done.stdout)["fact"]


def test_a_bug_of_ours_leaves_a_report(tmp_path):
    breaking = tmp_path / "sitecustomize.py"
    breaking.write_text(
        "import sys, types\n"
        "broken = types.ModuleType('repo_tool.workflows.call_model')\n"
        "sys.modules['repo_tool.workflows.call_model'] = broken\n"
    )
    done = repo_tool("call", "model", PYTHONPATH=str(tmp_path), TMPDIR=str(tmp_path))
    assert done.returncode == 3, done.stderr
    (report,) = tmp_path.glob("repo-tool-report-*.txt")
    assert str(report) in done.stderr
    assert "Traceback" in report.read_text()


def test_colours_are_left_out_when_asked_to():
    assert "\x1b[" not in repo_tool("--help").stdout + repo_tool("serve", "nowhere").stderr


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert repo_tool("--version").stdout.split() == ["repo-tool", version("triton-repo-tool")]


def test_every_pinned_package_is_pinned_once():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.partition("==")[0].lower() for line in lines if line and not line.startswith("#")]
    assert len(pins) == len(set(pins))
    assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_the_hooks_of_pre_commit_call_what_the_environment_has():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    for hook in hooks:
        program = next(word for word in hook["entry"].split() if word.startswith(".venv/bin/"))
        assert (Path(sys.executable).parent / Path(program).name).exists(), program
