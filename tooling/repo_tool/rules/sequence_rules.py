# SPDX-License-Identifier: Apache-2.0
"""CFG8: the sequence batcher, its controls and its states."""

import math
import re
from collections import Counter
from collections.abc import Iterator

from repo_tool.config.scheduling import (
    Control,
    ControlInput,
    ControlKind,
    InitialState,
    SequenceBatching,
    SequenceState,
)
from repo_tool.datatypes import DataType
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject

_CORRELATION_IDS = (DataType.UINT64, DataType.INT64, DataType.UINT32, DataType.INT32, DataType.BYTES)
_MOST_BYTES = 2**38
_WRAPS = 2**63  # Triton 2.51 counts bytes in 64 bits with sign, and what wraps around is small again
_MANY_SEQUENCES = 1_000_000  # a second of loading
_MOST_SEQUENCES = 100_000_000


@rule("CFG801")
def ambiguous_control(model: ModelSubject) -> Iterator[Finding]:
    """Every control_input has a name of its own, and each kind of control is there once.

    One tensor may carry several kinds: list them in its ``control``.

    Wrong::

        control_input [ { name: "flag" control [ { kind: CONTROL_SEQUENCE_START ... } ] },
                        { name: "flag" control [ { kind: CONTROL_SEQUENCE_END ... } ] } ]

    Right::

        control_input [ { name: "start" control [ { kind: CONTROL_SEQUENCE_START ... } ] },
                        { name: "end" control [ { kind: CONTROL_SEQUENCE_END ... } ] } ]
    """
    inputs = _batching(model).control_inputs
    field = "sequence_batching.control_input"
    for index, given in enumerate(inputs):
        if not given.name:
            yield Finding(
                f"control input {index} has no name",
                cause="Triton: sequence batching control tensor must have a name",
                fix='add name: "..."',
                field=f"{field}[{index}].name",
            )
    for name, count in Counter(given.name for given in inputs if given.name).items():
        if count > 1:
            yield Finding(
                f"{count} control inputs are called '{name}'",
                cause=f"Triton: sequence batching control tensor '{name}' is specified for multiple control kinds",
                fix="list the kinds in one control_input, or give each its own name",
                field=field,
            )
    for kind, count in Counter(control.kind for _, _, control in _controls(model)).items():
        if count > 1:
            yield Finding(
                f"{kind.value} is there {count} times",
                cause=f"Triton: sequence batching specifies multiple {kind.value} tensors",
                fix="keep one of them",
                field=field,
            )


@rule("CFG802")
def unclear_control_values(model: ModelSubject) -> Iterator[Finding]:
    """A control for start, ready or end says in one type which two values stand for false and true.

    Wrong::

        control [ { kind: CONTROL_SEQUENCE_START } ]

    Right::

        control [ { kind: CONTROL_SEQUENCE_START  int32_false_true: [ 0, 1 ] } ]
    """
    for field, given, control in _controls(model):
        if control.kind is ControlKind.CORRID:
            continue
        values = {name: value for name, value in _false_true(control).items() if value}
        if len(values) == 1 and all(len(value) == 2 for value in values.values()):
            continue
        yield Finding(
            f"{control.kind.value} of '{given.name}' has {_listed(values)}",
            cause="Triton: sequence batching must specify either 'int32_false_true', 'fp32_false_true' or"
            " 'bool_false_true', with exactly 2 entries",
            fix="write int32_false_true: [ 0, 1 ] alone",
            field=field,
        )


def _false_true(control: Control) -> dict[str, tuple[object, ...]]:
    return {
        "int32_false_true": control.int32_false_true,
        "fp32_false_true": control.fp32_false_true,
        "bool_false_true": control.bool_false_true,
    }


def _listed(values: dict[str, tuple[object, ...]]) -> str:
    return " and ".join(f"{name} {list(value)}" for name, value in values.items()) or "no values for false and true"


