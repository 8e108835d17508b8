# SPDX-License-Identifier: Apache-2.0
"""Random inputs, outputs and reshapes that Triton takes."""

import math

from differential.words import DATATYPES, DIMS, TENSOR_NAMES


def some_dims(random, *, most=4):
    return [random.choice(DIMS) for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4)[: most + 3]))]


def add_tensors(random, config, *, backend):
    """One to four inputs, one to three outputs, each with its peculiarities."""
    names = random.sample(TENSOR_NAMES, 8)
    for name in names[: random.choice((1, 1, 1, 2, 2, 3, 4))]:
        _add_input(random, config.input.add(name=name), config, backend)
    for name in names[5 : 5 + random.choice((1, 1, 1, 2, 3))]:
        _add_output(random, config.output.add(name=name), config, backend)


def _add_input(random, tensor, config, backend):
    _describe(random, tensor, config)
    if random.random() < 0.06:
        tensor.optional = True
    if random.random() < 0.06:
        tensor.allow_ragged_batch = True
    if random.random() < 0.1 and len(tensor.dims) == 3:
        tensor.format = random.choice((1, 2))
    _mark_for_tensorrt(random, tensor, backend)


def _add_output(random, tensor, config, backend):
    _describe(random, tensor, config)
    _mark_for_tensorrt(random, tensor, backend)


def _mark_for_tensorrt(random, tensor, backend):
    if backend == "tensorrt" and random.random() < 0.15:
        tensor.is_shape_tensor = True
    if backend == "tensorrt" and len(tensor.dims) == 3 and random.random() < 0.2:
        tensor.is_non_linear_format_io = True


def _describe(random, tensor, config):
    tensor.data_type = (
        type(config).DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_name[random.choice(DATATYPES)].number
    )
    tensor.dims.extend(some_dims(random))
    if random.random() < 0.15:
        tensor.reshape.shape.extend(a_reshape(random, tensor.dims, is_batching=config.max_batch_size > 0))
        tensor.reshape.SetInParent()


def a_reshape(random, dims, *, is_batching):
    """Another shape with the same free dimensions and the same products between them."""
    shape, run = [], []
    for dim in [*dims, None]:
        if dim in (-1, None):
            shape += _regrouped(random, run)
            shape += [-1] if dim == -1 else []
            run = []
        else:
            run.append(dim)
    return shape or ([] if is_batching else [1])


def _regrouped(random, run):
    product = math.prod(run)
    if product == 1:
        return [1] * random.choice((0, 1, 1, 2))
    for divisor in random.sample((2, 3, 4, 8), 4):
        if product % divisor == 0 and random.random() < 0.6:
            return [divisor, product // divisor]
    return [product]
