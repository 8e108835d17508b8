# SPDX-License-Identifier: Apache-2.0
"""Whether a version on a running server answers as it did when it was published: a few of its published rows."""

__all__ = ["Answers", "check_answers"]

from dataclasses import dataclass

from repo_client import Client, Model
from repo_tool.samples import Sample, read_published_sample
from repo_tool.verification import Tolerance, require_parity, verify
from repo_tool.workflows.model_to_serve import ModelToServe
from repo_tool.workflows.proof import in_wire_shapes
from repo_tool.workflows.show_model import read_record

_ROWS = 8  # all of them were asked for when it was published; these tell whether the same was loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came of asking."""

    compared: str = ""  # how close they were
    unproven: str = ""  # why none was asked for

    @property
    def words(self) -> str:
        """For a person."""
        return self.compared or f"ready; unproven: {self.unproven}"


def check_answers(client: Client, model: ModelToServe, version: int, *, served_as: str | None = None) -> Answers:
    """Ask the version, or what is ``served_as`` a trial of it, for what was published with it.

    Raises:
        ParityError: it answers otherwise.
        RepoToolError: what it was published with cannot be read.
        RepoClientError: it does not answer.
    """
    path = model.directory.sample_path(version)
    if not path.is_file():
        return Answers(unproven="it was published without rows to ask for")
    served = client.model(served_as or model.name, version=version)
    if reason := _why_not_asked(served):
        return Answers(unproven=reason)
    tolerance = _tolerance(model, version)
    sample = _few(read_published_sample(path), batches=model.config.max_batch_size > 0)
    parity = verify(in_wire_shapes(served), model.config, sample, tolerance=tolerance)
    require_parity(parity, model=model.name, framework=f"version {version} as published", tolerance=tolerance)
    return Answers(compared=parity.summary)


def _why_not_asked(served: Model) -> str:
    if served.signature.decoupled:
        return "it gives any number of answers to a request"
    return "it keeps a state from request to request" if served.signature.sequence_batching else ""


def _tolerance(model: ModelToServe, version: int) -> Tolerance:
    if not model.directory.provenance_path(version).is_file():
        return Tolerance()
    return read_record(model.directory.path.parent, model.name, version).tolerance()


def _few(sample: Sample, *, batches: bool) -> Sample:
    return sample.take(range(min(_ROWS, sample.rows))) if batches else sample
