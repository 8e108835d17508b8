# SPDX-License-Identifier: Apache-2.0
"""On what and how a model is executed: instances, rate limits and optimisation, named as in ``model_config.proto``."""

__all__ = [
    "Accelerator",
    "Cuda",
    "ExecutionAccelerators",
    "GraphLowerBound",
    "GraphSpec",
    "InstanceGroup",
    "InstanceKind",
    "ModelPriority",
    "Optimization",
    "RateLimiter",
    "RateLimiterResource",
    "SecondaryDevice",
]

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from repo_tool.config.fields import proto


class InstanceKind(Enum):
    """Where instances run; AUTO is the GPU where there is one, else the CPU."""

    KIND_AUTO = "KIND_AUTO"
    KIND_GPU = "KIND_GPU"
    KIND_CPU = "KIND_CPU"
    KIND_MODEL = "KIND_MODEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiterResource:
    """What an instance needs while it executes; ``is_global`` resources are shared by all devices."""

    name: str = ""
    is_global: bool = field(default=False, metadata=proto("global"))
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiter:
    """When an instance may execute; it counts only where the server runs with ``--rate-limit``."""

    resources: tuple[RateLimiterResource, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondaryDevice:
    """A further device that the instances of a group use."""

    kind: str = "KIND_NVDLA"
    device_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceGroup:
    """``count`` executions of the model at once; 0 means absent, which Triton fills in."""

    name: str = ""
    kind: InstanceKind = InstanceKind.KIND_AUTO
    count: int = 0
    rate_limiter: RateLimiter | None = None
    gpus: tuple[int, ...] = ()
    secondary_devices: tuple[SecondaryDevice, ...] = ()
    profiles: tuple[str, ...] = field(default=(), metadata=proto("profile"))
    passive: bool = False
    host_policy: str = ""


class ModelPriority(Enum):
    """Who goes first on a GPU that several models share."""

    DEFAULT = "PRIORITY_DEFAULT"
    MAX = "PRIORITY_MAX"
    MIN = "PRIORITY_MIN"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphLowerBound:
    """The smallest request that a captured CUDA graph also serves."""

    batch_size: int = 0
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict, metadata=proto("input", inner="dim"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSpec:
    """A CUDA graph to capture: for which batch size and shapes."""

    batch_size: int = 0
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict, metadata=proto("input", inner="dim"))
    lower_bound: GraphLowerBound | None = field(default=None, metadata=proto("graph_lower_bound"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuda:
    """What the TensorRT backend may do with CUDA."""

    graphs: bool = False
    busy_wait_events: bool = False
    graph_specs: tuple[GraphSpec, ...] = field(default=(), metadata=proto("graph_spec"))
    output_copy_stream: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """An execution provider of the backend, e.g. ``tensorrt`` for ONNX Runtime."""

    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionAccelerators:
    """The accelerators of instances on a GPU and on a CPU, the preferred one first."""

    gpu: tuple[Accelerator, ...] = field(default=(), metadata=proto("gpu_execution_accelerator"))
    cpu: tuple[Accelerator, ...] = field(default=(), metadata=proto("cpu_execution_accelerator"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """How the model is made faster; an absent choice is None."""

    graph_level: int | None = field(default=None, metadata=proto("graph", inner="level"))
    priority: ModelPriority = ModelPriority.DEFAULT
    cuda: Cuda | None = None
    execution_accelerators: ExecutionAccelerators | None = None
    input_pinned_memory: bool | None = field(default=None, metadata=proto("input_pinned_memory", inner="enable"))
    output_pinned_memory: bool | None = field(default=None, metadata=proto("output_pinned_memory", inner="enable"))
    gather_kernel_buffer_threshold: int = 0
    eager_batching: bool = False
