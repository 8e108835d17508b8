# SPDX-License-Identifier: Apache-2.0
"""The packages that a pipeline's steps compute with, here and in the image."""

__all__ = ["other_in_image", "tools_of"]

from collections.abc import Mapping
from importlib import metadata

from repo_tool.image_packages import IMAGE_VERSIONS
from repo_tool.pipelines.compiled import CompiledPipeline
from repo_tool.pipelines.stages import StepStage


def tools_of(compiled: CompiledPipeline) -> dict[str, str]:
    """The versions with which the pipeline is proven here, by the names of the packages."""
    steps = [stage.step.kind for stage in compiled.typed.all_stages() if isinstance(stage, StepStage)]
    used = {name for kind in steps for name in kind.packages}
    found = {name: _version(name) for name in sorted({"numpy", *used} if steps else used)}
    return {name: version for name, version in found.items() if version}


def _version(package: str) -> str:
    """Empty where it is installed under another name, as OpenCV with its windows is."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def other_in_image(tools: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each of which the image has another version, where the numbers may be others, too."""
    return tuple(
        f"proven with {name} {here}, and the image has {IMAGE_VERSIONS[name]}"
        for name, here in tools.items()
        if IMAGE_VERSIONS.get(name, here) != here
    )
