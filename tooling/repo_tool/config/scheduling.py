# SPDX-License-Identifier: Apache-2.0
"""How Triton's schedulers put requests together: the batchers and their queues, named as in ``model_config.proto``."""

__all__ = [
    "Control",
    "ControlInput",
    "ControlKind",
    "DirectStrategy",
    "DynamicBatching",
    "InitialState",
    "OldestStrategy",
    "QueuePolicy",
    "SequenceBatching",
    "SequenceState",
    "TimeoutAction",
]

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from repo_tool.config.fields import proto
from repo_tool.datatypes import DataType


class TimeoutAction(Enum):
    """What becomes of a request that waited too long."""

    REJECT = "REJECT"
    DELAY = "DELAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """How long and how many requests may wait in one queue; 0 is without limit."""

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    default_timeout_us: int = field(default=0, metadata=proto("default_timeout_microseconds"))
    allow_timeout_override: bool = False
    max_queue_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicBatching:
    """Requests wait up to ``max_queue_delay_us`` microseconds for others to share a batch with."""

    preferred_batch_sizes: tuple[int, ...] = field(default=(), metadata=proto("preferred_batch_size"))
    max_queue_delay_us: int = field(default=0, metadata=proto("max_queue_delay_microseconds"))
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: QueuePolicy | None = None
    priority_queue_policy: Mapping[int, QueuePolicy] = field(default_factory=dict)  # by level; 1 is the highest


class ControlKind(Enum):
    """What a control tensor tells the model about a sequence."""

    START = "CONTROL_SEQUENCE_START"
    READY = "CONTROL_SEQUENCE_READY"
    END = "CONTROL_SEQUENCE_END"
    CORRID = "CONTROL_SEQUENCE_CORRID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One meaning of a control tensor: the values that stand for false and true, or the correlation ID's type."""

    kind: ControlKind = ControlKind.START
    int32_false_true: tuple[int, ...] = ()
    fp32_false_true: tuple[float, ...] = ()
    bool_false_true: tuple[bool, ...] = ()
    datatype: DataType | None = field(default=None, metadata=proto("data_type"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlInput:
    """An input of the model that the sequence batcher fills."""

    name: str = ""
    controls: tuple[Control, ...] = field(default=(), metadata=proto("control"))


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialState:
    """What a state holds when a sequence starts: zeros, or the bytes of ``<model>/initial_state/<data_file>``."""

    datatype: DataType | None = field(default=None, metadata=proto("data_type"))
    dims: tuple[int, ...] = ()
    zero_data: bool | None = None
    data_file: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceState:
    """An output that comes back as an input with the sequence's next request."""

    input_name: str = ""
    output_name: str = ""
    datatype: DataType | None = field(default=None, metadata=proto("data_type"))
    dims: tuple[int, ...] = ()
    initial_states: tuple[InitialState, ...] = field(default=(), metadata=proto("initial_state"))
    use_same_buffer_for_input_output: bool = False
    use_growable_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectStrategy:
    """Each sequence keeps one slot of one instance."""

    max_queue_delay_us: int = field(default=0, metadata=proto("max_queue_delay_microseconds"))
    minimum_slot_utilization: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OldestStrategy:
    """Requests of the oldest sequences are batched."""

    max_candidate_sequences: int = 0
    preferred_batch_sizes: tuple[int, ...] = field(default=(), metadata=proto("preferred_batch_size"))
    max_queue_delay_us: int = field(default=0, metadata=proto("max_queue_delay_microseconds"))
    preserve_ordering: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBatching:
    """All requests of a sequence go to one instance, in order; ``direct`` and ``oldest`` exclude each other."""

    direct: DirectStrategy | None = None
    oldest: OldestStrategy | None = None
    max_sequence_idle_us: int = field(default=0, metadata=proto("max_sequence_idle_microseconds"))
    control_inputs: tuple[ControlInput, ...] = field(default=(), metadata=proto("control_input"))
    states: tuple[SequenceState, ...] = field(default=(), metadata=proto("state"))
    iterative_sequence: bool = False
