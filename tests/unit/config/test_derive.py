# SPDX-License-Identifier: Apache-2.0
"""From a signature to a configuration, and from there to the text of config.pbtxt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tool.config import pbtxt
from repo_tool.config.derive import DeriveOptions, derive, reasons_for
from repo_tool.datatypes import DataType
from repo_tool.errors import BatchingError, ConfigError
from repo_tool.signature import ModelSignature, TensorSpec
from support.golden import matches_golden


def tensor(name, datatype, *shape):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


CLASSIFIER = ModelSignature(
    inputs=(tensor("features", DataType.FP32, -1, 30),),
    outputs=(tensor("label", DataType.INT64, -1), tensor("probabilities", DataType.FP32, -1, 2)),
)
FIXED = ModelSignature(
    inputs=(tensor("image", DataType.UINT8, 1, 8, 8),), outputs=(tensor("scores", DataType.FP32, 1, 10),)
)


def options(**changes):
    return DeriveOptions(**{"name": "model", "backend": "onnxruntime", "cores": 4} | changes)


def rendered(signature, chosen):
    config = derive(signature, chosen)
    return pbtxt.render(config, verified=True, reasons=reasons_for(config, signature, chosen))


def test_a_classifier_gets_a_commented_configuration():
    labelled = options(name="churn", labels=("stays", "leaves"), warmup_shapes={"features": (30,)}, row_bytes=136)
    assert matches_golden(rendered(CLASSIFIER, labelled), "configs/classifier.pbtxt")


def test_a_model_without_a_batch_dimension_keeps_its_whole_shapes():
    whole = options(name="fixed", warmup_shapes={"image": (1, 8, 8)})
    assert matches_golden(rendered(FIXED, whole), "configs/fixed.pbtxt")


def test_large_rows_and_weights_make_small_batches_and_say_so():
    large = options(
        name="detector",
        backend="pytorch",
        instances=2,
        row_bytes=5_000_000,
        weights_bytes=400_000_000,
        warmup_shapes={"features": (30,)},
    )
    assert matches_golden(rendered(CLASSIFIER, large), "configs/large_rows.pbtxt")


@given(row=st.integers(0, 2**40), weights=st.integers(0, 2**45), instances=st.integers(1, 64))
def test_what_is_chosen_is_a_power_of_two_within_bounds(row, weights, instances):
    chosen = options(row_bytes=row, weights_bytes=weights, instances=instances)
    size = derive(CLASSIFIER, chosen).max_batch_size
    assert 1 <= size <= 32
    assert size.bit_count() == 1
    smaller = options(row_bytes=row // 2, weights_bytes=weights // 2, instances=instances)
    assert derive(CLASSIFIER, smaller).max_batch_size >= size


@pytest.mark.parametrize(
    ("asked", "row_bytes", "sizes"),
    [(None, 136, [1, 32]), (1, 136, [1]), (0, 136, [1]), (100, 136, [1, 100]), (2**31 - 1, 136, [1, 1024])],
)
def test_one_row_and_the_largest_batch_are_warmed_up_with(asked, row_bytes, sizes):
    shapes = {"features": (30,)}
    chosen = options(max_batch_size=asked, row_bytes=row_bytes, warmup_shapes=shapes)
    assert [warmup.batch_size for warmup in derive(CLASSIFIER, chosen).model_warmup] == sizes


def test_a_batch_that_a_person_asked_for_is_warmed_up_as_far_as_memory_goes():
    chosen = options(max_batch_size=64, row_bytes=5_000_000, warmup_shapes={"features": (30,)})
    assert [warmup.batch_size for warmup in derive(CLASSIFIER, chosen).model_warmup] == [1, 8]


def test_a_tensor_whose_name_holds_a_line_break_stays_inside_its_comment():
    signature = ModelSignature(
        inputs=(tensor('x\nbackend: "evil"', DataType.FP32, 1, 4),), outputs=(tensor("y", DataType.FP32, 1),)
    )
    assert pbtxt.parse(rendered(signature, options())).backend == "onnxruntime"


def test_a_one_dimensional_output_is_reshaped_for_triton():
    label = derive(CLASSIFIER, options()).output("label")
    assert (label.dims, label.reshape) == ((1,), ())


def test_a_model_that_could_batch_need_not():
    config = derive(CLASSIFIER, options(max_batch_size=0))
    assert config.dynamic_batching is None
    assert config.input("features").dims == (-1, 30)


def test_batching_a_fixed_model_names_the_frozen_tensors():
    with pytest.raises(BatchingError) as raised:
        derive(FIXED, options(max_batch_size=8))
    assert "'image' [1, 8, 8]" in raised.value.cause
    assert "--max-batch-size 0" in raised.value.next_step


@pytest.mark.parametrize(("instances", "threads"), [(1, "4"), (2, "2"), (3, "1"), (8, "1")])
def test_instances_share_the_cores(instances, threads):
    config = derive(CLASSIFIER, options(instances=instances))
    assert config.instance_groups[0].count == instances
    assert config.parameters["intra_op_thread_count"] == threads


@pytest.mark.parametrize(
    ("backend", "parameter"),
    [
        ("onnxruntime", "intra_op_thread_count"),
        ("pytorch", "INTRA_OP_THREAD_COUNT"),
        ("tensorflow", "TF_NUM_INTRA_THREADS"),
    ],
)
def test_each_backend_reads_its_threads_under_its_own_name(backend, parameter):
    assert list(derive(CLASSIFIER, options(backend=backend)).parameters) == [parameter]


def test_labels_name_the_float_output_of_their_length():
    outputs = derive(CLASSIFIER, options(labels=("no", "yes"))).outputs
    assert [output.label_filename for output in outputs] == ["", "labels.txt"]


def test_labels_a_person_gave_must_fit_an_output():
    with pytest.raises(ConfigError, match="3 labels fit no output"):
        derive(CLASSIFIER, options(labels=("a", "b", "c"), labels_are_required=True))


def test_labels_found_in_the_model_may_fit_none():
    config = derive(CLASSIFIER, options(labels=("a", "b", "c")))
    assert not any(output.label_filename for output in config.outputs)
