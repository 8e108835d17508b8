# SPDX-License-Identifier: Apache-2.0
"""The rules' cases: a small repository that breaks each rule and one that keeps it, as data in tests/rules/cases.

``model.onnxtxt`` is ONNX in its text form and becomes ``model.onnx``; ``release``, ``bad.release`` or ``good.release``
beside the repositories name the Triton release that the case is about, else it is that of the embedded server.
``name.same-as`` becomes a copy of the file or folder of tests/rules/files that it names, ``name.sparse`` becomes a file
``name`` of as many bytes as it says, and ``.empty-folder`` leaves an empty folder, which git would not keep.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

CASES = Path(__file__).parents[1] / "rules" / "cases"
FILES = CASES.with_name("files")  # model files that cases share: they are binary
EMBEDDED_RELEASE = "24.10"


@dataclass(frozen=True)
class RuleCase:
    """One repository of one rule."""

    code: str
    side: str  # "bad" or "good"

    @property
    def path(self) -> Path:
        return CASES / self.code / self.side

    @property
    def release(self) -> str:
        named = (self.path.with_suffix(".release"), self.path.parent / "release")
        return next((file.read_text().strip() for file in named if file.is_file()), EMBEDDED_RELEASE)

    def digest(self) -> str:
        """What tells two cases of the same content and release."""
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        content = [(str(path.relative_to(self.path)), path.read_bytes()) for path in files]
        return hashlib.sha256(repr((self.release, content)).encode()).hexdigest()

    def write(self, repository: Path) -> Path:
        """Copy the case into ``repository`` and build its ONNX files."""
        import onnx

        shutil.copytree(self.path, repository, symlinks=True, dirs_exist_ok=True)
        for text in repository.rglob("*.onnxtxt"):
            onnx.save(onnx.parser.parse_model(text.read_text()), text.with_suffix(".onnx"))
            text.unlink()
        for named in repository.rglob("*.same-as"):
            source, target = FILES / named.read_text().strip(), named.with_suffix("")
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
            named.unlink()
        for size in repository.rglob("*.sparse"):
            with size.with_suffix("").open("wb") as file:
                file.truncate(int(size.read_text()))
            size.unlink()
        for mark in repository.rglob(".empty-folder"):
            mark.unlink()
        return repository


def rule_cases(side: str) -> list[RuleCase]:
    """The cases of one side, by code."""
    return [RuleCase(folder.name, side) for folder in sorted(CASES.iterdir())]
