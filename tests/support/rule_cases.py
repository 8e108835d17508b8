# SPDX-License-Identifier: Apache-2.0
"""The rules' cases: a small repository that breaks each rule and one that keeps it, as data in tests/rules/cases.

``model.onnxtxt`` is ONNX in its text form and becomes ``model.onnx``; ``release``, ``bad.release`` or ``good.release``
beside the repositories name the Triton release that the case is about, else it is that of the embedded server.
``name.sparse`` becomes a file ``name`` of as many bytes as it says, and ``.empty-folder`` leaves an empty folder, which
git would not keep.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

CASES = Path(__file__).parents[1] / "rules" / "cases"
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

    def write(self, repository: Path) -> Path:
        """Copy the case into ``repository`` and build its ONNX files."""
        import onnx

        shutil.copytree(self.path, repository, symlinks=True, dirs_exist_ok=True)
        for text in repository.rglob("*.onnxtxt"):
            onnx.save(onnx.parser.parse_model(text.read_text()), text.with_suffix(".onnx"))
            text.unlink()
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
