# SPDX-License-Identifier: Apache-2.0
"""ENS: pipelines: the models that they were proven with and call themselves, and those that run at the same time."""

__all__ = ["called_version_not_served", "models_side_by_side", "pipeline_behind_its_model"]

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_

from repo_tool.config.model import EnsembleStep
from repo_tool.errors import RepositoryError
from repo_tool.repository.pins import pins_of
from repo_tool.repository.provenance import read_provenance
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject


@rule("ENS120", severity=Severity.WARNING)
def pipeline_behind_its_model(model: ModelSubject) -> Iterator[Finding]:
    """A pipeline was made with the newest version of each of its models.

    It asks for the version that it was proven with, or carries that version in its own graph: clients of the pipeline
    are not given what a newer version of the model has learned, until the pipeline is added again.

    Wrong::

        provenance.json of reader/1   "member_versions": { "digits": 1 }     (and digits/2)

    Right::

        provenance.json of reader/2   "member_versions": { "digits": 2 }
    """
    if model.variant or not model.served_versions:
        return
    for name, version in _proven_with(model).items():
        member = model.repository.models.get(name)
        newest = max(member.versions, default=0) if member else 0
        if isinstance(version, int) and newest > version:
            yield Finding(
                f"the pipeline answers with version {version} of '{name}'",
                cause=f"it was proven with that one, and version {newest} was added since",
                fix="add the pipeline again from its file: repo-tool add-pipeline, or repo-tool apply",
                field="ensemble_scheduling" if model.config.is_ensemble else "",
            )


def _proven_with(model: ModelSubject) -> Mapping[str, int]:
    """By the served version's provenance, which tells of merged models too; else what the configuration asks for."""
    try:
        facts = read_provenance(model.directory.provenance_path(model.served_versions[-1]))
    except RepositoryError:
        facts = {}
    return facts.get("member_versions") or pins_of(model.config)


@rule("ENS121", severity=Severity.WARNING)
def models_side_by_side(model: ModelSubject) -> Iterator[Finding]:
    """No step of an ensemble runs at the same time as a Python model, which may refuse a request.

    Where a model fails while another one of the same request runs, Triton 2.51 may give other requests nonsense
    ("incomplete string data"), answer them never, or end. It was seen with text and with numbers, with one input of
    the client's and with two, with what a step wrote and, less often, with models of ONNX alone.

    Wrong::

        step { model_name: "clean" input_map { key: "text" value: "text" } ... }
        step { model_name: "language" input_map { key: "text" value: "text" } ... }

    Right::

        # clean answers the text, too, once it has accepted it
        step { model_name: "clean" output_map { key: "text" value: "good" } ... }
        step { model_name: "language" input_map { key: "text" value: "good" } ... }
    """
    steps = model.config.ensemble_steps
    waits_for = _waiting(steps)
    python = sum(1 << at for at, step in enumerate(steps) if _is_python(model, step))
    for later, step in enumerate(steps):
        earlier = (1 << later) - 1
        risky = (earlier if python >> later & 1 else earlier & python) & ~waits_for[later]
        beside = next((steps[at] for at in _bits(risky) if not waits_for[at] >> later & 1), None)
        if beside is not None:
            yield Finding(
                f"step {later + 1} ('{step.model_name}') runs beside '{beside.model_name}'",
                cause="where one of them refuses a request, Triton 2.51 may give others nonsense, hang, or end",
                fix="let one read something that the other writes, if only its own input passed on",
                field=f"ensemble_scheduling.step[{later}].input_map",
            )


def _is_python(model: ModelSubject, step: EnsembleStep) -> bool:
    found = model.repository.models.get(step.model_name)
    return found is not None and found.config_error is None and found.config.backend == "python"


def _waiting(steps: Sequence[EnsembleStep]) -> list[int]:
    """For each step a bit for each one that it waits for, through however many between them."""
    writers: dict[str, list[int]] = {}
    for at, step in enumerate(steps):
        for name in step.output_map.values():
            writers.setdefault(name, []).append(at)
    direct = [{at for name in step.input_map.values() for at in writers.get(name, ())} for step in steps]
    found, before = [0] * len(steps), [-1]
    places = list(range(len(steps)))
    while found != before:
        before = list(found)
        for at in places:
            found[at] = reduce(or_, (found[other] | 1 << other for other in direct[at]), 0)
        places.reverse()  # steps may stand in any order, and one or the other suits most of them
    return found


def _bits(mask: int) -> Iterator[int]:
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1


@rule("ENS122", embedded_refuses=False)
def called_version_not_served(model: ModelSubject) -> Iterator[Finding]:
    r"""The models that a pipeline's control model calls are served, in the versions that it was proven with.

    They stand in its parameter ``pins``. Triton looks for them when rows come that need them, and those rows fail.

    Wrong::

        parameters { key: "pins" value { string_value: "{\"digits_large\": 1}" } }    (and digits_large serves 2)

    Right::

        # in digits_large/config.pbtxt
        version_policy { specific { versions: [ 1, 2 ] } }
    """
    if model.config.backend != "python":
        return
    for name, version in pins_of(model.config).items():
        called = model.repository.models.get(name)
        if called is None or called.config_error is not None:
            yield Finding(
                f"the model calls '{name}', which is not available",
                cause="its config.pbtxt cannot be used" if called else "the repository holds no such model",
                fix="mend that model first" if called else "add the model, or add the pipeline again from its file",
                field="parameters",
            )
        elif version not in called.served_versions:
            served = ", ".join(map(str, called.served_versions)) or "none"
            yield Finding(
                f"the model calls version {version} of '{name}'",
                cause=f"versions served: {served}",
                fix="serve that version too (version_policy), or add the pipeline again from its file",
                field="parameters",
            )
