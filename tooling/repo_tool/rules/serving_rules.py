# SPDX-License-Identifier: Apache-2.0
"""CFG4: what the server does around a model: cache, transactions, agents and metrics."""

import re
from collections.abc import Iterator
from pathlib import Path

from repo_tool.config.model import MetricControl
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.file_kinds import exists, is_file
from repo_tool.rules.fixes import RemoveField
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject


@rule("CFG401", fixable=True)
def uncacheable(model: ModelSubject) -> Iterator[Finding]:
    """The response cache is for models whose answer depends on the request alone and comes once.

    Wrong::

        response_cache { enable: true }
        model_transaction_policy { decoupled: true }

    Right::

        response_cache { enable: true }
    """
    config = model.config
    reasons = {
        "sequence_batching": config.sequence_batching is not None,
        "a decoupled transaction policy": config.decoupled,
    }
    for reason in (reason for reason, holds in reasons.items() if holds and config.response_cache):
        yield Finding(
            f"response_cache cannot be combined with {reason}",
            cause="its answers depend on more than the request, or come more than once",
            fix="remove response_cache",
            field="response_cache",
            edits=(RemoveField("response_cache"),),
        )


@rule("CFG402", fixable=True)
def nameless_agent(model: ModelSubject) -> Iterator[Finding]:
    """model_repository_agents lists agents, each with its name.

    An empty list ends the whole server (2.51).

    Wrong::

        model_repository_agents { }

    Right::

        model_repository_agents { agents [ { name: "checksum" ... } ] }
    """
    agents = model.config.repository_agents
    if agents is not None and not agents:
        yield Finding(
            "model_repository_agents names no agent",
            cause="Triton 2.51 ends when it reads the model",
            fix="remove model_repository_agents",
            field="model_repository_agents",
            edits=(RemoveField("model_repository_agents"),),
        )
    for index, agent in enumerate(agents or ()):
        if not agent.name:
            yield Finding(
                f"repository agent {index} has no name",
                cause="Triton: unable to find 'libtritonrepoagent_.so' for repo agent ''",
                fix='add name: "checksum", or that of your own agent',
                field=f"model_repository_agents.agents[{index}].name",
            )


@rule("CFG403", severity=Severity.WARNING, embedded_refuses=True)
def agent_to_install(model: ModelSubject) -> Iterator[Finding]:
    """A repository agent is a library that the server has; NVIDIA's images have ``checksum``, the embedded server none.

    Wrong::

        model_repository_agents { agents [ { name: "decrypt" } ] }    (and no image has it)

    Right::

        # without model_repository_agents
    """
    for index, agent in enumerate(model.config.repository_agents or ()):
        if agent.name:
            library = f"libtritonrepoagent_{agent.name}.so"
            yield Finding(
                f"the model needs the repository agent '{agent.name}'",
                cause=f"Triton: unable to find '{library}', where the server does not have it",
                fix=f"install {library} under /opt/tritonserver/repoagents/{agent.name}, or remove the agent",
                field=f"model_repository_agents.agents[{index}].name",
            )


# Triton puts `_` in front and hands the name to Prometheus, which wants letters, digits and `_`, and no `__` in front.
_METRIC_TAG = re.compile(r"([A-Za-z0-9][A-Za-z0-9_]*)?")


@rule("CFG404")
def impossible_metric_tag(model: ModelSubject) -> Iterator[Finding]:
    """Keys of metric_tags are letters, digits and ``_``, and start with a letter or digit.

    Any other ends the whole server (2.51) as soon as the model is loaded.

    Wrong::

        metric_tags { key: "cost-centre" value: "42" }

    Right::

        metric_tags { key: "cost_centre" value: "42" }
    """
    for key in (key for key in model.config.metric_tags if not _METRIC_TAG.fullmatch(key)):
        yield Finding(
            f"the metric tag '{key}' is no name of a Prometheus label",
            cause="Triton 2.51 ends when it loads the model",
            fix=f'write key: "{_as_tag(key)}"',
            field=f"metric_tags[{key}]",
        )