@rule("CFG803")
def impossible_correlation_id(model: ModelSubject) -> Iterator[Finding]:
    """A control for the correlation ID has a type, TYPE_UINT64, INT64, UINT32, INT32 or STRING, and no false and true.

    Wrong::

        control [ { kind: CONTROL_SEQUENCE_CORRID } ]

    Right::

        control [ { kind: CONTROL_SEQUENCE_CORRID  data_type: TYPE_UINT64 } ]
    """
    for field, given, control in _controls(model):
        if control.kind is not ControlKind.CORRID:
            continue
        if control.datatype not in _CORRELATION_IDS:
            found = control.datatype.config_name if control.datatype else "no data_type"
            yield Finding(
                f"the correlation ID '{given.name}' has {found}",
                cause="Triton: Allowed data types are TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING",
                fix="write data_type: TYPE_UINT64",
                field=f"{field}.data_type",
            )
        for name in (name for name, value in _false_true(control).items() if value):
            yield Finding(
                f"the correlation ID '{given.name}' has {name}",
                cause="Triton: sequence batching must not specify either 'int32_false_true', 'fp32_false_true' or"
                " 'bool_false_true' for CONTROL_SEQUENCE_CORRID",
                fix=f"remove {name}",
                field=f"{field}.{name}",
            )


@rule("CFG804")
def impossible_sequence_batch(model: ModelSubject) -> Iterator[Finding]:
    """The batches that a sequence batcher is asked to form are ones it can form.

    ``preferred_batch_size`` lies between 1 and max_batch_size, ``minimum_slot_utilization`` between 0 and 1.

    Wrong::

        max_batch_size: 4
        sequence_batching { oldest { max_candidate_sequences: 8  preferred_batch_size: [ 8 ] } }

    Right::

        max_batch_size: 4
        sequence_batching { oldest { max_candidate_sequences: 8  preferred_batch_size: [ 4 ] } }
    """
    batching, largest = _batching(model), model.config.max_batch_size
    for size in batching.oldest.preferred_batch_sizes if batching.oldest else ():
        if not 0 < size <= largest:
            words = "must be positive" if size <= 0 else "must be <= max batch size"
            yield Finding(
                f"the preferred batch size {size} is not between 1 and {largest}",
                cause=f"Triton: sequence batching preferred batch size {words}",
                fix="remove it" if largest == 0 else f"write sizes from 1 to {largest}, or remove them",
                field="sequence_batching.oldest.preferred_batch_size",
            )
    field, places = _places(model)
    if places > _MOST_SEQUENCES:
        yield Finding(
            f"{field} is {places:,}",
            cause="Triton makes a place for as many sequences while it loads the model, and ends without memory",
            fix="write as many as may run at once, e.g. 1024",
            field=field,
        )
    utilization = batching.direct.minimum_slot_utilization if batching.direct else 0.0
    if utilization < 0 or utilization > 1:
        yield Finding(
            f"minimum_slot_utilization is {utilization:g}",
            cause="Triton: sequence batching minimum slot utilization must be in range (0.0, 1.0]",
            fix="write a share of the slots, e.g. 0.5, or remove it",
            field="sequence_batching.direct.minimum_slot_utilization",
        )


@rule("CFG805", severity=Severity.WARNING)
def equal_control_values(model: ModelSubject) -> Iterator[Finding]:
    """The two values of a control differ, or the model cannot tell false from true.

    Wrong::

        int32_false_true: [ 1, 1 ]

    Right::

        int32_false_true: [ 0, 1 ]
    """
    for field, given, control in _controls(model):
        for name, value in _false_true(control).items():
            if len(value) == 2 and value[0] == value[1]:
                yield Finding(
                    f"{control.kind.value} of '{given.name}' is {value[0]} for false and for true",
                    cause="Triton takes it, and the model never sees a difference",
                    fix=f"write {name}: [ {'false, true' if name.startswith('bool') else '0, 1'} ]",
                    field=f"{field}.{name}",
                )


