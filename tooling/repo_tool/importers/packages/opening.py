# SPDX-License-Identifier: Apache-2.0
"""Models packed for another serving tool: opened before any importer is asked, so that importers never see them.

A package says where the framework's own file lies in it and what else it knows (sample rows, labels). What it names is
then recognised and brought in like any other source.
"""

__all__ = ["Opened", "Package", "open_package"]

from pathlib import Path
from typing import Protocol

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.packages.bentoml import BentoFolder
from repo_tool.importers.packages.mlflow import MlflowFolder
from repo_tool.importers.packages.opened import Opened
from repo_tool.importers.packages.torchserve import TorchServeArchive

_DEEPEST = 3  # a BentoML model may hold an MLflow folder


class Package(Protocol):
    """One tool's way of packing models; nothing in it is executed to open it."""

    def recognises(self, source: str) -> bool:
        """Whether the source is packed so."""
        ...

    def open(self, request: ImportRequest, folder: Path) -> Opened:
        """The request for the model inside; ``folder`` is empty and takes what has to be unpacked.

        Raises:
            SourceError: damaged, or it holds nothing that can be served without the tool it was packed for.
        """
        ...


_PACKAGES: tuple[Package, ...] = (MlflowFolder(), TorchServeArchive(), BentoFolder())


def open_package(request: ImportRequest, folder: Path) -> Opened:
    """The request for the model inside the package, or ``request`` itself when its source is no package.

    Raises:
        SourceError: a package whose model cannot be brought in.
    """
    opened = Opened(request=request)
    for depth in range(_DEEPEST):
        package = next((known for known in _PACKAGES if known.recognises(opened.request.source)), None)
        if package is None:
            return opened
        inner_folder = folder / str(depth)
        inner_folder.mkdir(parents=True)
        opened = opened.followed_by(package.open(opened.request, inner_folder))
    raise SourceError(
        f"'{request.source}' is a package in a package in a package",
        cause=f"{_DEEPEST} of them were opened",
        next_step="add the innermost model itself",
    )
