# SPDX-License-Identifier: Apache-2.0
"""The configurations of a model, or of a repository, as a Git revision has them: ``main:model_repository``."""

__all__ = ["at_revision", "labels_elsewhere", "names_a_revision"]

import posixpath
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from repo_tool.config.pbtxt import parse
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.git_tree import GitTree

_LARGEST = 1 << 24  # bytes of a configuration or a label file


def names_a_revision(operand: str) -> bool:
    """Whether ``operand`` is ``REVISION:PATH``, and nothing that lies on the disk is called so."""
    return ":" in operand[1:] and not operand.startswith("-") and not _is_there(operand)


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


@contextmanager
def at_revision(operand: str) -> Iterator[Path]:
    """What ``REVISION:PATH`` holds, in a temporary place under its own name: configurations and what they name.

    Links are followed, so what comes out has none.

    Raises:
        RepositoryError: there is no Git here, no such revision, nothing at that path in it, or it holds something that
            cannot be had from Git alone.
    """
    revision, _, path = operand.partition(":")
    tree = GitTree.of(revision)
    root = posixpath.normpath(posixpath.join(tree.here, path.lstrip("/")))
    configs = _configs(tree, root)
    contents = tree.read(configs, largest=_LARGEST)
    contents |= tree.read(_labels(tree, contents), largest=_LARGEST)
    with tempfile.TemporaryDirectory(prefix="repo-tool-revision-") as scratch:
        place = Path(scratch) / (tree.top.name or "repository")
        try:
            _write(place, contents)
            if tree.is_folder(root):
                (place / root).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RepositoryError(f"'{operand}' cannot be written for a look at it", cause=str(error)) from error
        if not (place / root).exists():
            raise RepositoryError(
                f"there is no '{operand}'",
                cause=f"'{revision}' has nothing at that path",
                next_step="give REVISION:PATH with a path as seen from here, e.g. main:model_repository",
            )
        yield place / root


def _write(place: Path, contents: Mapping[str, bytes]) -> None:
    for path, content in contents.items():
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _configs(tree: GitTree, root: str) -> list[str]:
    """The configurations of a file, a model or a repository, by their paths before links are followed."""
    if tree.is_file(root):
        return [root]
    if tree.is_file(f"{root}/config.pbtxt"):
        return _configs_of_model(tree, root)
    models = (f"{root}/{name}" for name in tree.names(root) if not name.startswith("."))
    return [path for model in models for path in _configs_of_model(tree, model)]


def _configs_of_model(tree: GitTree, model: str) -> list[str]:
    if not tree.is_file(f"{model}/config.pbtxt"):
        return []
    variants = (f"{model}/configs/{name}" for name in tree.names(f"{model}/configs") if name.endswith(".pbtxt"))
    return [f"{model}/config.pbtxt", *(path for path in variants if tree.is_file(path))]


def _labels(tree: GitTree, configs: Mapping[str, bytes]) -> list[str]:
    """The label files that the configurations name and that are there."""
    found: dict[str, None] = {}
    for path, content in configs.items():
        folder = posixpath.dirname(path)
        model = posixpath.dirname(folder) if posixpath.basename(folder) == "configs" else folder
        for name in _label_files(content):
            label = posixpath.normpath(posixpath.join(model, name))
            if _is_inside(tree, model, label):
                found[label] = None
    return list(found)


def _is_inside(tree: GitTree, model: str, label: str) -> bool:
    """Whether the label file is there, in the model's folder.

    Raises:
        RepositoryError: it lies elsewhere.
    """
    reached = tree.followed(label)
    if label.startswith("/") or not f"{reached}/".startswith(posixpath.join(tree.followed(model), "")):
        raise labels_elsewhere(label)
    return reached in tree.files


def labels_elsewhere(path: object) -> RepositoryError:
    """Why a label file is not read: what it says may be shown, and it is not the model's."""
    return RepositoryError(
        f"the labels '{path}' lie outside of the model's folder",
        cause="files from elsewhere are not read, so whether the labels are the same cannot be told",
        next_step="put the file itself into the model's folder",
    )


def _label_files(config: bytes) -> list[str]:
    """The label files that a configuration names; none where it does not parse, which is for its reader to tell."""
    if b"label_filename" not in config:
        return []
    try:
        return [tensor.label_filename for tensor in parse(config.decode()).outputs if tensor.label_filename]
    except (ConfigError, UnicodeDecodeError):
        return []
