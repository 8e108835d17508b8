# SPDX-License-Identifier: Apache-2.0
"""Triton's model configuration as frozen values, named as in ``model_config.proto``."""

__all__ = [
    "DynamicBatching",
    "EnsembleStep",
    "InstanceGroup",
    "InstanceKind",
    "ModelConfig",
    "ModelTensor",
    "VersionPolicy",
    "Warmup",
    "WarmupInput",
]

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from repo_tool.datatypes import DataType


class InstanceKind(Enum):
    """Where instances run; AUTO is the GPU where there is one, else the CPU."""

    KIND_AUTO = "KIND_AUTO"
    KIND_GPU = "KIND_GPU"
    KIND_CPU = "KIND_CPU"
    KIND_MODEL = "KIND_MODEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTensor:
    """An input or output as the configuration declares it: ``dims`` leave the batch dimension out when batching."""

    name: str
    datatype: DataType | None  # None: TYPE_INVALID, the proto's default
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None = None  # None: no reshape; () is `reshape { shape: [ ] }`
    optional: bool = False
    allow_ragged_batch: bool = False
    format: str = "FORMAT_NONE"
    label_filename: str = ""

    @property
    def model_shape(self) -> tuple[int, ...]:
        """The shape that the model itself sees, without the batch dimension: ``reshape`` where there is one."""
        return self.dims if self.reshape is None else self.reshape


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicBatching:
    """Requests wait up to ``max_queue_delay_us`` microseconds for others to share a batch with."""

    preferred_batch_sizes: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    priority_queue_policy_levels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceGroup:
    """``count`` executions of the model at once; 0 means absent, which Triton fills in."""

    name: str = ""
    kind: InstanceKind = InstanceKind.KIND_AUTO
    count: int = 0
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPolicy:
    """Which versions are served: the ``latest`` n, ``specific`` ones, or all of them."""

    latest: int | None = None
    specific: tuple[int, ...] = ()
    all_versions: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupInput:
    """One input of a warm-up request, read from ``<model>/warmup/<file>``; ``dims`` leave the batch dimension out."""

    name: str
    datatype: DataType
    dims: tuple[int, ...]
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """A request that Triton runs before the model counts as ready."""

    name: str
    batch_size: int
    inputs: tuple[WarmupInput, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleStep:
    """One model of an ensemble. In both maps the key is the model's tensor and the value the ensemble's."""

    model_name: str
    model_version: int = -1  # -1 is the latest; an absent one is 0, which never loads
    input_map: Mapping[str, str] = field(default_factory=dict)
    output_map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A model configuration. An absent message is None or empty, as in the proto."""

    name: str
    backend: str = ""
    platform: str = ""
    runtime: str = ""
    default_model_filename: str = ""
    max_batch_size: int = 0
    inputs: tuple[ModelTensor, ...] = ()
    outputs: tuple[ModelTensor, ...] = ()
    version_policy: VersionPolicy | None = None
    instance_groups: tuple[InstanceGroup, ...] = ()
    dynamic_batching: DynamicBatching | None = None
    has_sequence_batching: bool = False
    ensemble_steps: tuple[EnsembleStep, ...] = ()
    has_ensemble_scheduling: bool = False
    has_optimization: bool = False
    response_cache: bool = False
    decoupled: bool = False
    model_warmup: tuple[Warmup, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ensemble(self) -> bool:
        """Whether the model only wires others together."""
        return self.platform == "ensemble" or self.has_ensemble_scheduling

    def input(self, name: str) -> ModelTensor | None:
        """The input called ``name``, if there is one."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def output(self, name: str) -> ModelTensor | None:
        """The output called ``name``, if there is one."""
        return next((tensor for tensor in self.outputs if tensor.name == name), None)

    def batched_shape(self, tensor: ModelTensor) -> tuple[int, ...]:
        """What a client must send or gets: ``dims`` with the batch dimension (-1) in front when the model batches."""
        return (-1, *tensor.dims) if self.max_batch_size > 0 else tensor.dims
