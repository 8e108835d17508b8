# SPDX-License-Identifier: Apache-2.0
"""config.pbtxt is read with Triton's own message, and what is written reads back the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tool.config import pbtxt
from repo_tool.config.model import (
    DynamicBatching,
    EnsembleStep,
    InstanceGroup,
    InstanceKind,
    ModelConfig,
    ModelTensor,
    VersionPolicy,
    Warmup,
    WarmupInput,
)
from repo_tool.datatypes import DataType
from repo_tool.errors import ConfigError

names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=12
)
dims = st.lists(st.one_of(st.just(-1), st.integers(1, 5000)), min_size=1, max_size=4).map(tuple)
tensors = st.builds(
    ModelTensor,
    name=names,
    datatype=st.sampled_from(DataType),
    dims=dims,
    reshape=st.one_of(st.none(), st.just(()), dims),
)
inputs = st.lists(tensors, min_size=1, max_size=3).map(tuple)
warmups = st.builds(
    Warmup,
    name=names,
    batch_size=st.integers(1, 8),
    inputs=st.lists(
        st.builds(WarmupInput, name=names, datatype=st.sampled_from(DataType), dims=dims, file=names),
        min_size=1,
        max_size=2,
        unique_by=lambda value: value.name,
    ).map(lambda values: tuple(sorted(values, key=lambda value: value.name))),
)
groups = st.builds(
    InstanceGroup, name=st.one_of(st.just(""), names), kind=st.sampled_from(InstanceKind), count=st.integers(1, 9)
)
common = {
    "name": names,
    "max_batch_size": st.integers(0, 512),
    "inputs": inputs,
    "outputs": inputs,
    "version_policy": st.one_of(st.none(), st.builds(VersionPolicy, latest=st.integers(1, 9))),
}
single_models = st.builds(
    ModelConfig,
    **common,
    backend=st.sampled_from(["onnxruntime", "pytorch", "python"]),
    dynamic_batching=st.one_of(
        st.none(),
        st.builds(
            DynamicBatching,
            max_queue_delay_us=st.integers(0, 10**6),
            preferred_batch_sizes=st.lists(st.integers(1, 64), max_size=3).map(tuple),
        ),
    ),
    instance_groups=st.lists(groups, max_size=2).map(tuple),
    parameters=st.dictionaries(names, names, max_size=3),
    model_warmup=st.lists(warmups, max_size=2).map(tuple),
)
steps = st.builds(
    EnsembleStep,
    model_name=names,
    model_version=st.integers(-1, 9),
    input_map=st.dictionaries(names, names, max_size=3),
    output_map=st.dictionaries(names, names, max_size=3),
)
ensembles = st.builds(
    ModelConfig,
    **common,
    platform=st.just("ensemble"),
    has_ensemble_scheduling=st.just(True),
    ensemble_steps=st.lists(steps, min_size=1, max_size=3).map(tuple),
)


@given(st.one_of(single_models, ensembles))
def test_what_is_written_reads_back_the_same(config):
    assert pbtxt.parse(pbtxt.render(config)) == config


def test_a_value_the_template_does_not_write_is_never_lost_in_silence():
    config = ModelConfig(name="model", backend="python", response_cache=True)
    with pytest.raises(ConfigError, match="does not survive being written"):
        pbtxt.render(config)


def test_a_misspelt_field_is_named_with_its_place():
    with pytest.raises(ConfigError) as raised:
        pbtxt.parse('name: "model"\nmax_batchsize: 8\n')
    assert "2:1" in raised.value.cause
    assert "max_batchsize" in raised.value.cause
