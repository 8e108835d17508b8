# SPDX-License-Identifier: Apache-2.0
"""Hugging Face: a model folder of ``transformers``, brought in by its task, without network and without its code."""

__all__ = ["HuggingfaceImporter"]

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError, SourceError, needs_extra
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.foreign import refusing
from repo_tool.importers.modules import calls, serving
from repo_tool.importers.modules.serving import Subject
from repo_tool.importers.rows import Rows, rows_for
from repo_tool.samples import RawSample, Tensors, generate
from repo_tool.signature import FREE, TensorSpec

_CONFIG = "config.json"
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_TOKENIZER_CONFIG = "tokenizer_config.json"
_TEXTS = (
    "the parcel arrived two days late and the box was open",
    "a quiet evening by the river",
    "no",
    "she asked whether the train from Berlin would still wait for the passengers of the delayed one",
)
_POOLED = "pooler_output"
_TEXT_COLUMNS = ("text", "text_pair")
_LONGEST = 64  # tokens of made-up text and of ids without a tokenizer
_GENERATING = ("LMHeadModel", "DoubleHeadsModel", "ForCausalLM", "ForConditionalGeneration")
_DEFAULTS = {"attention_mask": 1, "token_type_ids": 0}  # of what a sample of token ids may leave out


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What a task is called, which heads of models it needs, and what its answers are."""

    loader: str  # the Auto class of transformers
    heads: tuple[str, ...]  # how architectures of config.json end
    outputs: tuple[str, ...]  # taken of the model's answer, where it has them
    labelled: bool = False
    of_text: bool = True


_TASKS: Mapping[str, _Task] = {
    "text-classification": _Task(
        loader="AutoModelForSequenceClassification",
        heads=("ForSequenceClassification",),
        outputs=("logits",),
        labelled=True,
    ),
    "token-classification": _Task(
        loader="AutoModelForTokenClassification", heads=("ForTokenClassification",), outputs=("logits",), labelled=True
    ),
    "question-answering": _Task(
        loader="AutoModelForQuestionAnswering", heads=("ForQuestionAnswering",), outputs=("start_logits", "end_logits")
    ),
    "fill-mask": _Task(loader="AutoModelForMaskedLM", heads=("ForMaskedLM",), outputs=("logits",)),
    "image-classification": _Task(
        loader="AutoModelForImageClassification",
        heads=("ForImageClassification",),
        outputs=("logits",),
        labelled=True,
        of_text=False,
    ),
    "feature-extraction": _Task(loader="AutoModel", heads=("Model",), outputs=("last_hidden_state", _POOLED)),
}


class HuggingfaceImporter:
    """Model folders that ``save_pretrained`` wrote."""

    framework = "huggingface"
    extra = "huggingface"

    def recognises(self, source: str) -> bool:
        """Whether it is a folder whose ``config.json`` names a model type of transformers."""
        config = _read_config(Path(source) / _CONFIG)
        return "model_type" in config or "architectures" in config

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Load by the task, tokenise the sample's texts, convert, answer the rows in transformers on the CPU.

        Raises:
            SourceError: the folder asks for code of its own, has weights as a pickle, or a task that one call of a
                model cannot do.
            SampleError: the rows do not fit.
            ReleaseError: it needs a newer opset or IR version than allowed.
        """
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        path = Path(request.source)
        config = _read_config(path / _CONFIG)
        _refuse_code_and_pickles(path, config)
        name = _task_name(request, config)
        with needs_extra(self.extra):
            import transformers  # noqa: F401 - told here when it is absent
        model, task = _load(path, _TASKS[name])
        rows = _rows(path, model, task, sample)
        names, call_model = tuple(rows.inputs), _caller(model, task, tuple(rows.inputs))
        call = calls.call_of(model, call_model, names, rows.inputs)
        subject = Subject(framework=self.framework, call=call, rows=rows, notes=_notes(path, name, task))
        imported = serving.serve(subject, request, folder)
        versions = {"transformers": metadata.version("transformers"), **imported.tool_versions}
        return replace(imported, labels=_labels(model, task), tool_versions=versions)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _refuse_code_and_pickles(path: Path, config: Mapping[str, Any]) -> None:
    for name, values in ((_CONFIG, config), (_TOKENIZER_CONFIG, _read_config(path / _TOKENIZER_CONFIG))):
        if "auto_map" in values:
            raise SourceError(
                f"'{path.name}' brings Python code of its own",
                cause=f"auto_map in its {name} names {_some_code(values['auto_map'])}",
                next_step="export the model in an environment where you trust that code: "
                "torch.onnx.export or torch.export.save, then add the file",
            )
    if any((path / name).is_file() for name in _SAFETENSORS):
        return
    pickled = next((name for name in _PICKLES if (path / name).is_file()), None)
    if pickled is not None:
        raise SourceError(
            f"the weights of '{path.name}' are a pickle",
            cause=f"it holds {pickled} and no {_SAFETENSORS[0]}; a pickle can run any code",
            next_step="load it where you trust it and save it again: model.save_pretrained(folder)",
        )
    raise SourceError(
        f"'{path.name}' holds no weights", cause=f"there is no {_SAFETENSORS[0]}", next_step="download the model whole"
    )


