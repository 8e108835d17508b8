# SPDX-License-Identifier: Apache-2.0
"""What a configuration promises its clients, and which changes of it break one. Pure.

A change is breaking when some request that the old configuration takes is refused under the new one, or when the answer
need not be what the old one promised: the same outputs, of the same types, in shapes that the old one allowed.
"""

__all__ = ["Labels", "client_changes", "tensor_pairs"]

from collections.abc import Iterator, Mapping, Sequence

from repo_tool.config.changes import Change, Effect, breaking, compatible
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.config.queue_limits import queue_changes
from repo_tool.config.scheduling import ControlKind
from repo_tool.config.served_versions import version_changes
from repo_tool.datatypes import DataType

Labels = Mapping[str, tuple[str, ...] | None]  # of each label file, by its name in the configuration; None: not there


def client_changes(
    old: ModelConfig, new: ModelConfig, *, old_labels: Labels | None = None, new_labels: Labels | None = None
) -> tuple[Change, ...]:
    """What clients see of the difference. Without ``labels`` the words of label files are taken for unchanged."""
    return (
        *_name(old, new),
        *_batching(old, new),
        *_inputs(old, new),
        *_outputs(old, new),
        *_labels(old, new, old_labels or {}, new_labels or {}),
        *_transactions(old, new),
        *_sequences(old, new),
        *version_changes(old.version_policy, new.version_policy),
        *queue_changes(old.dynamic_batching, new.dynamic_batching),
    )


def tensor_pairs(old: Sequence[ModelTensor], new: Sequence[ModelTensor]) -> tuple[tuple[ModelTensor, ModelTensor], ...]:
    """The tensors that both sides have, by name; of several of one name the first."""
    known = {tensor.name: tensor for tensor in reversed(new)}
    kept = {tensor.name: tensor for tensor in reversed(old)}
    return tuple((kept[name], known[name]) for name in dict.fromkeys(t.name for t in old) if name in known)


def _name(old: ModelConfig, new: ModelConfig) -> Iterator[Change]:
    if old.name and new.name and old.name != new.name:
        yield breaking("name", "clients ask for the model by this name", old.name, new.name)


def _batching(old: ModelConfig, new: ModelConfig) -> Iterator[Change]:
    before, after = old.max_batch_size, new.max_batch_size
    if before == after:
        return
    shown = {"path": "max_batch_size", "before": str(before), "after": str(after)}
    if _both_batch_or_neither(old, new):
        grows = after > before
        words = (
            "larger requests are taken"
            if grows
            else f"requests of more than {after} row{'s' if after > 1 else ''} are refused"
        )
        yield Change(effect=Effect.COMPATIBLE if grows else Effect.BREAKING, words=words, **shown)
        return
    lost = "the batch dimension is gone" if after == 0 else "there is a batch dimension in front of dims now"
    if trouble := _batch_dimension_trouble(old, new):
        yield Change(effect=Effect.BREAKING, words=f"{lost}: {trouble}", **shown)
    else:
        yield Change(effect=Effect.COMPATIBLE, words=f"{lost}, and every request keeps its shape", **shown)


def _both_batch_or_neither(old: ModelConfig, new: ModelConfig) -> bool:
    return (old.max_batch_size > 0) == (new.max_batch_size > 0)


def _batch_dimension_trouble(old: ModelConfig, new: ModelConfig) -> str:
    """What no longer fits where one configuration batches and the other does not; empty when all shapes stay."""
    if not (old.inputs and new.inputs and old.outputs and new.outputs):
        return "without declared inputs and outputs it cannot be told which requests keep their shape"
    for tensor, now in tensor_pairs(old.inputs, new.inputs):
        if not _holds(_wire(new, now), _wire(old, tensor)):
            return f"input '{tensor.name}' was {_shown_wire(old, tensor)} and is {_shown_wire(new, now)}"
    if old.max_batch_size == 0 and len({tensor.dims[:1] for tensor in old.inputs}) > 1:
        return "the inputs of one request must have as many rows as one another"
    rows = {_wire(old, tensor)[0] for tensor in old.inputs if tensor.dims}
    for tensor, now in tensor_pairs(old.outputs, new.outputs):
        if not _answers(old, tensor, new, now, rows):
            return f"output '{tensor.name}' was {_shown_wire(old, tensor)} and is {_shown_wire(new, now)}"
    return ""


def _answers(
    old: ModelConfig, tensor: ModelTensor, new: ModelConfig, now: ModelTensor, rows: set[tuple[int, float]]
) -> bool:
    """Whether an output is as it was promised; ``rows`` are those of the old requests."""
    promised, given = _wire(old, tensor), _wire(new, now)
    if len(promised) != len(given) or not _holds(promised[1:], given[1:]):
        return False
    if new.max_batch_size == 0:  # the old answer has as many rows as its request, the new one those of the model
        return promised[0] == given[0] and given[0][0] == given[0][1]
    return all(_holds((promised[0],), (number,)) for number in rows)  # the new answer has the request's


