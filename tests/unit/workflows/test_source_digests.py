# SPDX-License-Identifier: Apache-2.0
"""What of a source counts: a change of it is a reason for a new version, and of nothing else."""

import os

import pytest

from repo_tool.workflows.source_digests import digest_of_source


@pytest.fixture
def folder(tmp_path):
    """A module with a helper, a package with data, a package without an ``__init__.py``, and bystanders."""
    texts = {
        "net.py": "import numpy\nfrom layers import block\n\ndef f(): ...\n",
        "layers.py": "def block():\n    import sizes\n",
        "sizes.py": "WIDTH = 3\n",
        "train.py": "import net\n",
        "pkg/__init__.py": "",
        "pkg/deep/model.py": "from . import other\nimport layers\n",
        "pkg/deep/words.txt": "a\n",
        "src/mypkg/__init__.py": "def f(): ...\n",
        "src/mypkg/data.json": "{}",
        "models/m/1/model.py": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "counting", "not_counting"),
    [
        ("net:f", ["net.py", "layers.py", "sizes.py"], ["train.py", "models/m/1/model.py", "pkg/__init__.py"]),
        ("pkg.deep.model:f", ["pkg/__init__.py", "pkg/deep/words.txt", "sizes.py"], ["net.py"]),
        ("src.mypkg:f", ["src/mypkg/__init__.py", "src/mypkg/data.json"], ["layers.py"]),
        ("pkg", ["pkg/deep/words.txt"], ["layers.py"]),
        ("net.py", ["net.py"], ["layers.py"]),
    ],
)
def test_what_counts_of_a_source(folder, source, counting, not_counting):
    before = digest_of_source(source, folder)
    assert before is not None
    for name in not_counting:
        (folder / name).write_text("# changed\n")
    assert digest_of_source(source, folder) == before
    for name in counting:
        kept = (folder / name).read_text()
        (folder / name).write_text(f"{kept}\n# changed\n")
        assert digest_of_source(source, folder) != before, name
        (folder / name).write_text(kept)
    assert digest_of_source(source, folder) == before


def test_a_file_that_appears_in_a_package_counts_and_what_python_caches_does_not(folder):
    before = digest_of_source("pkg.deep.model:f", folder)
    (folder / "pkg" / "__pycache__").mkdir()
    (folder / "pkg" / "__pycache__" / "model.cpython-312.pyc").write_bytes(b"x")
    assert digest_of_source("pkg.deep.model:f", folder) == before
    (folder / "pkg" / "vocabulary.txt").write_text("a")
    assert digest_of_source("pkg.deep.model:f", folder) != before


def test_names_of_files_need_not_be_text(folder):
    (folder / "pkg" / os.fsdecode(b"\xff.txt")).write_text("")
    assert digest_of_source("pkg", folder)
    assert digest_of_source("pkg.deep.model:f", folder)


@pytest.mark.parametrize("source", ["installed:f", "a" * 300 + ":f", "a" * 300, "gone.onnx"])
def test_what_is_not_in_the_folder_has_no_digest(folder, source):
    assert digest_of_source(source, folder) is None