def _some_code(auto_map: Any) -> str:
    values = list(auto_map.values()) if isinstance(auto_map, Mapping) else [auto_map]
    return ", ".join(str(value) for value in values[:3])


# --- the task --------------------------------------------------------------------------------------------------------


def _task_name(request: ImportRequest, config: Mapping[str, Any]) -> str:
    if request.task is not None and request.task not in _TASKS:
        raise SourceError(
            f"the task '{request.task}' is not one that is served", next_step=f"give --task one of {', '.join(_TASKS)}"
        )
    named = config.get("architectures")
    return request.task or _task_of(
        [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    )


def _task_of(architectures: Sequence[str]) -> str:
    for architecture in architectures:
        for name, task in _TASKS.items():
            if architecture.endswith(task.heads) and not architecture.endswith(_GENERATING):
                return name
    found = ", ".join(architectures)
    raise SourceError(
        f"no task is known for the architecture {found}" if found else "config.json names no architecture",
        cause="generation takes many calls of a model, each over what the one before gave"
        if found.endswith(_GENERATING)
        else "",
        next_step=f"give --task one of {', '.join(_TASKS)}; text generation is served by Triton's vllm backend",
    )


def _load(path: Path, task: _Task) -> tuple[Any, _Task]:
    """The model in 32 bits, and the task without the outputs that the folder has no weights for."""
    import torch
    import transformers

    loader = getattr(transformers, task.loader)
    with refusing(f"'{path.name}' does not load as {task.loader}", next_step="check --task, or save it again"):
        model, report = loader.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="eager",  # what every architecture has, and plain operators in ONNX
            ignore_mismatched_sizes=True,  # refused below, by their names
            output_loading_info=True,
        )
    _refuse_other_sizes(path, report)
    return model.eval(), _without_random_answers(path, task, report)


def _refuse_other_sizes(path: Path, report: Mapping[str, Any]) -> None:
    other = [f"{name} is {list(found)} instead of {list(made)}" for name, found, made in report["mismatched_keys"]]
    if other:
        raise SourceError(
            f"the weights of '{path.name}' are of other sizes than its config.json says",
            cause="; ".join(sorted(other)[:4]),
            next_step="download config.json and the weights of one and the same model",
        )


def _without_random_answers(path: Path, task: _Task, report: Mapping[str, Any]) -> _Task:
    """A bare model may lack its pooler, whose answer is then left out; any other weights that are absent are needed."""
    missing = sorted(report["missing_keys"])
    only_pooled = _POOLED in task.outputs and all("pooler" in name for name in missing)
    if missing and not only_pooled:
        raise SourceError(
            f"'{path.name}' lacks weights that {task.loader} needs",
            cause=f"transformers would draw at random: {', '.join(missing[:4])}",
            next_step="choose the task that the model was trained for with --task",
        )
    return replace(task, outputs=tuple(name for name in task.outputs if name != _POOLED)) if missing else task


def _caller(model: Any, task: _Task, names: Sequence[str]) -> Callable[..., Any]:
    def call(*values: Any) -> dict[str, Any]:
        answer = model(**dict(zip(names, values, strict=True)), return_dict=True)
        return {name: answer[name] for name in task.outputs if answer.get(name) is not None}

    return call


def _labels(model: Any, task: _Task) -> tuple[str, ...]:
    names = getattr(model.config, "id2label", None) or {}
    if not task.labelled or sorted(names) != list(range(len(names))):
        return ()
    return tuple(" ".join(str(names[place]).split()) for place in range(len(names)))  # one label is one line


def _notes(path: Path, name: str, task: _Task) -> tuple[str, ...]:
    if not task.of_text:
        return (f"served for {name}; its preprocessing is not: clients send pixel values",)
    whose = f"'{path.name}' keeps its tokenizer" if _has_tokenizer(path) else f"'{path.name}' has no tokenizer"
    return (f"served for {name}; {whose}: clients send token ids",)


# --- rows ------------------------------------------------------------------------------------------------------------


