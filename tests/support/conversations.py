# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of a small world, as Triton's documentation has them: which a configuration takes, and gives.

Written without a look at ``repo_tool.config.contract``, whose verdicts are held to it.
"""

import itertools
from dataclasses import dataclass, replace

from repo_tool.config.model import ModelTensor
from repo_tool.config.scheduling import QueuePolicy, TimeoutAction
from repo_tool.datatypes import DataType

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
    """Something that the old configuration answers, and the new one refuses or answers otherwise; None if none is."""
    return _request_that_breaks(old, new) or _version_that_breaks(old, new) or _queue_that_breaks(old, new)


def _request_that_breaks(old, new):
    for file in FILES:
        before, after = completed(old, file), completed(new, file)
        for request in requests(before) if before else ():
            if after is None or not takes(after, request):
                return request
            promised, given = answers(before, request), answers(after, request)
            for name, (datatype, shapes) in promised.items():
                if name not in given or given[name][0] != datatype or not given[name][1] <= shapes:
                    return request
    return None


def _file(inputs, outputs):
    tensors = [
        tuple(ModelTensor(name=name, datatype=DataType.FP32, dims=dims) for name, dims in side.items())
        for side in (inputs, outputs)
    ]
    return dict(zip(("inputs", "outputs"), tensors, strict=True))


# What the files of undeclared tensors may hold: the first dimension is the batch where the configuration batches.
FILES = [
    _file({"a": (-1,)}, {"y": (-1,)}),
    _file({"a": (-1, 2)}, {"y": (-1, -1), "z": (-1, 1)}),
    _file({"q": (2, 2)}, {"r": (2, 1)}),
]


def completed(config, file):
    """The configuration with the tensors that it leaves to the file; None where Triton refuses to batch them."""
    found = {}
    for side, tensors in file.items():
        if getattr(config, side):
            continue
        if config.max_batch_size > 0 and any(tensor.dims[0] != -1 for tensor in tensors):
            return None
        batch = config.max_batch_size > 0
        found[side] = tuple(replace(tensor, dims=tensor.dims[batch:]) for tensor in tensors)
    return replace(config, **found)


def _version_that_breaks(old, new):
    """Versions in the model's folder of which one is served before and not after."""
    for count in range(1, 5):
        for there in itertools.combinations(range(1, 5), count):
            if lost := served(old.version_policy, there) - served(new.version_policy, there):
                return there, lost
    return None


def served(policy, there):
    """Which of the versions in the folder Triton loads."""
    if policy is None:
        return {max(there)}
    if policy.specific is not None:
        return set(policy.specific) & set(there)
    return set(there if policy.latest is None else sorted(there, reverse=True)[: policy.latest])


PRIORITIES = range(4)
WAITS = list(itertools.product((1, 3, 4, 6, 9), (0, 2, 5)))  # how long a request waits, and its own timeout; 0: none


def _queue_that_breaks(old, new):
    """Priorities of requests that come at once, or one that waits, which only the new configuration refuses."""
    crowds = (itertools.combinations_with_replacement(PRIORITIES, size) for size in range(1, 5))
    for crowd in itertools.chain.from_iterable(crowds):
        if not overflows(old.dynamic_batching, crowd) and overflows(new.dynamic_batching, crowd):
            return crowd
    for priority, (wait, own) in itertools.product(PRIORITIES, WAITS):
        if not expires(old.dynamic_batching, priority, wait, own) and expires(
            new.dynamic_batching, priority, wait, own
        ):
            return priority, wait, own
    return None


def overflows(batching, crowd):
    """Whether a queue gets more requests than fit."""
    if batching is None:
        return False
    levels = [level_of(batching, priority) for priority in crowd]
    sizes = {level: policy_of(batching, level).max_queue_size for level in levels}
    return any(size and levels.count(level) > size for level, size in sizes.items())


def expires(batching, priority, wait, own):
    """Whether a request is refused because it waited too long."""
    policy = policy_of(batching, level_of(batching, priority)) if batching else QueuePolicy()
    longest = policy.default_timeout_us
    if policy.allow_timeout_override and own and own < longest:
        longest = own
    return policy.timeout_action is TimeoutAction.REJECT and longest > 0 and wait > longest


def level_of(batching, priority):
    """The queue that a request of that priority waits in."""
    if not batching.priority_levels:
        return 0
    return batching.default_priority_level if priority in {0, *range(batching.priority_levels + 1, 9)} else priority


def policy_of(batching, level):
    """The policy of a queue."""
    usual = batching.default_queue_policy or QueuePolicy()
    return batching.priority_queue_policy.get(level, usual) if batching.priority_levels else usual