@rule("CFG806", severity=Severity.WARNING)
def tensor_made_twice(model: ModelSubject) -> Iterator[Finding]:
    """What the sequence batcher makes is not listed as an input too: clients would have to send it.

    Wrong::

        input [ { name: "start" ... } ]
        sequence_batching { control_input [ { name: "start" ... } ] }

    Right::

        sequence_batching { control_input [ { name: "start" ... } ] }
    """
    made = {
        **{given.name: "a control" for given in _batching(model).control_inputs},
        **{state.input_name: "a state" for state in _batching(model).states},
    }
    for index, tensor in enumerate(model.config.inputs):
        if tensor.name and tensor.name in made and not tensor.optional:
            yield Finding(
                f"the input '{tensor.name}' is {made[tensor.name]} of sequence_batching as well",
                cause="clients must send it, and Triton replaces what they sent",
                fix=f"remove '{tensor.name}' from input",
                field=f"input[{index}].name",
            )


@rule("CFG807")
def impossible_initial_state(model: ModelSubject) -> Iterator[Finding]:
    """A state starts from one initial_state with a name, the state's type and rank, fixed sizes and data.

    Where the state has fixed sizes they are the same. Sizes below -1, or ones that no memory holds, end the whole
    server (2.51).

    Wrong::

        state [ { ... data_type: TYPE_FP32 dims: [ -1 ]
                  initial_state { data_type: TYPE_FP32 dims: [ -1 ] zero_data: true name: "zeros" } } ]

    Right::

        state [ { ... data_type: TYPE_FP32 dims: [ -1 ]
                  initial_state { data_type: TYPE_FP32 dims: [ 16 ] zero_data: true name: "zeros" } } ]
    """
    started: set[str] = set()
    for index, state in enumerate(_batching(model).states):
        field = f"sequence_batching.state[{index}].initial_state"
        if len(state.initial_states) > 1:
            yield _initial_fault(state, field, f"has {len(state.initial_states)} initial states", _ONE)
            continue
        for initial in state.initial_states:
            if state.input_name in started:
                yield _initial_fault(
                    state, field, "is there twice", "Triton: State input name specified more than once"
                )
            started.add(state.input_name)
            for message, cause in _initial_faults(state, initial):
                yield _initial_fault(state, f"{field}[0]", message, cause)


_ONE = "Triton: initial_state field must contain exactly one or zero element"


def _initial_fault(state: SequenceState, field: str, message: str, cause: str) -> Finding:
    shape = [max(dim, 1) for dim in state.dims]
    datatype = state.datatype.config_name if state.datatype else "TYPE_FP32"
    return Finding(
        f"the state '{state.input_name}' {message}",
        cause=cause,
        fix=f'write one: initial_state {{ name: "zeros" data_type: {datatype} dims: {shape} zero_data: true }}',
        field=field,
    )


def _initial_faults(state: SequenceState, initial: InitialState) -> Iterator[tuple[str, str]]:
    if initial.datatype is not state.datatype:
        yield "starts with another data_type", "Triton: The data type used for 'initial_state' does not match the state"
    if not initial.name:
        yield "starts with an initial_state without a name", "Triton: Field 'name' must be set when using initial_state"
    if initial.zero_data is None and not initial.data_file:
        yield "starts with an initial_state without data", "Triton: initial_state setting expects state_data set"
    if len(initial.dims) != len(state.dims):
        yield (
            f"has {len(state.dims)} dims and starts with {len(initial.dims)}",
            "Triton: Number of dimensions in 'initial_state' doesn't match the size of 'state' dimensions",
        )
        return
    yield from _initial_dim_faults(state, initial)


def _initial_dim_faults(state: SequenceState, initial: InitialState) -> Iterator[tuple[str, str]]:
    fixed = all(want in (-1, have) for want, have in zip(state.dims, initial.dims, strict=True))
    count = math.prod(initial.dims) * ((initial.datatype.byte_size if initial.datatype else 0) or 1)
    if -1 in initial.dims:
        yield "starts with a free dimension", "Triton: 'initial_state' field contains variable dimensions"
    elif not fixed:
        yield (
            f"has dims {list(state.dims)} and starts with {list(initial.dims)}",
            "Triton: 'initial_state' dim doesn't match 'state' dim description",
        )
    elif count < 0:
        yield f"starts with dims {list(initial.dims)}", "Triton ends where it is to get less than no memory"
    elif _MOST_BYTES <= count < _WRAPS:
        yield f"starts with {count:,} bytes", "Triton ends where it cannot get the memory for it"