def _wire(config: ModelConfig, tensor: ModelTensor) -> tuple[tuple[int, float], ...]:
    """The smallest and largest size of each dimension that clients see."""
    batch = ((1, float(config.max_batch_size)),) if config.max_batch_size > 0 else ()
    return (*batch, *_sizes(tensor))


def _holds(outer: Sequence[tuple[int, float]], inner: Sequence[tuple[int, float]]) -> bool:
    """Whether every shape of ``inner`` is one of ``outer``."""
    return len(outer) == len(inner) and all(a[0] <= b[0] and b[1] <= a[1] for a, b in zip(outer, inner, strict=True))


def _shown_wire(config: ModelConfig, tensor: ModelTensor) -> str:
    batch = [f"1…{config.max_batch_size}"] if config.max_batch_size > 0 else []
    return f"[{', '.join([*batch, *map(_size, tensor.dims)])}]"


def _size(size: int) -> str:
    return "any" if size < 0 else str(size)


def _inputs(old: ModelConfig, new: ModelConfig) -> Iterator[Change]:
    if bool(old.inputs) != bool(new.inputs):
        yield _declared_on_one_side("input", old.inputs, new.inputs)
        return
    gone = [tensor for tensor in old.inputs if new.input(tensor.name) is None]
    added = [tensor for tensor in new.inputs if old.input(tensor.name) is None]
    for tensor in gone:
        words = _renamed(tensor, gone, added) or "requests with it are refused"
        yield breaking(_path("input", old.inputs, tensor), f"input '{tensor.name}' is gone: {words}", _shown(tensor))
    for tensor in added:
        path = _path("input", new.inputs, tensor)
        if tensor.optional:
            yield compatible(path, f"input '{tensor.name}' is new, and optional", "", _shown(tensor))
        else:
            yield breaking(path, f"input '{tensor.name}' is new, and requests must have it", "", _shown(tensor))
    for tensor, now in tensor_pairs(old.inputs, new.inputs):
        yield from _input(old, tensor, new, now)


def _input(old: ModelConfig, tensor: ModelTensor, new: ModelConfig, now: ModelTensor) -> Iterator[Change]:
    path, said = _path("input", new.inputs, now), f"input '{tensor.name}'"
    yield from _type(path, said, tensor, now)
    if tensor.optional and not now.optional:
        yield breaking(f"{path}.optional", f"{said} was optional and is required", "true", "false")
    elif now.optional and not tensor.optional:
        yield compatible(f"{path}.optional", f"{said} may be left out now", "false", "true")
    if _both_batch_or_neither(old, new) and tensor.dims != now.dims:
        widened = _holds(_sizes(now), _sizes(tensor))
        words = "takes more shapes than before" if widened else "no longer takes every shape that it took"
        change = compatible if widened else breaking
        yield change(f"{path}.dims", f"{said} {words}", _dims(tensor), _dims(now))


def _declared_on_one_side(kind: str, old: Sequence[ModelTensor], new: Sequence[ModelTensor]) -> Change:
    """Undeclared tensors are those that the backend finds in the model's file."""
    words = f"{kind}s are declared {'before' if old else 'now'} only: whether they are the same cannot be told"
    return breaking(kind, words, ", ".join(map(_named, old)), ", ".join(map(_named, new)))


def _outputs(old: ModelConfig, new: ModelConfig) -> Iterator[Change]:
    if bool(old.outputs) != bool(new.outputs):
        yield _declared_on_one_side("output", old.outputs, new.outputs)
        return
    gone = [tensor for tensor in old.outputs if new.output(tensor.name) is None]
    added = [tensor for tensor in new.outputs if old.output(tensor.name) is None]
    for tensor in gone:
        words = _renamed(tensor, gone, added) or "requests for it are refused"
        yield breaking(_path("output", old.outputs, tensor), f"output '{tensor.name}' is gone: {words}", _shown(tensor))
    for tensor in added:
        yield compatible(_path("output", new.outputs, tensor), f"output '{tensor.name}' is new", "", _shown(tensor))
    for tensor, now in tensor_pairs(old.outputs, new.outputs):
        yield from _output(old, tensor, new, now)


def _output(old: ModelConfig, tensor: ModelTensor, new: ModelConfig, now: ModelTensor) -> Iterator[Change]:
    path, said = _path("output", new.outputs, now), f"output '{tensor.name}'"
    yield from _type(path, said, tensor, now)
    if _both_batch_or_neither(old, new) and tensor.dims != now.dims:
        narrowed = _holds(_sizes(tensor), _sizes(now))
        words = "comes in fewer shapes than before" if narrowed else "may come in shapes that it never had"
        change = compatible if narrowed else breaking
        yield change(f"{path}.dims", f"{said} {words}", _dims(tensor), _dims(now))


