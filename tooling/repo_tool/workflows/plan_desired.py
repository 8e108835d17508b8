# SPDX-License-Identifier: Apache-2.0
"""What a ``repo-tool.yaml`` asks for, as values that can be compared: digests in place of files."""

__all__ = ["Desired", "DesiredModel", "DesiredPipeline", "read_desired"]

import os
from collections.abc import Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.errors import ConfigError, RepoToolError
from repo_tool.repository.layout import check_model_name
from repo_tool.repository.provenance import digest_of
from repo_tool.workflows.config_overrides import check_override
from repo_tool.workflows.given_options import given_options
from repo_tool.workflows.pipeline_source import read_pipeline_source
from repo_tool.workflows.plan_file import Complaint, ModelDeclaration, PipelineDeclaration, WrittenFile
from repo_tool.workflows.reference import find_reference
from repo_tool.workflows.source_digests import digest_of_source


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredModel:
    """One model that the repository should have."""

    name: str
    digests: Mapping[str, str | None]  # of source, sample, labels and weights
    options: Mapping[str, Any]  # those given, as the provenance keeps them
    overrides: Mapping[str, str]  # fields of config.pbtxt by path
    release: str | None = None  # None: whichever it was added for
    index: int = 0  # in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredPipeline:
    """One pipeline that the repository should have."""

    name: str
    digest: str  # of what its file says
    sample_digest: str
    members: tuple[str, ...]
    reference_digest: str | None = None  # of the training code that it is compared with
    tolerance: float | None = None
    release: str | None = None
    index: int = 0  # in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """All of it, in the file's order."""

    models: tuple[DesiredModel, ...] = ()
    pipelines: tuple[DesiredPipeline, ...] = ()
    owner: str = ""  # whose models these are; those of others are left alone

    @property
    def names(self) -> frozenset[str]:
        """What is listed."""
        return frozenset({model.name for model in self.models} | {pipeline.name for pipeline in self.pipelines})

    @property
    def members(self) -> frozenset[str]:
        """What pipelines use."""
        return frozenset(member for pipeline in self.pipelines for member in pipeline.members)


def read_desired(file: WrittenFile, repository: Path) -> Desired:
    """Digest what the file names; Git LFS pointers stand for what they point to.

    The owner of what ``repository`` gets is the one that the file names, or the file's own path as seen from there.

    Raises:
        SpecificationError: something that it names is not there, or a pipeline file cannot be read.
    """
    complaints = [*_missing(file), *_wrong_overrides(file)]
    pipelines: list[DesiredPipeline] = []
    for index, pipeline in enumerate(file.declared.pipelines):
        location = ("pipelines", index, "file")
        try:
            pipelines.append(_pipeline(file, index, pipeline))
            check_model_name(pipelines[-1].name)
        except RepoToolError as error:
            complaints.append(file.complaint(location, " ".join(filter(None, (error.fact, error.cause)))))
        except OSError:
            continue  # its sample is missing, which is among the complaints
    complaints += _taken_names(file, pipelines)
    if complaints:
        raise file.unfit(complaints)
    return Desired(models=tuple(_models(file)), pipelines=tuple(pipelines), owner=_owner(file, repository))


def _models(file: WrittenFile) -> Iterator[DesiredModel]:
    for index, model in enumerate(file.declared.models):
        try:
            yield _model(file, index, model)
        except OSError as error:
            said = f"its files cannot be read: {error}"
            raise file.unfit([file.complaint(("models", index), said)]) from error


def _owner(file: WrittenFile, repository: Path) -> str:
    return file.declared.options.owner or Path(os.path.relpath(file.written.path, repository)).as_posix()


def _missing(file: WrittenFile) -> Iterator[Complaint]:
    declared = file.declared
    for index, model in enumerate(declared.models):
        if ":" not in model.source and not _is_there(file.folder / model.source):
            yield file.complaint(("models", index, "source"), f"there is no '{file.folder / model.source}'")
        for key in ("sample", "labels", "weights"):
            path = getattr(model, key)
            if path is not None and not _is_there(file.folder / path):
                yield file.complaint(("models", index, key), f"there is no '{file.folder / path}'")
    for index, pipeline in enumerate(declared.pipelines):
        if not _is_there(file.folder / pipeline.sample):
            yield file.complaint(("pipelines", index, "sample"), f"there is no '{file.folder / pipeline.sample}'")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder that may not be looked into
        return False


def _wrong_overrides(file: WrittenFile) -> Iterator[Complaint]:
    for index, model in enumerate(file.declared.models):
        for path, value in model.config.items():
            try:
                check_override(path, value)
            except ConfigError as error:
                said = "; ".join(filter(None, (error.fact, error.next_step or error.cause)))
                yield file.complaint(("models", index, "config", path), said, of_key=True)


def _model(file: WrittenFile, index: int, model: ModelDeclaration) -> DesiredModel:
    folder, options = file.folder, file.declared.options
    tolerance = options.tolerance if model.tolerance is None else model.tolerance
    given = {"trusted_types": model.trust_types, "trusted_source": model.trust_source, "tolerance": tolerance}
    return DesiredModel(
        name=model.name,
        digests={
            "source": digest_of_source(model.source, folder, through_pointers=True),
            "sample": _digest(folder, model.sample),
            "labels": _digest(folder, model.labels),
            "weights": _digest(folder, model.weights),
        },
        options=given_options(dict(model) | given),
        overrides=model.config,
        release=model.release or options.release,
        index=index,
    )


def _digest(folder: Path, path: Path | None) -> str | None:
    return digest_of(folder / path, through_pointers=True) if path else None


def _pipeline(file: WrittenFile, index: int, declared: PipelineDeclaration) -> DesiredPipeline:
    options = file.declared.options
    with chdir(file.folder):  # the reference may be a module beside the file
        pipeline = read_pipeline_source(declared.file)
        reference = find_reference(declared.reference).digest if declared.reference else None
    return DesiredPipeline(
        name=pipeline.name,
        digest=pipeline.digest,
        sample_digest=digest_of(file.folder / declared.sample, through_pointers=True),
        members=pipeline.member_names,
        reference_digest=reference,
        tolerance=options.tolerance if declared.tolerance is None else declared.tolerance,
        release=declared.release or options.release,
        index=index,
    )


def _taken_names(file: WrittenFile, pipelines: list[DesiredPipeline]) -> Iterator[Complaint]:
    taken = {model.name: f"models[{index}]" for index, model in enumerate(file.declared.models)}
    for pipeline in pipelines:
        location = ("pipelines", pipeline.index, "file")
        if pipeline.name in taken:
            yield file.complaint(location, f"{taken[pipeline.name]} is called '{pipeline.name}' too")
        taken.setdefault(pipeline.name, f"pipelines[{pipeline.index}]")
