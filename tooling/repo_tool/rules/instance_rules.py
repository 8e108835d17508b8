# SPDX-License-Identifier: Apache-2.0
"""CFG3: instances and what they run on."""

from collections.abc import Iterator

from repo_tool.config.execution import InstanceKind
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject


@rule("CFG301")
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
            )


@rule("CFG302", severity=Severity.WARNING, embedded_refuses=True)
def gpu_only(model: ModelSubject) -> Iterator[Finding]:
    """Instances are KIND_AUTO, so that the same repository loads with and without a GPU.

    KIND_GPU, or a list of gpus, is refused on a machine without them.

    Wrong::

        instance_group [ { kind: KIND_GPU  count: 1 } ]

    Right::

        instance_group [ { kind: KIND_AUTO  count: 1 } ]
    """
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
