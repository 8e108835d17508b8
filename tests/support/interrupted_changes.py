# SPDX-License-Identifier: Apache-2.0
"""A program that changes repositories again and again, each time cut off one touch of the file system later.

``python interrupted_changes.py FOLDER SCENARIO ENDING EXCHANGE`` prints how often it was cut off.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from repo_tool.errors import RepositoryError
from repo_tool.repository.journal import Journal
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import StagedModel, publish, rewrite, sole_changer, staging, withdraw

DONE, CUT_OFF, BROKEN = 0, 77, 1


class NoLibrary:
    """A C library without ``renameat2``."""

    def __init__(self, *_: object, **__: object) -> None: ...


def cut_off(action: Callable[[], object], touch: int, ending: str) -> bool:
    """Do ``action`` in a child that ends at its n-th touch; False where it has fewer, and all was done."""
    child = os.fork()
    if child == 0:
        run_child(action, touch, ending)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (DONE, CUT_OFF), code
    return code == CUT_OFF


def run_child(action: Callable[[], object], touch: int, ending: str) -> None:
    left = touch

    def watch(event: str, _: tuple[object, ...]) -> None:
        nonlocal left
        counts = event == "os.rename" if ending == "error" else event == "open" or event.startswith("os.")
        left -= counts
        if counts and left == 0:
            if ending == "crash":
                os._exit(CUT_OFF)
            raise OSError(errno.EIO, "the disk does not want to")

    sys.addaudithook(watch)
    code = BROKEN
    try:
        action()
        code = DONE
    except RepositoryError as error:
        code = CUT_OFF if "the disk does not want to" in error.cause else BROKEN
    finally:  # a child never comes back into the loop
        os._exit(code)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def model(folder: Path, name: str, version: int) -> None:
    (folder / name / str(version)).mkdir(parents=True)
    (folder / name / "warmup").mkdir(exist_ok=True)
    for file in (f"{version}/model.onnx", "warmup/row", "labels.txt", "config.pbtxt"):
        (folder / name / file).write_text(f"{name} {version}")


def publish_three(repository: ModelRepository) -> None:
    """Further versions of two models, and a new one between them."""
    with staging(repository) as stage:
        names = ("step", "pipeline", "other")
        for name in names:
            model(stage.repository.path, name, 2)
        publish([StagedModel(directory=stage.repository.model(name), version=2) for name in names], repository)


def rewrite_two(repository: ModelRepository) -> None:
    """Two files."""
    rewrite(repository, {"step/config.pbtxt": ("step 1", "new"), "other/config.pbtxt": ("other 1", "new")})


def remove_one(repository: ModelRepository) -> None:
    """A version of a model, which gets another configuration."""
    with staging(repository) as stage:
        directory = stage.repository.model("step")
        directory.path.mkdir()
        directory.config_path.write_text("step without 1")
        publish([StagedModel(directory=directory, removed=(1,))], repository)


def withdraw_one(repository: ModelRepository) -> None:
    """A whole model."""
    with staging(repository) as stage:
        withdraw(repository.model("step"), stage)


def repository_at(folder: Path) -> ModelRepository:
    for name in ("step", "other"):
        model(folder / "models", name, 1)
        (folder / "models" / name / "notes.md").write_text("a person's")
    return ModelRepository(folder / "models")


def of(found: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {path: words for path, words in found.items() if path.startswith(f"{name}/")}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    return [name for name in ("other", "pipeline", "step") if of(before, name) != of(after, name)]


def examine(
    repository: ModelRepository, before: dict[str, bytes], after: dict[str, bytes], how: tuple[str, ...]
) -> None:
    ending, exchange = how
    found = files(repository.path)
    for name in ("step", "pipeline", "other"):
        wholes = [of(before, name), of(after, name)] + ([{}] if exchange == "no" else [])
        assert of(found, name) in wholes, f"{name} is half there: {sorted(found)}"
    if ending == "error":
        assert found == before, f"not taken back: {sorted(found)}"
    with sole_changer(repository):
        found = files(repository.path)
        assert found in (before, after), f"not put in order: {sorted(found)}"
    told = sorted(entry.model for entry in Journal(repository).entries())
    assert told == changed(before, found), f"the journal tells of {told}"
    assert not list((repository.private_path / "staging").glob("*"))


def main(folder: Path, scenario: str, *how: str) -> None:
    action = {
        "publish": publish_three,
        "rewrite": rewrite_two,
        "remove": remove_one,
        "withdraw": withdraw_one,
    }[scenario]
    ending, exchange = how
    if exchange == "no":
        ctypes.CDLL = NoLibrary
    whole = repository_at(folder / "whole")
    before = files(whole.path)
    action(whole)
    after = files(whole.path)
    assert after != before
    touch = 1
    while True:
        repository = repository_at(folder / str(touch))
        if not cut_off(lambda: action(repository), touch, ending):  # noqa: B023 - called at once
            break
        examine(repository, before, after, how)
        touch += 1
    assert files(repository.path) == after
    print(touch - 1)  # noqa: T201 - what it is run for


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
