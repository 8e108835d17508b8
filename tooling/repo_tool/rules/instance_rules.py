# SPDX-License-Identifier: Apache-2.0
"""CFG3: instances, what they run on and what they may use at once."""

import re
from collections import defaultdict
from collections.abc import Iterator

from repo_tool.config.execution import InstanceKind
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.fixes import RemoveField
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject

# More than any machine runs at once; each is a copy of the model, for the Python backend a process.
_MANY_INSTANCES = 128
_INT32 = 2**31


@rule("CFG301", fixable=True)
def gpus_for_a_cpu_instance(model: ModelSubject) -> Iterator[Finding]:
    """Only instances on GPUs list gpus.

    Wrong::

        instance_group [ { kind: KIND_CPU  gpus: [ 0 ] } ]

    Right::

        instance_group [ { kind: KIND_GPU  gpus: [ 0 ] } ]
    """
    for index, group in enumerate(model.config.instance_groups):
        if group.gpus and group.kind in (InstanceKind.KIND_CPU, InstanceKind.KIND_MODEL):
            yield Finding(
                f"instance group {index} is {group.kind.value} and lists gpus",
                cause=f"Triton: has kind {group.kind.value} but specifies one or more GPUs",
                fix="remove gpus, or write KIND_GPU",
                field=f"instance_group[{index}].gpus",
                edits=(RemoveField(f"instance_group[{index}].gpus"),),
            )


@rule("CFG302", severity=Severity.WARNING, embedded_refuses=True)
def gpu_only(model: ModelSubject) -> Iterator[Finding]:
    """Instances are KIND_AUTO, so that the same repository loads with and without a GPU.

    KIND_GPU, or a list of gpus, is refused on a machine without them. A variant in configs/ is chosen for a machine
    and may say so.

    Wrong::

        instance_group [ { kind: KIND_GPU  count: 1 } ]

    Right::

        instance_group [ { kind: KIND_AUTO  count: 1 } ]
    """
    if model.variant:
        return
    for index, group in enumerate(model.config.instance_groups):
        on_auto = group.kind is InstanceKind.KIND_AUTO and bool(group.gpus)
        if group.kind is InstanceKind.KIND_GPU or on_auto:
            yield Finding(
                f"instance group {index} needs a GPU",
                cause="a server without one refuses the model",
                fix="write KIND_AUTO without gpus: the GPU where there is one, else the CPU",
                field=f"instance_group[{index}].kind",
            )


@rule("CFG303", severity=Severity.WARNING)
def uncounted_instances(model: ModelSubject) -> Iterator[Finding]:
    """The number of instances is written.

    Without it Triton runs two instances of an ONNX or TensorFlow model on a CPU, each with as many threads as there
    are cores.

    Wrong::

        backend: "onnxruntime"

    Right::

        backend: "onnxruntime"
        instance_group [ { kind: KIND_AUTO  count: 1 } ]
    """
    if model.backend not in ("onnxruntime", "tensorflow"):
        return
    groups = model.config.instance_groups
    if groups and all(group.count > 0 or group.kind is InstanceKind.KIND_GPU for group in groups):
        return
    yield Finding(
        "the number of instances is left to Triton",
        cause="on a CPU it takes two, which then compete for the cores",
        fix="write instance_group [ { kind: KIND_AUTO count: 1 } ]",
        field="instance_group",
    )


@rule("CFG304", fixable=True)
def impossible_profile(model: ModelSubject) -> Iterator[Finding]:
    """``profile`` is for TensorRT, and each is the index of an optimisation profile in the engine.

    Wrong::

        backend: "onnxruntime"
        instance_group [ { profile: [ "0" ] } ]

    Right::

        backend: "tensorrt"
        instance_group [ { profile: [ "0" ] } ]
    """
    is_tensorrt = model.backend == "tensorrt" or model.config.platform == "tensorrt_plan"
    for index, group in enumerate(model.config.instance_groups):
        field = f"instance_group[{index}].profile"
        if group.profiles and not is_tensorrt:
            yield Finding(
                f"instance group {index} has a profile, and the backend is '{model.backend}'",
                cause="Triton: specifies profile field which is only supported for TensorRT models",
                fix="remove profile",
                field=field,
                edits=(RemoveField(field),),
            )
            continue
        for profile in (profile for profile in group.profiles if not _is_profile(profile)):
            yield Finding(
                f"instance group {index} has the profile '{profile}'",
                cause="Triton: should contain the string representation of a non-negative integer",
                fix='write the index of the profile, e.g. "0"',
                field=field,
            )