def _rows(path: Path, model: Any, task: _Task, sample: RawSample | None) -> Rows:
    if not task.of_text:
        return _pixels(model, sample)
    tokenizer = _tokenizer(path)
    names = _token_inputs(model, tokenizer)
    if sample is None:
        return Rows(inputs=_made_up(model, tokenizer, names), generated=True)
    texts = _texts(sample)
    if texts:
        return Rows(inputs=_tokenised(path, tokenizer, names, texts), generated=False)
    return rows_for(_with_defaults(sample, names), [_ids(name) for name in names])


def _texts(sample: RawSample) -> list[Any]:
    """The texts, and those that belong to them; [] where the sample is of something else."""
    if sample.array is not None:
        return [sample.array] if sample.array.dtype.kind in "OSU" and sample.array.ndim == 1 else []
    given = {**sample.tensors, **sample.columns}
    first, second = (given.get(name) for name in _TEXT_COLUMNS)
    return [texts for texts in (first, second) if texts is not None] if first is not None else []


def _ids(name: str) -> TensorSpec:
    return TensorSpec(name=name, datatype=DataType.INT64, shape=(FREE, FREE))


def _with_defaults(sample: RawSample, names: Sequence[str]) -> RawSample:
    given = dict(sample.tensors)
    if sample.array is not None:
        given = {"input_ids": sample.array}
    if "input_ids" not in given:
        raise SampleError(
            f"'{sample.origin}' has neither texts nor token ids",
            cause=f"it has {', '.join([*sample.tensors, *sample.columns]) or 'one array'}",
            next_step="give a csv or json file with a column 'text', or an npz file with input_ids",
        )
    known = {name: np.full_like(given["input_ids"], value) for name, value in _DEFAULTS.items() if name in names}
    return replace(sample, array=None, tensors=known | given)


def _tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    if not _has_tokenizer(path):
        return None
    with refusing(f"the tokenizer in '{path.name}' does not load", next_step="save it again, or remove its files"):
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)


def _has_tokenizer(path: Path) -> bool:
    return any((path / name).is_file() for name in (_TOKENIZER_CONFIG, "tokenizer.json", "vocab.txt"))


def _token_inputs(model: Any, tokenizer: Any) -> tuple[str, ...]:
    """What the tokenizer gives and the model takes; two usual ones without a tokenizer."""
    import inspect

    taken = inspect.signature(model.forward).parameters
    given = ("input_ids", "attention_mask") if tokenizer is None else tokenizer.model_input_names
    return tuple(name for name in ("input_ids", "attention_mask", "token_type_ids") if name in given and name in taken)


def _tokenised(path: Path, tokenizer: Any, names: Sequence[str], texts: Sequence[Any]) -> Tensors:
    if tokenizer is None:
        raise SampleError(
            f"'{path.name}' has no tokenizer for the texts of the sample",
            next_step="put its tokenizer files beside config.json, or give token ids as input_ids in an npz file",
        )
    words = [[text.decode() if isinstance(text, bytes) else str(text) for text in column] for column in texts]
    with refusing("the tokenizer fails on the texts of the sample", next_step="check the texts", kind=SampleError):
        if tokenizer.pad_token is None and len(words[0]) > 1:
            tokenizer.pad_token = tokenizer.eos_token
        encoded = tokenizer(*words, padding=True, truncation=True, return_tensors="np")
    return {name: np.ascontiguousarray(encoded[name], dtype=np.int64) for name in names}


def _made_up(model: Any, tokenizer: Any, names: Sequence[str]) -> Tensors:
    if tokenizer is not None and (tokenizer.pad_token or tokenizer.eos_token):
        found = _tokenised(Path(), tokenizer, names, [np.array(_TEXTS, dtype=object)])
        return {name: array[:, : _length(model)] for name, array in found.items()}
    vocabulary = int(getattr(model.config, "vocab_size", 2))
    first = min(5, vocabulary - 1)  # the first ids are special ones, as a rule
    ids = np.random.default_rng(20).integers(first, vocabulary, size=(4, min(7, _length(model))))
    return {name: np.full_like(ids, _DEFAULTS[name]) if name in _DEFAULTS else ids for name in names}


def _length(model: Any) -> int:
    """A length below the longest, so that another can be tried."""
    longest = getattr(model.config, "max_position_embeddings", None) or _LONGEST
    return max(1, min(_LONGEST, int(longest) // 2))


def _pixels(model: Any, sample: RawSample | None) -> Rows:
    channels = int(getattr(model.config, "num_channels", 3))
    if sample is not None:
        spec = TensorSpec(name="pixel_values", datatype=DataType.FP32, shape=(FREE, channels, FREE, FREE))
        return rows_for(sample, [spec])
    size = getattr(model.config, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    spec = TensorSpec(name="pixel_values", datatype=DataType.FP32, shape=(FREE, channels, height, width))
    return Rows(inputs=generate([spec], rows=4), generated=True)