def _as_tag(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", key).strip("_") or "tag"


@rule("CFG405", severity=Severity.NOTE)
def needs_an_option_of_the_server(model: ModelSubject) -> Iterator[Finding]:
    """What the configuration asks for is switched on where the server starts; else Triton ignores it in silence.

    ``response_cache`` needs ``--cache-config``, ``rate_limiter`` needs ``--rate-limit=execution_count``,
    ``host_policy`` needs ``--host-policy``, and ``model_namespace`` of a step needs ``--model-namespacing=true``.

    Wrong::

        response_cache { enable: true }        (and tritonserver without --cache-config)

    Right::

        response_cache { enable: true }        (and tritonserver --cache-config=local,size=104857600)
    """
    config = model.config
    if config.response_cache:
        yield _option("response_cache", "response_cache", "--cache-config=local,size=104857600")
    for index, group in enumerate(config.instance_groups):
        place = f"instance_group[{index}]"
        if group.rate_limiter is not None:
            yield _option("rate_limiter", f"{place}.rate_limiter", "--rate-limit=execution_count")
        if group.host_policy:
            option = f"--host-policy={group.host_policy},numa-node=0"
            yield _option(f"host_policy '{group.host_policy}'", f"{place}.host_policy", option)
    for index, step in enumerate(config.ensemble_steps):
        if step.model_namespace:
            place = f"ensemble_scheduling.step[{index}].model_namespace"
            yield _option(f"model_namespace '{step.model_namespace}'", place, "--model-namespacing=true")


def _option(what: str, field: str, option: str) -> Finding:
    return Finding(
        f"{what} takes effect only where the server was started for it",
        cause="without the option Triton ignores it and says nothing",
        fix=f"start tritonserver with {option}",
        field=field,
    )


@rule("CFG406", releases="from 24.11")
def incomplete_metric_control(model: ModelSubject) -> Iterator[Finding]:
    """Each metric_control says of which family it is, and gives its buckets.

    Wrong::

        model_metrics { metric_control [ {
          metric_identifier { family: "nv_inference_first_response_histogram_ms" }
        } ] }

    Right::

        model_metrics { metric_control [ {
          metric_identifier { family: "nv_inference_first_response_histogram_ms" }
          histogram_options { buckets: [ 1, 10, 100 ] }
        } ] }
    """
    for index, control in enumerate(model.config.model_metrics or ()):
        for field, words in _metric_faults(control):
            yield Finding(
                f"metric_control {index} has no {field}",
                cause=f"Triton: {words}",
                fix=f"add {field}, or remove the metric_control",
                field=f"model_metrics.metric_control[{index}].{field}",
            )


def _metric_faults(control: MetricControl) -> Iterator[tuple[str, str]]:
    if control.family is None:
        yield "metric_identifier", "metric control must specify 'metric_identifier'"
    elif not control.family:
        yield "metric_identifier.family", "metric identifier must specify non-empty 'family'"
    if control.buckets is None:
        yield "histogram_options", "metric control must specify 'histogram_options'"
    elif not control.buckets:
        yield "histogram_options.buckets", "histogram options must specify non-empty 'buckets'"


@rule("CFG407", severity=Severity.NOTE)
def decoupled_model(model: ModelSubject) -> Iterator[Finding]:
    """Clients of a decoupled model speak gRPC and read a stream.

    An inference request over HTTP gets 501, whatever the model answers.

    Wrong::

        model_transaction_policy { decoupled: true }        (and clients post to /v2/models/NAME/infer)

    Right::

        # without model_transaction_policy: one answer per request
    """
    if model.config.decoupled and not model.config.is_ensemble:
        yield Finding(
            "the model is decoupled, so HTTP clients cannot ask it",
            cause="Triton: HTTP end point doesn't support models with decoupled transaction policy",
            fix="let clients use a gRPC stream (ModelStreamInfer), or remove decoupled",
            field="model_transaction_policy.decoupled",
        )


@rule("CFG408", severity=Severity.WARNING, fixable=True)
def unused_operator_library(model: ModelSubject) -> Iterator[Finding]:
    """model_operations is for ONNX models; other backends ignore it.

    Wrong::

        backend: "pytorch"
        model_operations { op_library_filename: "libops.so" }

    Right::

        backend: "onnxruntime"
        model_operations { op_library_filename: "libops.so" }
    """
    others = ("python", "pytorch", "openvino", "tensorrt", "fil", "sklearn")
    if model.config.op_library_filenames and model.backend in others:
        yield Finding(
            f"the {model.backend} backend does not read model_operations",
            cause="it is for ONNX models; Triton says nothing",
            fix="remove model_operations",
            field="model_operations",
            edits=(RemoveField("model_operations"),),
        )


@rule("CFG409", severity=Severity.WARNING)
def impossible_compute_capability(model: ModelSubject) -> Iterator[Finding]:
    """Keys of cc_model_filenames are compute capabilities such as "7.5", and each file is in every version served.

    A key that no GPU has is never looked at; a missing file shows on the machines that have such a GPU.

    Wrong::

        cc_model_filenames { key: "75" value: "model_t4.plan" }

    Right::

        cc_model_filenames { key: "7.5" value: "model_t4.plan" }
    """
    for key, filename in model.config.cc_model_filenames.items():
        field = f"cc_model_filenames[{key}]"
        if not re.fullmatch(r"[0-9]{1,2}\.[0-9]", key):
            yield Finding(
                f"'{key}' is no compute capability",
                cause="no GPU ever matches it, and Triton says nothing",
                fix='write e.g. "7.5", "8.0" or "9.0"',
                field=field,
            )
        for version in model.served_versions:
            if filename and not exists(model.directory.version_path(version) / filename):
                yield Finding(
                    f"version {version} has no '{filename}'",
                    cause=f"a server with a GPU of compute capability {key} looks for that file",
                    fix=f"put the file into '{version}/', or remove the entry",
                    field=field,
                )


@rule("CFG410", fixable=True)
def impossible_runtime(model: ModelSubject) -> Iterator[Finding]:
    """``runtime`` is the name of a library without a folder; a Python model has none in Python.

    Wrong::

        backend: "python"
        runtime: "model.py"

    Right::

        backend: "python"
    """
    runtime = model.config.runtime
    if model.config.is_ensemble or not runtime:
        return
    if "/" in runtime or (model.backend == "python" and runtime.endswith(".py")):
        yield Finding(
            f"runtime is '{runtime}'",
            cause=f"Triton: unable to find backend library '{runtime}'",
            fix="remove runtime",
            field="runtime",
            edits=(RemoveField("runtime"),),
        )


@rule("CFG411", severity=Severity.WARNING, embedded_refuses=True)
def runtime_to_install(model: ModelSubject) -> Iterator[Finding]:
    """The library that ``runtime`` names is beside the model or in the server's folder of the backend.

    Triton finds the backend's own library without being told.

    Wrong::

        backend: "onnxruntime"
        runtime: "libtriton_onnxruntime.so"

    Right::

        backend: "onnxruntime"
    """
    runtime = model.config.runtime
    is_library = bool(runtime) and "/" not in runtime and not runtime.endswith(".py")
    if model.config.is_ensemble or not is_library or (model.backend, runtime) == ("python", "libtriton_python.so"):
        return
    folders = [model.directory.path, *map(model.directory.version_path, model.served_versions)]
    if not any(_is_library(folder / runtime) for folder in folders):
        yield Finding(
            f"the model needs the library '{runtime}'",
            cause=f"a server whose folder of the backend lacks it says: unable to find backend library '{runtime}'",
            fix="remove runtime",
            field="runtime",
        )


def _is_library(path: Path) -> bool:
    """Whether the dynamic loader would take it; anything else beside the model only makes it fail later."""
    if not is_file(path):
        return False
    try:
        with path.open("rb") as stream:
            beginning: bytes = stream.read(4)
    except OSError:
        return False
    return beginning == b"\x7fELF"