def _is_profile(text: str) -> bool:
    number = re.match(r"\s*[+-]?[0-9]+", text)  # what stoi reads: the digits in front
    return number is not None and 0 <= int(number.group()) < _INT32


@rule("CFG305", severity=Severity.WARNING, fixable=True)
def odd_instance_count(model: ModelSubject) -> Iterator[Finding]:
    """``count`` is a small number of 1 or more.

    Triton takes a negative one for an absent one. Every instance is a copy of the model, and for the Python backend a
    process: with a great many the model is never done loading.

    Wrong::

        instance_group [ { kind: KIND_CPU  count: -1 } ]

    Right::

        instance_group [ { kind: KIND_CPU  count: 1 } ]
    """
    for index, group in enumerate(model.config.instance_groups):
        if 0 <= group.count <= _MANY_INSTANCES:
            continue
        is_negative = group.count < 0
        yield Finding(
            f"instance group {index} has the count {group.count:,}",
            cause="Triton takes it for an absent one" if is_negative else "every instance is a copy of the model",
            fix="leave it out, or write as many as measuring shows to help",
            field=f"instance_group[{index}].count",
            edits=(RemoveField(f"instance_group[{index}].count"),) if is_negative else (),
        )


@rule("CFG306", embedded_refuses=False)
def passive_instances_only(model: ModelSubject) -> Iterator[Finding]:
    """Some instance is not passive, so that requests have one to run on.

    Triton loads a model whose instances are all passive. The first request then ends the whole server (2.51).

    Wrong::

        instance_group [ { kind: KIND_CPU  count: 1  passive: true } ]

    Right::

        instance_group [ { kind: KIND_CPU  count: 1 } ]
    """
    groups = model.config.instance_groups
    if groups and all(group.passive for group in groups):
        yield Finding(
            "every instance is passive",
            cause="none takes requests; the first one ends the whole server",
            fix="remove passive from one of the groups",
            field="instance_group[0].passive",
        )


@rule("CFG307", severity=Severity.WARNING, fixable=True)
def unused_secondary_device(model: ModelSubject) -> Iterator[Finding]:
    """Secondary devices (NVDLA) are used by the TensorRT backend alone.

    Wrong::

        backend: "onnxruntime"
        instance_group [ { secondary_devices [ { kind: KIND_NVDLA  device_id: 0 } ] } ]

    Right::

        backend: "onnxruntime"
        instance_group [ { kind: KIND_GPU } ]
    """
    if model.backend == "tensorrt":
        return
    for index, group in enumerate(model.config.instance_groups):
        if group.secondary_devices:
            yield Finding(
                f"instance group {index} names a secondary device, which the backend '{model.backend}' does not use",
                cause="only the TensorRT backend runs on NVDLA; Triton says nothing",
                fix="remove secondary_devices",
                field=f"instance_group[{index}].secondary_devices",
                edits=(RemoveField(f"instance_group[{index}].secondary_devices"),),
            )


@rule("CFG308", severity=Severity.WARNING)
def resource_of_two_kinds(model: ModelSubject) -> Iterator[Finding]:
    """A resource of the rate limiter is either global or counted per device, and has a name.

    A server with ``--rate-limit=execution_count`` refuses a model that uses one name for both; others do not look.

    Wrong::

        resources [ { name: "memory"  count: 2 }, { name: "memory"  global: true  count: 2 } ]

    Right::

        resources [ { name: "memory"  count: 2 }, { name: "licences"  global: true  count: 2 } ]
    """
    kinds: dict[str, set[bool]] = defaultdict(set)
    for place, name, is_global in _resources(model):
        if not name:
            yield Finding(
                f"{place} has no name",
                cause="all resources without a name are one",
                fix='add name: "..."',
                field=f"{place}.name",
            )
        elif is_global not in kinds[name] and kinds[name]:
            yield Finding(
                f"the resource '{name}' is global in one place and per device in another",
                cause="a server with --rate-limit=execution_count refuses the model",
                fix="write global: true in all places or in none",
                field=f"{place}.global",
            )
        kinds[name].add(is_global)


def _resources(model: ModelSubject) -> Iterator[tuple[str, str, bool]]:
    """Where each resource is written, its name, and whether it is global."""
    for index, group in enumerate(model.config.instance_groups):
        for number, resource in enumerate(group.rate_limiter.resources if group.rate_limiter else ()):
            yield f"instance_group[{index}].rate_limiter.resources[{number}]", resource.name, resource.is_global
