# SPDX-License-Identifier: Apache-2.0
"""What a project decides for validate, where it is looked for, and what is refused."""

import pytest

from repo_tool.errors import UserMistakeError
from repo_tool.workflows.settings import ValidateSettings, read_settings

TOML = """
[tool.repo-tool.validate]
select = ["CFG", "SIG"]
ignore = ["CFG303"]
release = ["24.10", "26.07"]
strict = true

[tool.repo-tool.validate.per-model-ignores]
"legacy_*" = ["CFG206"]
"""
YAML = """
models: {}
validate:
  select: [CFG, SIG]
  ignore: CFG303
  release: ["24.10", "26.07"]
  strict: true
  per-model-ignores:
    legacy_*: [CFG206]
"""


BOMB = (
    "["
    + ", ".join([f"&a0 [{', '.join('x' * 9)}]", *(f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))])
    + "]"
)


@pytest.fixture
def project(tmp_path):
    """A work tree with a repository two folders deep."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "deploy" / "models").mkdir(parents=True)
    return tmp_path


def read(project):
    return read_settings(project / "deploy" / "models")


@pytest.mark.parametrize(("name", "text"), [("pyproject.toml", TOML), ("repo-tool.yaml", YAML)])
@pytest.mark.parametrize("folder", [".", "deploy", "deploy/models"])
def test_settings_are_found_in_the_repository_beside_it_and_above_it(project, folder, name, text):
    (project / folder / name).write_text(text)
    assert read(project) == ValidateSettings(
        select=("CFG", "SIG"),
        ignore=("CFG303",),
        releases=("24.10", "26.07"),
        strict=True,
        model_ignores={"legacy_*": ("CFG206",)},
        file=project / folder / name,
    )


def test_the_nearest_section_counts_and_files_without_one_do_not(project):
    (project / "pyproject.toml").write_text(TOML)
    (project / "deploy" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (project / "deploy" / "repo-tool.yaml").write_text("models: {}\n")
    assert read(project).file == project / "pyproject.toml"
    (project / "deploy" / "repo-tool.yaml").write_text("validate: { strict: true }\n")
    assert read(project) == ValidateSettings(strict=True, file=project / "deploy" / "repo-tool.yaml")


def test_nothing_is_looked_for_above_the_work_tree(project):
    (project / "pyproject.toml").write_text(TOML)
    (project / "deploy" / ".git").write_text("gitdir: elsewhere\n")
    assert read(project) == ValidateSettings()


def test_the_command_line_wins(project):
    (project / "pyproject.toml").write_text(TOML)
    settings = read(project).overridden(select=["REP"], releases=["25.05"], strict=False)
    assert (settings.select, settings.releases, settings.strict) == (("REP",), ("25.05",), False)
    assert settings.ignore == ("CFG303",)
    assert read(project).overridden() == read(project)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("validate: { selct: [CFG] }", ["there is no setting 'selct'", "did you mean 'select'?"]),
        ("validate: { select: [CFG9999] }", ["there is no rule 'CFG9999'"]),
        ("validate: { per-model-ignores: { m: [CFG9999] } }", ["there is no rule 'CFG9999'"]),
        ("validate: { per-model-ignores: [CFG101] }", ["per-model-ignores is no table"]),
        ("validate: { release: 24.10 }", ["release has 24.1", "write it in quotes"]),
        ("validate: { release: '24.99' }", ["there is no Triton release '24.99'"]),
        ("validate: { strict: maybe }", ["strict is neither true nor false"]),
        ("validate: { select: [null] }", ["select has None"]),
        ("validate: all", ["no table"]),
        ("validate: &a [*a]", ["cannot be read", "1:15: it holds itself"]),
        (f"validate: {{ {'x' * 1000}: 1 }}", ["there is no setting 'xxx"]),
        ("validate: { select: [[CFG]] }", ["select has a list"]),
        (f"validate: {BOMB}", ["cannot be read", "more than 200000 values"]),
        ("validate: [", ["cannot be read"]),
        ("\x00", ["cannot be read"]),
    ],
)
def test_what_cannot_be_is_refused_with_the_file_and_a_way_on(project, text, words):
    (project / "repo-tool.yaml").write_text(text)
    with pytest.raises(UserMistakeError) as error:
        read(project)
    said = str(error.value)
    assert len(said) < 2000
    assert str(project / "repo-tool.yaml") in said
    for part in words:
        assert part in said


@pytest.mark.parametrize("content", [b"[tool", b"\xff\xfe", b"a = " + b"[" * 5000])
def test_a_pyproject_that_cannot_be_read_is_the_users_mistake(project, content):
    (project / "pyproject.toml").write_bytes(content)
    with pytest.raises(UserMistakeError, match=r"pyproject\.toml"):
        read(project)


def test_two_sections_in_one_folder_are_refused(project):
    (project / "pyproject.toml").write_text(TOML)
    (project / "repo-tool.yaml").write_text(YAML)
    with pytest.raises(UserMistakeError, match="in two files"):
        read(project)
