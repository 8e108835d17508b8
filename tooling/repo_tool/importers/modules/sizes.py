# SPDX-License-Identifier: Apache-2.0
"""Which dimensions of a PyTorch model's inputs a request may choose, and rows of other sizes that prove it."""

__all__ = ["Axes", "Bounds", "axes_of", "every_other_size", "free_axes", "of_other_sizes", "proving_rows", "takes"]

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from repo_tool.errors import SourceError
from repo_tool.importers.modules.calls import Call, answers, resized, stretched
from repo_tool.samples import Tensors
from repo_tool.signature import ModelSignature

Axes = frozenset[tuple[str, int]]  # (input, axis) of dimensions behind the first
Bounds = Mapping[tuple[str, int], tuple[int, int | None]]  # (input, axis): the sizes that a form was made for

_BATCHES = (1, 2, 3)
# Not one more or less: rounding in a convolution hides that, and a size of one is repeated by broadcasting.
_OTHER_SIZES: tuple[Callable[[int], int], ...] = (lambda size: size * 2, lambda size: size // 2)
_SMALLEST = 2
# Where a module that asks for a size answers in another way: next to the sample's, and the smallest ones.
_BRANCHING_SIZES: tuple[Callable[[int], int], ...] = (
    *_OTHER_SIZES,
    lambda size: size + 1,
    lambda _: 3,
    lambda _: 2,
    lambda _: 1,
)
_LONGEST = 4096  # of what is tried beyond an upper bound
_MOST_ELEMENTS = 1 << 20  # of inputs that are tried beyond an upper bound of rows


def axes_of(rows: Tensors) -> Axes:
    """Every dimension but the first ones."""
    return frozenset((name, axis) for name, array in rows.items() for axis in range(1, array.ndim))


def of_other_sizes(call: Call, inputs: Tensors, axes: Collection[tuple[str, int]]) -> Tensors | None:
    """Two rows of another size in all of ``axes``, equal sizes staying equal; None when the model takes none."""
    rows = resized(inputs, 2)
    for other in _OTHER_SIZES:
        sizes = {(name, axis): other(rows[name].shape[axis]) for name, axis in axes}
        if min(sizes.values(), default=0) >= _SMALLEST:
            candidate = stretched(rows, sizes)
            if takes(call, candidate):
                return candidate
    return None


def takes(call: Call, inputs: Tensors) -> bool:
    """Whether the model answers such rows at all."""
    try:
        answers(call, inputs)
    except SourceError:
        return False
    return True


def free_axes(call: Call, inputs: Tensors, candidates: Collection[tuple[str, int]]) -> Axes:
    """Those of ``candidates`` in which the model takes another size: what belongs together is changed together.

    Dimensions of one size are tried as one, then those on the same axis, then each by itself.
    """
    found: set[tuple[str, int]] = set()
    for group in _groups(inputs, sorted(candidates)):
        if not found & set(group) and of_other_sizes(call, inputs, group) is not None:
            found.update(group)
    return frozenset(found)


def _groups(inputs: Tensors, candidates: Sequence[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], ...]]:
    ways: tuple[Callable[[tuple[str, int]], object], ...] = (
        lambda at: inputs[at[0]].shape[at[1]],
        lambda at: (at[1], inputs[at[0]].shape[at[1]]),
        lambda at: at,
    )
    for way in ways:
        groups: dict[object, list[tuple[str, int]]] = {}
        for candidate in candidates:
            groups.setdefault(way(candidate), []).append(candidate)
        yield from (tuple(group) for group in groups.values())


def proving_rows(
    call: Call, inputs: Tensors, signature: ModelSignature, bounds: Bounds | None = None
) -> tuple[Tensors, ...] | None:
    """What an artifact has to answer as the model: the rows, batches of 1, 2 and 3, and other lengths.

    A module that asks for a size has a branch for other ones: ``bounds`` tells at which, and the sizes next to them are
    among the rows. None when the signature leaves dimensions free in which the model takes no other size.
    """
    known = bounds or {}
    rows = [inputs]
    if signature.can_batch:
        rows += [resized(inputs, count) for count in _BATCHES]
        beyond = (resized(inputs, count) for count in _beyond_rows(inputs, known))
        rows += [each for each in beyond if takes(call, each)]
    free = [(spec.name, axis) for spec in signature.inputs for axis, size in enumerate(spec.shape) if axis and size < 0]
    if free:
        longer = every_other_size(call, inputs, free, known)
        if not longer:
            return None
        rows += longer
    return tuple(rows)


def every_other_size(
    call: Call, inputs: Tensors, axes: Collection[tuple[str, int]], bounds: Bounds | None = None
) -> tuple[Tensors, ...]:
    """Two rows in each size of ``axes`` that the model takes of those in which a branch may show."""
    rows = resized(inputs, 2)
    own = {at: rows[at[0]].shape[at[1]] for at in axes}
    tried = [{at: other(size) for at, size in own.items()} for other in _BRANCHING_SIZES]
    tried += _beyond(own, bounds or {})
    candidates = (stretched(rows, sizes) for sizes in tried if sizes != own and min(sizes.values(), default=0) > 0)
    return tuple(candidate for candidate in candidates if takes(call, candidate))


def _beyond(sizes: Mapping[tuple[str, int], int], bounds: Bounds) -> Iterator[dict[tuple[str, int], int]]:
    """The sizes next to the bounds, on their outer side: all at once, and each alone, since one may be refused.

    What is of one size stays so: a mask goes with what it masks, though only one of the two has a bound.
    """
    below = {at: bounds[at][0] - 1 for at in sizes if at in bounds and bounds[at][0] > _SMALLEST}
    above = {at: upper + 1 for at in sizes if (upper := bounds.get(at, (0, None))[1]) is not None and upper < _LONGEST}
    for outside in (below, above):
        of_size = {sizes[at]: size for at, size in outside.items()}
        if of_size:
            yield {at: of_size.get(size, size) for at, size in sizes.items()}
        if len(of_size) > 1:
            for own, other in of_size.items():
                yield {at: other if size == own else size for at, size in sizes.items()}


def _beyond_rows(inputs: Tensors, bounds: Bounds) -> tuple[int, ...]:
    """One row more than the forms were made for, where so many rows are soon answered."""
    uppers = {upper for (_, axis), (_, upper) in bounds.items() if axis == 0 and upper is not None}
    of_a_row = sum(array.size // max(len(array), 1) for array in inputs.values())
    return tuple(upper + 1 for upper in sorted(uppers) if upper < _LONGEST and upper * of_a_row < _MOST_ELEMENTS)
