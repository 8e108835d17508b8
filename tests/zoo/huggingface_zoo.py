# SPDX-License-Identifier: Apache-2.0
"""Hugging Face architectures, tiny and with random weights, saved as ``save_pretrained`` saves them; no network."""

__all__ = ["cases"]

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from support.zoo import ZooCase, ZooSource

FAMILY = "Hugging Face"
_WORDS = (
    *("the", "a", "of", "to", "in", "it", "was", "late", "box", "train", "river", "evening", "quiet", "parcel"),
    *("asked", "open", "no", "two", "days", "good", "bad"),
)
_TEXTS = ("the parcel was two days late", "a quiet evening", "no", "it was good to open the box in the train")
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
_DISTILBERT = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 40}
_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "pad_token_id": 0}
_IMAGE = {"image_size": 32, "patch_size": 8}
_CLASSIFICATION, _TOKENS = "SequenceClassification", "TokenClassification"


@dataclass(frozen=True, kw_only=True)
class Model:
    kind: str  # model_type
    head: str  # of the Auto class; "" for the bare model
    sizes: Mapping[str, Any] = field(default_factory=lambda: _SIZES)
    sample: str = "csv"  # csv, npz or "" for none
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        task = self.head or "features"
        return " ".join([self.kind, task, *(str(value) for value in self.options.values())])


MODELS = (
    Model(kind="bert", head=_CLASSIFICATION),
    Model(kind="bert", head=_TOKENS),
    Model(kind="bert", head="", sample=""),
    Model(kind="bert", head="MaskedLM", sample=""),
    Model(kind="bert", head="QuestionAnswering"),
    Model(kind="bert", head=_CLASSIFICATION, options={"backend": "pytorch"}),
    Model(kind="bert", head=_CLASSIFICATION, options={"task": "feature-extraction"}),
    Model(kind="distilbert", head=_CLASSIFICATION, sizes=_DISTILBERT),
    Model(kind="distilbert", head=_TOKENS, sizes=_DISTILBERT, sample="npz"),
    Model(kind="distilbert", head="", sizes=_DISTILBERT),
    Model(kind="roberta", head=_CLASSIFICATION),
    Model(kind="roberta", head=_TOKENS, sample=""),
    Model(kind="xlm-roberta", head=_CLASSIFICATION),
    Model(kind="camembert", head=_TOKENS),
    Model(kind="albert", head=_CLASSIFICATION, sizes=_SIZES | {"embedding_size": 8}),
    Model(kind="electra", head=_CLASSIFICATION, sizes=_SIZES | {"embedding_size": 8}, sample=""),
    Model(kind="mpnet", head=_CLASSIFICATION),
    Model(kind="mpnet", head="", sample="npz"),
    Model(
        kind="deberta-v2",
        head=_CLASSIFICATION,
        sizes=_SIZES | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    ),
    Model(kind="deberta", head=_CLASSIFICATION, sizes=_SIZES | {"relative_attention": True, "pos_att_type": ["p2c"]}),
    Model(kind="mobilebert", head=_CLASSIFICATION, sizes=_SIZES | {"embedding_size": 8, "intra_bottleneck_size": 8}),
    Model(kind="squeezebert", head=_CLASSIFICATION, sizes=_SIZES | {"embedding_size": 16}),
    Model(kind="convbert", head=_CLASSIFICATION, sizes=_SIZES | {"embedding_size": 8, "conv_kernel_size": 3}),
    Model(
        kind="funnel",
        head=_CLASSIFICATION,
        sizes={
            "d_model": 16,
            "n_head": 2,
            "d_head": 8,
            "d_inner": 32,
            "block_sizes": [1, 1, 1],
            "num_decoder_layers": 1,
        },
    ),
    Model(kind="xlnet", head=_CLASSIFICATION, sizes={"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}),
    Model(
        kind="modernbert",
        head=_CLASSIFICATION,
        sizes=_SIZES
        | {
            "local_attention": 8,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
    ),
    Model(kind="gpt2", head=_CLASSIFICATION, sizes=_GPT2),
    Model(kind="llama", head=_CLASSIFICATION, sizes=_SIZES | {"pad_token_id": 0}),
    Model(
        kind="bart",
        head=_CLASSIFICATION,
        sizes={
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": 40,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "decoder_start_token_id": 3,
        },
    ),
    Model(kind="vit", head="ImageClassification", sizes=_SIZES | _IMAGE, sample=""),
    Model(
        kind="deit",
        head="ImageClassification",
        sizes=_SIZES | _IMAGE | {"architectures": ["DeiTForImageClassification"]},
        sample="",
    ),
    Model(
        kind="resnet",
        head="ImageClassification",
        sizes={"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        sample="",
    ),
    Model(
        kind="convnext",
        head="ImageClassification",
        sizes={"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 32},
        sample="",
    ),
)


def cases() -> Iterable[ZooCase]:
    """A folder of each architecture, with the head of a task."""
    return [ZooCase(family=FAMILY, name=model.name, build=partial(build, model)) for model in MODELS]


def build(model: Model, folder: Path) -> ZooSource:
    """The folder ``model`` with its tokenizer, and a sample beside it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    of_text = model.head != "ImageClassification"
    vocabulary = save_tokenizer(folder / "model") if of_text else 0
    save_model(model, folder / "model", vocabulary)
    return ZooSource(source=str(folder / "model"), sample=save_sample(model, folder), options=dict(model.options))


def save_tokenizer(folder: Path) -> int:
    """A tokenizer of few words; how many tokens it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS]
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    vocabulary = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **special,
        model_max_length=32,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    return len(tokens)


def save_model(model: Model, folder: Path, vocabulary: int) -> None:
    """``config.json`` and ``model.safetensors`` of an architecture with random weights."""
    import torch
    import transformers

    sizes = dict(model.sizes) | ({"vocab_size": vocabulary} if vocabulary else {})
    labels = {0: "bad", 1: "good", 2: "neither"}
    names = {"id2label": labels, "label2id": {name: place for place, name in labels.items()}}
    config = transformers.AutoConfig.for_model(model.kind, **sizes, **(names if "Classification" in model.head else {}))
    torch.manual_seed(7)
    loader = getattr(transformers, f"AutoModelFor{model.head}" if model.head else "AutoModel")
    made = loader.from_config(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)  # the usual 0.02 makes all answers alike
    made.save_pretrained(folder)


def save_sample(model: Model, folder: Path) -> Path | None:
    """Texts as a csv file, or their token ids as an npz file."""
    import numpy as np

    if model.sample == "csv":
        path = folder / "texts.json"
        path.write_text(json.dumps([{"text": text} for text in _TEXTS]), encoding="utf-8")
        return path
    if model.sample == "npz":
        ids = np.random.default_rng(7).integers(5, 20, (4, 6))
        np.savez(folder / "ids.npz", input_ids=ids, attention_mask=np.ones_like(ids))
        return folder / "ids.npz"
    return None
