# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders: what is refused and how; samples of text and of ids; what comes out."""

import json
import os

import numpy as np
import pytest

from repo_tool.errors import SampleError, SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.huggingface import HuggingfaceImporter
from repo_tool.samples import RawSample
from support.artifacts import run_artifact
from support.zoo_run import load

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
zoo = load("huggingface_zoo")

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers, on being new
TEXTS = np.array(["the parcel was late", "no", "a quiet evening by the river"], dtype=object)
IDS = np.array([[2, 5, 6, 7, 3], [2, 8, 9, 3, 0]])


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with a classifier of three classes and its tokenizer."""
    folder = tmp_path_factory.mktemp("hub") / "bert"
    zoo.save_model(zoo.Model(kind="bert", head="SequenceClassification"), folder, zoo.save_tokenizer(folder))
    return folder


@pytest.fixture
def copy(bert, tmp_path):
    """A folder like it, to be broken."""
    for path in bert.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def of_texts(bert, tmp_path_factory):
    sample = RawSample(origin="texts", columns={"text": TEXTS})
    return bring_in(bert, sample, into=tmp_path_factory.mktemp("in"))


def bring_in(source, sample=None, *, into=None, task=None, backend=None):
    request = ImportRequest(source=str(source), task=task, backend=backend, max_opset=21, max_ir_version=10)
    return HuggingfaceImporter().bring_in(request, sample, into or source)


def refusal(source, sample=None, kind=SourceError, **options):
    with pytest.raises(kind) as refused:
        bring_in(source, sample, **options)
    return refused.value


def change(folder, name="config.json", **values):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_folder_is_recognised_by_its_configuration(bert, tmp_path):
    assert HuggingfaceImporter().recognises(str(bert))
    assert not HuggingfaceImporter().recognises(str(tmp_path))
    (tmp_path / "config.json").write_text('{"name": "something else"}')
    assert not HuggingfaceImporter().recognises(str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_in_the_folder_is_refused_by_its_name_and_never_imported(copy, name):
    (copy / "modeling.py").write_text("raise SystemExit('imported')")
    change(copy, name, auto_map={"AutoModel": "modeling.Model"})
    error = refusal(copy)
    assert "brings Python code of its own" in error.fact
    assert error.cause == f"auto_map in its {name} names modeling.Model"


def test_pickled_weights_are_refused_unread(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert "are a pickle" in refusal(copy).fact


def test_a_folder_without_weights_is_refused(copy):
    (copy / "model.safetensors").unlink()
    assert "holds no weights" in refusal(copy).fact


def test_an_unknown_task_is_refused_with_those_that_are_served(bert):
    error = refusal(bert, task="translation")
    assert "text-classification" in error.next_step


def test_a_model_that_generates_is_refused_with_what_serves_it(copy):
    change(copy, architectures=["GPT2LMHeadModel"])
    error = refusal(copy)
    assert "many calls" in error.cause
    assert "vllm" in error.next_step


def test_a_task_that_the_weights_are_not_for_is_refused(bert):
    error = refusal(bert, task="fill-mask")
    assert "lacks weights" in error.fact
    assert "draw at random" in error.cause


def test_texts_without_a_tokenizer_are_refused(copy):
    for path in copy.glob("tokenizer*"):
        path.unlink()
    error = refusal(copy, RawSample(origin="texts", columns={"text": TEXTS}), SampleError)
    assert "has no tokenizer" in error.fact


def test_a_sample_of_something_else_is_refused(bert):
    error = refusal(bert, RawSample(origin="rows", columns={"age": np.array([1.0])}), SampleError)
    assert "neither texts nor token ids" in error.fact


def test_batch_and_length_are_free_and_the_classes_are_named(of_texts):
    shapes = {spec.name: (spec.datatype.wire_name, spec.shape) for spec in of_texts.signature.inputs}
    assert shapes == dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ("INT64", (-1, -1)))
    assert [(spec.name, spec.shape) for spec in of_texts.signature.outputs] == [("logits", (-1, 3))]
    assert of_texts.labels == ("bad", "good", "neither")


def test_texts_are_answered_as_transformers_answers_them(of_texts, bert):
    pipe = transformers.pipeline("text-classification", str(bert), top_k=None, function_to_apply="none")
    answers = [{entry["label"]: entry["score"] for entry in row} for row in pipe([str(text) for text in TEXTS])]
    wanted = np.array([[row[label] for label in of_texts.labels] for row in answers])
    np.testing.assert_allclose(run_artifact(of_texts, of_texts.inputs)["logits"], wanted, atol=1e-5)


def test_another_length_is_answered_as_transformers_answers_it(of_texts, bert):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(bert).eval()
    rows = {"input_ids": np.tile(IDS, 4), "attention_mask": np.ones((2, 20), np.int64)}
    rows["token_type_ids"] = np.zeros_like(rows["attention_mask"])
    with torch.no_grad():
        wanted = model(**{name: torch.from_numpy(array) for name, array in rows.items()}).logits.numpy()
    np.testing.assert_allclose(run_artifact(of_texts, rows)["logits"], wanted, atol=1e-5)


def test_what_a_sample_of_ids_leaves_out_is_filled_in(bert, tmp_path):
    imported = bring_in(bert, RawSample(origin="ids", tensors={"input_ids": IDS}), into=tmp_path, backend="pytorch")
    assert imported.inputs["attention_mask"].all()
    assert not imported.inputs["token_type_ids"].any()
    assert not imported.inputs_were_generated


@pytest.mark.slow(reason="a further export")
def test_a_sample_of_short_rows_keeps_it_on_onnx_runtime(bert, tmp_path):
    imported = bring_in(bert, RawSample(origin="ids", tensors={"input_ids": IDS}), into=tmp_path)
    assert (imported.backend, imported.signature.input("input_ids").shape) == ("onnxruntime", (-1, -1))


@pytest.mark.slow(reason="a further export")
def test_an_answer_of_weights_drawn_at_random_is_left_out(tmp_path):
    source, folder = tmp_path / "masked", tmp_path / "in"
    folder.mkdir()
    zoo.save_model(zoo.Model(kind="bert", head="MaskedLM"), source, zoo.save_tokenizer(source))
    imported = bring_in(source, into=folder, task="feature-extraction")
    assert [spec.name for spec in imported.signature.outputs] == ["last_hidden_state"]


def test_weights_of_other_sizes_are_refused_by_their_names(copy):
    change(copy, hidden_size=32)
    error = refusal(copy)
    assert "are of other sizes than its config.json says" in error.fact
    assert "bert.embeddings.LayerNorm.bias is [16] instead of [32]" in error.cause


@pytest.mark.parametrize("architectures", ["BertForSequenceClassification", [1, {}], {"a": 1}, None, []])
def test_architectures_that_are_none_are_refused(copy, architectures):
    change(copy, architectures=architectures)
    assert refusal(copy).fact == "config.json names no architecture"


def test_a_configuration_nested_without_end_is_no_model(copy):
    (copy / "config.json").write_text("[" * 100_000)
    assert not HuggingfaceImporter().recognises(str(copy))


def test_a_label_is_one_line(copy):
    change(copy, id2label={"0": "very\nbad", "1": "good", "2": "neither"})
    assert bring_in(copy, backend="pytorch").labels == ("very bad", "good", "neither")


@pytest.mark.parametrize("sample", [RawSample(origin="t", tensors={"text": TEXTS}), RawSample(origin="t", array=TEXTS)])
def test_texts_are_texts_in_every_kind_of_file(bert, tmp_path, sample):
    imported = bring_in(bert, sample, into=tmp_path, backend="pytorch")
    assert imported.inputs["input_ids"].shape[0] == len(TEXTS)
    assert not imported.inputs_were_generated
