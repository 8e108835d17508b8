# SPDX-License-Identifier: Apache-2.0
"""The models that random ensembles are made of: few types and shapes, so that their tensors often fit one another."""

import random as randoms
from functools import cache

from tritonclient.grpc import model_config_pb2

from differential.drafts import Draft

_SHAPES = ([4], [4], [4], [16], [-1], [2, 2], [-1, 4], [1])
_TYPES = (11, 11, 11, 9, 13)  # FP32, INT64, STRING
_SIZE = 36


@cache
def the_pool():
    """The drafts of all models, by name; always the same."""
    random = randoms.Random(20)  # noqa: S311
    models = {f"pool_{number:02}": _a_model(random, f"pool_{number:02}") for number in range(_SIZE)}
    return models | {draft.name: draft for draft in _ensembles(models)}


def _a_model(random, name):
    config = model_config_pb2.ModelConfig(name=name, backend="native", max_batch_size=random.choice((0, 0, 1, 4, 8, 8)))
    draft = Draft(name, config)
    for number in range(random.choice((1, 1, 1, 2, 2, 3))):
        added = config.input.add(name=f"in_{number}", data_type=random.choice(_TYPES), dims=random.choice(_SHAPES))
        added.optional = number > 0 and random.random() < 0.3
        _reshape(random, added, config)
    for number in range(random.choice((1, 1, 2, 3))):
        added = config.output.add(name=f"out_{number}", data_type=random.choice(_TYPES), dims=random.choice(_SHAPES))
        _reshape(random, added, config)
    if random.random() < 0.15:
        config.model_transaction_policy.decoupled = True
    elif random.random() < 0.2:
        config.response_cache.enable = True
    _add_versions(random, draft)
    return draft


def _reshape(random, tensor, config):
    if list(tensor.dims) in ([4], [2, 2]) and random.random() < 0.15:
        tensor.reshape.shape.extend(random.choice(([4], [2, 2], [1, 4])))
    elif list(tensor.dims) == [1] and config.max_batch_size and random.random() < 0.5:
        tensor.reshape.SetInParent()


def _add_versions(random, draft):
    chosen = random.random()
    versions = (1,) if chosen < 0.7 else (1, 3) if chosen < 0.9 else (2,)
    for version in versions:
        draft.files[f"{version}/model.bin"] = b"x"
    if versions == (1, 3) and random.random() < 0.6:
        draft.config.version_policy.all.SetInParent()


def _ensembles(models):
    """One ensemble around each of a few models: what an ensemble inside an ensemble may be."""
    for number, inner in enumerate(list(models.values())[:6]):
        config = model_config_pb2.ModelConfig(
            name=f"pool_ensemble_{number}", platform="ensemble", max_batch_size=inner.config.max_batch_size
        )
        step = config.ensemble_scheduling.step.add(model_name=inner.name, model_version=-1)
        for tensor in inner.config.input:
            config.input.add(name=f"e_{tensor.name}", data_type=tensor.data_type, dims=tensor.dims)
            step.input_map[tensor.name] = f"e_{tensor.name}"
        for tensor in inner.config.output:
            config.output.add(name=f"e_{tensor.name}", data_type=tensor.data_type, dims=tensor.dims)
            step.output_map[tensor.name] = f"e_{tensor.name}"
        yield Draft(config.name, config, {"1": None})
