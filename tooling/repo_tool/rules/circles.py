# SPDX-License-Identifier: Apache-2.0
"""What ensembles contain, and which contain themselves, however deep and interwoven they are."""

__all__ = ["Circles"]

from collections import deque
from collections.abc import Callable, Collection, Iterator


class Circles:
    """Strongly connected ensembles, after Tarjan; what was walked for one is not walked again for the next."""

    def __init__(self, steps: Callable[[str], Collection[str]], is_marked: Callable[[str], bool]) -> None:
        self._steps = steps  # the models that one is made of; none where it is no ensemble
        self._is_marked = is_marked  # of a model by itself
        self._holding: set[str] = set()  # those that are, or are made of any that is
        self._order: dict[str, int] = {}  # when a model was first come to
        self._lowest: dict[str, int] = {}  # the earliest one that it leads back to
        self._open: list[str] = []  # those whose component is not known yet
        self._component: dict[str, frozenset[str]] = {}

    def way_back(self, model: str) -> tuple[str, ...]:
        """The shortest way from ``model`` to itself, both ends included; () where there is none."""
        if model not in self._order:
            self._walk(model)
        component = self._component[model]
        came_from: dict[str, str] = {}
        waiting = deque([model])
        while waiting:
            current = waiting.popleft()
            for step in self._steps(current):
                if step == model:
                    return (*self._path(model, current, came_from), model)
                if step in component and step not in came_from:
                    came_from[step] = current
                    waiting.append(step)
        return ()

    def is_marked(self, model: str) -> bool:
        """Whether ``model`` is marked, or anything that it is made of."""
        if model not in self._order:
            self._walk(model)
        return model in self._holding

    def _path(self, start: str, end: str, came_from: dict[str, str]) -> tuple[str, ...]:
        path = [end]
        while path[-1] != start:
            path.append(came_from[path[-1]])
        return tuple(reversed(path))

    def _walk(self, root: str) -> None:
        trail = [self._entered(root)]
        while trail:
            model, rest = trail[-1]
            step = next(rest, None)
            if step is None:
                trail.pop()
                self._leave(model)
                if trail:
                    self._lower(trail[-1][0], self._lowest[model])
            elif step not in self._order:
                trail.append(self._entered(step))
            elif step not in self._component:
                self._lower(model, self._order[step])

    def _entered(self, model: str) -> tuple[str, Iterator[str]]:
        self._order[model] = self._lowest[model] = len(self._order)
        self._open.append(model)
        return model, iter(self._steps(model))

    def _lower(self, model: str, order: int) -> None:
        self._lowest[model] = min(self._lowest[model], order)

    def _leave(self, model: str) -> None:
        if self._lowest[model] != self._order[model]:
            return
        members = [self._open.pop()]
        while members[-1] != model:
            members.append(self._open.pop())
        self._component |= dict.fromkeys(members, frozenset(members))
        # What the members lead to was left before them.
        if any(self._is_marked(each) or not self._holding.isdisjoint(self._steps(each)) for each in members):
            self._holding.update(members)
