# SPDX-License-Identifier: Apache-2.0
"""Triton's model configuration as frozen values, named as in ``model_config.proto``: every field of the message."""

__all__ = [
    "BatchInput",
    "BatchOutput",
    "EnsembleScheduling",
    "EnsembleStep",
    "MetricControl",
    "ModelConfig",
    "ModelTensor",
    "RepositoryAgent",
    "VersionPolicy",
    "Warmup",
    "WarmupInput",
]

from collections.abc import Mapping
from dataclasses import dataclass, field

from repo_tool.config.execution import InstanceGroup, Optimization
from repo_tool.config.fields import proto
from repo_tool.config.scheduling import DynamicBatching, SequenceBatching
from repo_tool.datatypes import DataType


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTensor:
    """An input or output as the configuration declares it: ``dims`` leave the batch dimension out when batching.

    ``format``, ``optional`` and ``allow_ragged_batch`` belong to inputs, ``label_filename`` to outputs.
    """

    name: str
    datatype: DataType | None = field(metadata=proto("data_type"))  # None: TYPE_INVALID, the proto's default
    dims: tuple[int, ...]
    # None: no reshape; () is `reshape { shape: [ ] }`
    reshape: tuple[int, ...] | None = field(default=None, metadata=proto("reshape", inner="shape"))
    optional: bool = False
    allow_ragged_batch: bool = False
    format: str = "FORMAT_NONE"
    label_filename: str = ""
    is_shape_tensor: bool = False
    is_non_linear_format_io: bool = False

    @property
    def model_shape(self) -> tuple[int, ...]:
        """The shape that the model itself sees, without the batch dimension: ``reshape`` where there is one."""
        return self.dims if self.reshape is None else self.reshape


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPolicy:
    """Which versions are served: the ``latest`` n, ``specific`` ones, or all of them; one choice, or none."""

    latest: int | None = field(default=None, metadata=proto("latest", inner="num_versions"))
    specific: tuple[int, ...] | None = field(default=None, metadata=proto("specific", inner="versions"))
    all_versions: bool = field(default=False, metadata=proto("all"))


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupInput:
    """One input of a warm-up request: one choice of data; ``dims`` leave the batch dimension out."""

    name: str = ""
    datatype: DataType | None = field(default=None, metadata=proto("data_type"))
    dims: tuple[int, ...] = ()
    zero_data: bool | None = None
    random_data: bool | None = None
    file: str | None = field(default=None, metadata=proto("input_data_file"))  # in ``<model>/warmup/``


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """A request that Triton runs ``count`` times (0 is once) before the model counts as ready."""

    name: str = ""
    batch_size: int = 0
    inputs: tuple[WarmupInput, ...] = field(default=(), metadata=proto("inputs", key="name"))
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleStep:
    """One model of an ensemble. In both maps the key is the model's tensor and the value the ensemble's."""

    model_name: str
    model_version: int = -1  # -1 is the latest; an absent one is 0, which never loads
    input_map: Mapping[str, str] = field(default_factory=dict)
    output_map: Mapping[str, str] = field(default_factory=dict)
    model_namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleScheduling:
    """The steps of an ensemble; ``max_inflight_requests`` 0 is without limit."""

    steps: tuple[EnsembleStep, ...] = field(default=(), metadata=proto("step"))
    max_inflight_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInput:
    """A tensor that Triton makes for the model from the requests of a batch."""

    kind: str = "BATCH_ELEMENT_COUNT"
    target_names: tuple[str, ...] = field(default=(), metadata=proto("target_name"))
    datatype: DataType | None = field(default=None, metadata=proto("data_type"))
    source_inputs: tuple[str, ...] = field(default=(), metadata=proto("source_input"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutput:
    """How an output of a batch is cut up for its requests."""

    target_names: tuple[str, ...] = field(default=(), metadata=proto("target_name"))
    kind: str = "BATCH_SCATTER_WITH_INPUT_SHAPE"
    source_inputs: tuple[str, ...] = field(default=(), metadata=proto("source_input"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryAgent:
    """Code that Triton runs on the model directory before it loads the model."""

    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricControl:
    """The buckets of one of the model's histograms."""

    family: str | None = field(default=None, metadata=proto("metric_identifier", inner="family"))
    buckets: tuple[float, ...] | None = field(default=None, metadata=proto("histogram_options", inner="buckets"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A model configuration. An absent message is None or empty, as in the proto."""

    name: str
    backend: str = ""
    platform: str = ""
    runtime: str = ""
    default_model_filename: str = ""
    cc_model_filenames: Mapping[str, str] = field(default_factory=dict)
    max_batch_size: int = 0
    inputs: tuple[ModelTensor, ...] = field(default=(), metadata=proto("input"))
    outputs: tuple[ModelTensor, ...] = field(default=(), metadata=proto("output"))
    batch_inputs: tuple[BatchInput, ...] = field(default=(), metadata=proto("batch_input"))
    batch_outputs: tuple[BatchOutput, ...] = field(default=(), metadata=proto("batch_output"))
    version_policy: VersionPolicy | None = None
    instance_groups: tuple[InstanceGroup, ...] = field(default=(), metadata=proto("instance_group"))
    dynamic_batching: DynamicBatching | None = None
    sequence_batching: SequenceBatching | None = None
    ensemble_scheduling: EnsembleScheduling | None = None
    optimization: Optimization | None = None
    response_cache: bool | None = field(default=None, metadata=proto("response_cache", inner="enable"))
    decoupled: bool | None = field(default=None, metadata=proto("model_transaction_policy", inner="decoupled"))
    model_warmup: tuple[Warmup, ...] = ()
    op_library_filenames: tuple[str, ...] | None = field(
        default=None, metadata=proto("model_operations", inner="op_library_filename")
    )
    repository_agents: tuple[RepositoryAgent, ...] | None = field(
        default=None, metadata=proto("model_repository_agents", inner="agents")
    )
    model_metrics: tuple[MetricControl, ...] | None = field(
        default=None, metadata=proto("model_metrics", inner="metric_control")
    )
    metric_tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict, metadata=proto("parameters", inner="string_value"))

    @property
    def is_ensemble(self) -> bool:
        """Whether the model only wires others together."""
        return self.platform == "ensemble" or self.ensemble_scheduling is not None

    @property
    def ensemble_steps(self) -> tuple[EnsembleStep, ...]:
        """The steps of an ensemble; none for another model."""
        return self.ensemble_scheduling.steps if self.ensemble_scheduling is not None else ()

    def input(self, name: str) -> ModelTensor | None:
        """The input called ``name``, if there is one."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def output(self, name: str) -> ModelTensor | None:
        """The output called ``name``, if there is one."""
        return next((tensor for tensor in self.outputs if tensor.name == name), None)