@rule("CFG808", severity=Severity.WARNING)
def incomplete_state(model: ModelSubject) -> Iterator[Finding]:
    """A state has an input_name, an output_name, a data_type and dims.

    Triton loads a model without them, and the state never comes back to it.

    Wrong::

        state [ { input_name: "in" data_type: TYPE_FP32 dims: [ 2 ] } ]

    Right::

        state [ { input_name: "in" output_name: "out" data_type: TYPE_FP32 dims: [ 2 ] } ]
    """
    for index, state in enumerate(_batching(model).states):
        present = {
            "input_name": state.input_name,
            "output_name": state.output_name,
            "data_type": state.datatype,
            "dims": state.dims,
        }
        for field in (field for field, value in present.items() if not value):
            yield Finding(
                f"state {index} ('{state.input_name}') has no {field}",
                cause="Triton loads the model, and its sequences cannot keep this state",
                fix=f"add {field}",
                field=f"sequence_batching.state[{index}].{field}",
            )


@rule("CFG809", severity=Severity.WARNING)
def too_many_sequences(model: ModelSubject) -> Iterator[Finding]:
    """max_candidate_sequences, or else max_batch_size, is a number of sequences that may really run at once.

    Triton makes a place for each, in every instance, while it loads the model, which takes minutes for ten millions. It
    takes a negative number for an absent one.

    Wrong::

        oldest { max_candidate_sequences: 10000000 }

    Right::

        oldest { max_candidate_sequences: 1024 }
    """
    field, places = _places(model)
    if places < 0 or _MANY_SEQUENCES < places <= _MOST_SEQUENCES:
        yield Finding(
            f"{field} is {places:,}",
            cause="Triton takes it for an absent one" if places < 0 else "it makes a place for each while it loads",
            fix="write as many as may run at once, e.g. 1024",
            field=field,
        )


def _places(model: ModelSubject) -> tuple[str, int]:
    """How many sequences one instance has places for, and the field that says so."""
    batching = model.config.sequence_batching
    if batching is not None and batching.oldest is not None and batching.oldest.max_candidate_sequences:
        return "sequence_batching.oldest.max_candidate_sequences", batching.oldest.max_candidate_sequences
    return "max_batch_size", max(0, model.config.max_batch_size if batching is not None else 0)


@rule("CFG810", embedded_refuses=False)
def control_without_index(model: ModelSubject) -> Iterator[Finding]:
    """The controls of a PyTorch model end in ``__`` and the place of the argument, though its inputs need not.

    Wrong::

        backend: "pytorch"
        control_input [ { name: "start" ... } ]

    Right::

        backend: "pytorch"
        control_input [ { name: "start__1" ... } ]
    """
    if model.backend != "pytorch":
        return
    for index, given in enumerate(_batching(model).control_inputs):
        if given.name and given.controls and not re.fullmatch(r".*?__[0-9]+", given.name):
            yield Finding(
                f"the control '{given.name}' does not end in __ and a number",
                cause=f"Triton: input '{given.name}' does not follow <name>__<index> naming convention",
                fix=f'write name: "{given.name}__{len(model.config.inputs)}", with the place of the argument',
                field=f"sequence_batching.control_input[{index}].name",
            )


def _batching(model: ModelSubject) -> SequenceBatching:
    return model.config.sequence_batching or SequenceBatching()


def _controls(model: ModelSubject) -> Iterator[tuple[str, ControlInput, Control]]:
    """Every control with its field and the tensor that carries it."""
    for index, given in enumerate(_batching(model).control_inputs):
        for number, control in enumerate(given.controls):
            yield f"sequence_batching.control_input[{index}].control[{number}]", given, control