def _type(path: str, said: str, tensor: ModelTensor, now: ModelTensor) -> Iterator[Change]:
    if tensor.datatype is not now.datatype:
        yield breaking(
            f"{path}.data_type", f"{said} is of another type", _type_name(tensor.datatype), _type_name(now.datatype)
        )
    if tensor.is_shape_tensor != now.is_shape_tensor:
        words = f"{said} {'is' if now.is_shape_tensor else 'is no longer'} a shape tensor"
        yield breaking(f"{path}.is_shape_tensor", words, str(tensor.is_shape_tensor), str(now.is_shape_tensor))


def _renamed(tensor: ModelTensor, gone: Sequence[ModelTensor], added: Sequence[ModelTensor]) -> str:
    """The new name of a tensor, where only one can be it: same type and dims, none other of its kind."""
    alike = [other for other in added if (other.datatype, other.dims) == (tensor.datatype, tensor.dims)]
    rivals = [other for other in gone if (other.datatype, other.dims) == (tensor.datatype, tensor.dims)]
    return f"it seems to be called '{alike[0].name}' now" if len(alike) == len(rivals) == 1 else ""


def _labels(old: ModelConfig, new: ModelConfig, old_labels: Labels, new_labels: Labels) -> Iterator[Change]:
    for tensor, now in tensor_pairs(old.outputs, new.outputs):
        before, after = tensor.label_filename, now.label_filename
        path, said = f"{_path('output', new.outputs, now)}.label_filename", f"output '{tensor.name}'"
        if after and not before:
            yield compatible(path, f"{said} has labels now", before, after)
        elif before and not after:
            yield breaking(path, f"{said} has no labels any more: classifications come without words", before, after)
        elif before and before in old_labels and after in new_labels:
            yield from _words(path, said, old_labels[before], new_labels[after])


def _words(path: str, said: str, old: tuple[str, ...] | None, new: tuple[str, ...] | None) -> Iterator[Change]:
    if old == new:
        return
    if new is None:
        yield breaking(path, f"{said} has a label file that is not there: Triton loads no such model", _listed(old))
    elif old is None:
        yield compatible(path, f"{said} has its label file now", "", _listed(new))
    else:
        yield breaking(path, f"{said} has other labels", _listed(old), _listed(new))


def _transactions(old: ModelConfig, new: ModelConfig) -> Iterator[Change]:
    before, after = bool(old.decoupled), bool(new.decoupled)
    if before != after:
        words = "answers come as a stream: only gRPC streaming can ask" if after else "there is one answer a request"
        yield breaking("model_transaction_policy.decoupled", words, str(before).lower(), str(after).lower())


def _sequences(old: ModelConfig, new: ModelConfig) -> Iterator[Change]:
    before, after = old.sequence_batching is not None, new.sequence_batching is not None
    if after and not before:
        yield breaking("sequence_batching", "requests must belong to a sequence", "", "present")
    elif before and not after:
        yield breaking("sequence_batching", "the model forgets what came before in a sequence", "present", "")
    elif before and not _sequence_ids(old) <= _sequence_ids(new):
        words = f"only {' and '.join(sorted(_sequence_ids(new)))} may name a sequence now"
        kinds = [", ".join(sorted(_sequence_ids(config))) for config in (old, new)]
        yield breaking("sequence_batching.control_input", words, *kinds)


def _sequence_ids(config: ModelConfig) -> set[str]:
    """What may name a sequence."""
    inputs = config.sequence_batching.control_inputs if config.sequence_batching is not None else ()
    types = [control.datatype for given in inputs for control in given.controls if control.kind is ControlKind.CORRID]
    if not types:
        return {"numbers", "texts"}
    return {"texts" if datatype is DataType.BYTES else "numbers" for datatype in types}


def _path(kind: str, tensors: Sequence[ModelTensor], tensor: ModelTensor) -> str:
    return f"{kind}[{[other.name for other in tensors].index(tensor.name)}]"


def _sizes(tensor: ModelTensor) -> tuple[tuple[int, float], ...]:
    return tuple((1, float("inf")) if size < 0 else (size, float(size)) for size in tensor.dims)


def _dims(tensor: ModelTensor) -> str:
    return f"[{', '.join(map(_size, tensor.dims))}]"


def _shown(tensor: ModelTensor) -> str:
    return f"{_type_name(tensor.datatype)} {_dims(tensor)}"


def _named(tensor: ModelTensor) -> str:
    return f"{tensor.name} {_shown(tensor)}"


def _type_name(datatype: DataType | None) -> str:
    return datatype.config_name if datatype is not None else "TYPE_INVALID"


def _listed(labels: Sequence[str] | None) -> str:
    if labels is None:
        return ""
    shown = ", ".join(labels[:4])
    return f"{shown}, … ({len(labels)})" if len(labels) > 4 else shown
