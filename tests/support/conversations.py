# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of a small world, as Triton's documentation has them: which a configuration takes, and gives.

Written without a look at ``repo_tool.config.contract``, whose verdicts are held to it.
"""

import itertools
from dataclasses import dataclass

SIZES = (1, 2, 3)  # 3 stands for everything that is larger than what a configuration names


@dataclass(frozen=True)
class Request:
    """The shape and type of each input that is sent."""

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]


def requests(config):
    """Every request of the small world that the configuration takes."""
    choices = [[*_sent(config, tensor), *([None] if tensor.optional else [])] for tensor in config.inputs]
    for picked in itertools.product(*choices):
        request = Request(tuple(sent for sent in picked if sent is not None))
        if takes(config, request):
            yield request


def _sent(config, tensor):
    rank = len(tensor.dims) + (config.max_batch_size > 0)
    return [(tensor.name, tensor.datatype.name, shape) for shape in itertools.product(SIZES, repeat=rank)]


def takes(config, request):
    """Whether the server answers it at all."""
    sent = {name: (datatype, shape) for name, datatype, shape in request.inputs}
    known = {tensor.name: tensor for tensor in config.inputs}
    if not sent.keys() <= known.keys():
        return False
    if any(name not in sent and not tensor.optional for name, tensor in known.items()):
        return False
    if any(datatype != known[name].datatype.name for name, (datatype, _) in sent.items()):
        return False
    if config.max_batch_size == 0:
        return all(_fits(known[name].dims, shape) for name, (_, shape) in sent.items())
    if any(not shape or not _fits(known[name].dims, shape[1:]) for name, (_, shape) in sent.items()):
        return False
    rows = {shape[0] for _, shape in sent.values()}
    return len(rows) <= 1 and all(number <= config.max_batch_size for number in rows)


def _fits(dims, shape):
    return len(dims) == len(shape) and all(size in (-1, given) for size, given in zip(dims, shape, strict=True))


def answers(config, request):
    """For each output its type and every shape of the small world that it may have in the answer."""
    rows = {shape[0] for _, _, shape in request.inputs} if config.max_batch_size > 0 else {None}
    return {
        tensor.name: (
            tensor.datatype.name,
            {
                (*(() if number is None else (number,)), *shape)
                for number in rows
                for shape in itertools.product(SIZES, repeat=len(tensor.dims))
                if _fits(tensor.dims, shape)
            },
        )
        for tensor in config.outputs
    }


def breaks(old, new):
    """A request that the old configuration answers, and the new one refuses or answers otherwise; None if none is."""
    for request in requests(old):
        if not takes(new, request):
            return request
        promised, given = answers(old, request), answers(new, request)
        for name, (datatype, shapes) in promised.items():
            if name not in given or given[name][0] != datatype or not given[name][1] <= shapes:
                return request
    return None
