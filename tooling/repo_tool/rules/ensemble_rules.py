# SPDX-License-Identifier: Apache-2.0
"""ENS: ensembles, by themselves and against the models they are made of."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from repo_tool.config.model import EnsembleStep, ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.fixes import RemoveField, SetField
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject


@rule("ENS101", fixable=True)
def ensemble_with_a_backend(model: ModelSubject) -> Iterator[Finding]:
    """An ensemble has ``platform: "ensemble"`` and an ensemble_scheduling, and nothing that belongs to a backend.

    It runs no code of its own, so backend, instance_group, optimization and model_warmup are refused.

    Wrong::

        platform: "ensemble"
        instance_group [ { kind: KIND_CPU } ]

    Right::

        platform: "ensemble"
    """
    config = model.config
    if not config.is_ensemble:
        return
    forbidden = {
        "backend": config.backend,
        "instance_group": config.instance_groups,
        "optimization": config.optimization is not None,
        "model_warmup": config.model_warmup,
    }
    for field in (field for field, value in forbidden.items() if value):
        yield Finding(
            f"an ensemble cannot have {field}",
            cause="it runs no code of its own; its steps have theirs",
            fix=f"remove {field}, or put it into the models of the steps",
            field=field,
            # Beside another platform it may be the ensemble_scheduling that does not belong here.
            edits=(RemoveField(field),) if config.platform == "ensemble" else (),
        )
    if config.platform != "ensemble":
        yield Finding(
            f"ensemble_scheduling with platform '{config.platform}'",
            cause="Triton: Ensemble model must have platform type 'ensemble' and empty backend type",
            fix='write platform: "ensemble"',
            field="platform",
            edits=() if config.platform or config.backend else (SetField("platform", "ensemble"),),
        )


@rule("ENS102")
def incomplete_step(model: ModelSubject) -> Iterator[Finding]:
    """An ensemble has steps, and each names a model, an input_map and an output_map.

    In both maps the key is the tensor of the step's model and the value the tensor of the ensemble.

    Wrong::

        ensemble_scheduling { step { model_name: "decode" model_version: -1 } }

    Right::

        ensemble_scheduling { step {
          model_name: "decode" model_version: -1
          input_map { key: "bytes" value: "image" }
          output_map { key: "pixels" value: "pixels" }
        } }
    """
    if not model.config.is_ensemble:
        return
    if not model.config.ensemble_steps:
        yield Finding(
            "the ensemble has no step",
            cause="Triton: must specify 'step' for ensemble",
            fix="add ensemble_scheduling { step { ... } }",
            field="ensemble_scheduling.step",
        )
    for place, step in _steps(model.config):
        needed = {"model_name": step.model_name, "input_map": step.input_map, "output_map": step.output_map}
        for field in (field for field, value in needed.items() if not value):
            yield Finding(
                f"{_called(place, step)} has no {field}",
                cause=f"Triton: must specify '{field}' in step of ensemble",
                fix=f"add {field}",
                field=f"{place}.{field}",
            )


@rule("ENS103", fixable=True)
def step_version_not_served(model: ModelSubject) -> Iterator[Finding]:
    """A step asks for version -1, the latest, or for one that is served.

    An absent model_version is 0, which hardly any model has.

    Wrong::

        step { model_name: "decode" ... }

    Right::

        step { model_name: "decode" model_version: -1 ... }
    """
    for place, step in _steps(model.config):
        composing = _composing(model, step)
        if composing is None or step.model_version == -1 or step.model_version in composing.served_versions:
            continue
        served = ", ".join(map(str, composing.served_versions)) or "none"
        yield Finding(
            f"{_called(place, step)} asks for version {step.model_version} of '{step.model_name}'",
            cause=f"versions served: {served}" + ("; an absent model_version is 0" if step.model_version == 0 else ""),
            fix="write model_version: -1 for the latest",
            field=f"{place}.model_version",
            edits=() if step.model_version else (SetField(f"{place}.model_version", "-1"),),
        )


@rule("ENS104")
def missing_composing_model(model: ModelSubject) -> Iterator[Finding]:
    """Every model of an ensemble is in the repository and has a configuration that Triton reads.

    Wrong::

        step { model_name: "decoder" ... }                    (and the repository holds decode/)

    Right::

        step { model_name: "decode" ... }
    """
    for place, step in _steps(model.config):
        if not step.model_name or _composing(model, step) is not None:
            continue
        is_there = step.model_name in model.repository.models
        yield Finding(
            f"{_called(place, step)} uses '{step.model_name}', which is not available",
            cause="its config.pbtxt cannot be used" if is_there else "the repository holds no such model",
            fix="mend that model first" if is_there else "correct the name, or add the model",
            field=f"{place}.model_name",
        )


@rule("ENS105")
def ensemble_of_itself(model: ModelSubject) -> Iterator[Finding]:
    """No ensemble contains itself, directly or through another.

    Wrong::

        # in digits/config.pbtxt
        step { model_name: "digits" ... }

    Right::

        # in digits/config.pbtxt
        step { model_name: "digits_cnn" ... }
    """
    chain = model.repository.circles.way_back(model.name) if model.config.is_ensemble else ()
    if chain:
        yield Finding(
            "the ensemble contains itself: " + " -> ".join(chain),
            cause="Triton: circular dependency between ensembles",
            fix="take one of the steps out",
            field="ensemble_scheduling.step",
        )


@rule("ENS106")
def mapping_does_not_fit(model: ModelSubject) -> Iterator[Finding]:
    """A step maps every input of its model that is not optional, and only tensors that the model has.

    Wrong::

        input_map { key: "image" value: "pixels" }            (and the model's input is called "pixels")

    Right::

        input_map { key: "pixels" value: "pixels" }
    """
    for place, step in _steps(model.config):
        composing = _composing(model, step)
        if composing is None:
            continue
        config = composing.config
        yield from _unknown_keys(f"{place}.input_map", step, step.input_map, config.inputs)
        yield from _unknown_keys(f"{place}.output_map", step, step.output_map, config.outputs)
        for tensor in config.inputs:
            if not tensor.optional and tensor.name not in step.input_map:
                yield Finding(
                    f"{_called(place, step)} does not map the input '{tensor.name}' of '{step.model_name}'",
                    cause="every input of a step's model must come from somewhere",
                    fix=f'add input_map {{ key: "{tensor.name}" value: ... }}',
                    field=f"{place}.input_map",
                )


def _unknown_keys(
    field: str, step: EnsembleStep, mapping: Mapping[str, str], tensors: Sequence[ModelTensor]
) -> Iterator[Finding]:
    kind = "input" if field.endswith("input_map") else "output"
    names = [tensor.name for tensor in tensors]
    for key in (key for key in mapping if key not in names):
        turned = mapping[key] in names
        yield Finding(
            f"'{step.model_name}' has no {kind} '{key}'",
            cause=f"its {kind}s are {', '.join(names) or 'none'}" + ("; key and value look swapped" if turned else ""),
            fix="the key is the tensor of the step's model, the value the ensemble's",
            field=field,
        )


@rule("ENS107")
def tensor_written_twice(model: ModelSubject) -> Iterator[Finding]:
    """A tensor that a step of an ensemble writes is written once; the outputs of the step's model are, too.

    Wrong::

        step { ... output_map { key: "y" value: "score" } }
        step { ... output_map { key: "y" value: "score" } }

    Right::

        step { ... output_map { key: "y" value: "first_score" } }
        step { ... output_map { key: "y" value: "second_score" } }
    """
    written = Counter(name for step in model.config.ensemble_steps for name in step.output_map.values())
    for name in (name for name, count in written.items() if count > 1):
        yield Finding(
            f"the ensemble tensor '{name}' is written {written[name]} times",
            cause=f"Triton: ensemble tensor '{name}' can appear in an output map only once",
            fix="give each its own name",
            field="ensemble_scheduling.step",
        )
    for place, step in _steps(model.config):
        composing = _composing(model, step)
        declared = Counter(tensor.name for tensor in composing.config.outputs) if composing else Counter[str]()
        for key in (key for key in step.output_map if declared[key] > 1):
            yield Finding(
                f"'{step.model_name}' declares its output '{key}' {declared[key]} times",
                cause="Triton: multiple outputs in model are mapped to the same ensemble tensor",
                fix=f"declare the output once in {step.model_name}/config.pbtxt",
                field=f"{place}.output_map",
            )


@rule("ENS108")
def tensor_never_written(model: ModelSubject) -> Iterator[Finding]:
    """Every tensor that is read, and every output of the ensemble, is written by some step that can run.

    Wrong::

        step { ... output_map { key: "y" value: "scores" } }
        step { ... input_map { key: "x" value: "score" } ... }

    Right::

        step { ... output_map { key: "y" value: "score" } }
        step { ... input_map { key: "x" value: "score" } ... }
    """
    config = model.config
    if not config.ensemble_steps:
        return  # ENS102 says so
    available = _reachable(config)
    produced = {name for step in config.ensemble_steps for name in step.output_map.values()}
    readers = {name: place for place, step in _steps(config) for name in step.input_map.values()}
    wanted = {**{tensor.name: f"output '{tensor.name}'" for tensor in config.outputs}, **readers}
    for name in (name for name in wanted if name not in available):
        yield Finding(
            f"the ensemble tensor '{name}' is never written",
            cause="the step that writes it waits for a tensor that never comes"
            if name in produced
            else "no step writes it",
            fix="compare the names in the maps; a value is the ensemble's tensor",
            field=readers.get(name, "output"),
        )


def _reachable(config: ModelConfig) -> set[str]:
    """The tensors that exist once every step that can run has run."""
    available = {tensor.name for tensor in config.inputs}
    waiting = list(config.ensemble_steps)
    while ready := [step for step in waiting if available.issuperset(step.input_map.values())]:
        for step in ready:
            available.update(step.output_map.values())
        waiting = [step for step in waiting if step not in ready]
    return available


@rule("ENS109", fixable=True)
def tensor_never_read(model: ModelSubject) -> Iterator[Finding]:
    """Every input of the ensemble and every tensor that a step writes is used; leave what nobody needs unmapped.

    Wrong::

        output_map { key: "label" value: "label" }
        output_map { key: "scores" value: "scores" }          (and nothing reads "scores")

    Right::

        output_map { key: "label" value: "label" }
    """
    config = model.config
    if not config.ensemble_steps:
        return  # ENS102 says so
    read = {name for step in config.ensemble_steps for name in step.input_map.values()}
    outputs = {tensor.name for tensor in config.outputs}
    for index, tensor in enumerate(config.inputs):
        if tensor.name not in read:
            yield Finding(
                f"no step reads the input '{tensor.name}'",
                cause="Triton: ensemble tensor is unused",
                fix="remove the input, or map it in a step",
                field=f"input[{index}]",
            )
    for place, step in _steps(config):
        for key, name in step.output_map.items():
            if name not in read | outputs:
                yield Finding(
                    f"nothing reads the ensemble tensor '{name}', the output '{key}' of '{step.model_name}'",
                    cause="Triton: ensemble tensor is unused",
                    fix="remove the output_map entry: outputs that nobody needs stay unmapped",
                    field=f"{place}.output_map",
                    edits=(RemoveField(f"{place}.output_map[{key}]"),) if len(step.output_map) > 1 else (),
                )


@rule("ENS110")
def batches_larger_than_a_step_takes(model: ModelSubject) -> Iterator[Finding]:
    """max_batch_size of an ensemble is no larger than that of any model in it that batches.

    Wrong::

        max_batch_size: 16                                    (and a step's model has max_batch_size: 8)

    Right::

        max_batch_size: 8
    """
    for place, step in _steps(model.config):
        composing = _composing(model, step)
        if composing is not None and 0 < composing.config.max_batch_size < model.config.max_batch_size:
            yield Finding(
                f"max_batch_size is {model.config.max_batch_size}, and '{step.model_name}' takes"
                f" {composing.config.max_batch_size}",
                cause=f"{_called(place, step)} would get batches that its model refuses",
                fix=f"write max_batch_size: {composing.config.max_batch_size}",
                field="max_batch_size",
            )


@rule("ENS111")
def edge_changes_type(model: ModelSubject) -> Iterator[Finding]:
    """A tensor has the same data type at every place of an ensemble that writes or reads it.

    Wrong::

        # decode gives TYPE_UINT8
        step { model_name: "classify" input_map { key: "pixels" value: "pixels" } }     # and classify takes TYPE_FP32

    Right::

        # decode gives TYPE_FP32
        step { model_name: "classify" input_map { key: "pixels" value: "pixels" } }
    """
    for first, other in _edges(model):
        if first.datatype is not other.datatype and first.datatype and other.datatype:
            yield Finding(
                f"the ensemble tensor '{first.tensor}' is {first.datatype.config_name} in '{first.model}'"
                f" and {other.datatype.config_name} in '{other.model}'",
                cause="an ensemble passes tensors on as they are",
                fix="make the types equal, or put a step between that converts",
                field=other.place,
            )


@rule("ENS112")
def edge_changes_shape(model: ModelSubject) -> Iterator[Finding]:
    """A tensor has shapes that fit each other at every place of an ensemble that writes or reads it; -1 fits anything.

    Models that batch and models that do not may be mixed: dims are compared with dims, or whole shapes with whole ones.

    Wrong::

        # decode gives dims [ 8, 8 ]
        step { model_name: "classify" input_map { key: "pixels" value: "pixels" } }     # and classify takes [ 64 ]

    Right::

        # decode gives dims [ 64 ]
        step { model_name: "classify" input_map { key: "pixels" value: "pixels" } }
    """
    for first, other in _edges(model):
        if not (_fit(first.dims, other.dims) or _fit(first.whole_shape, other.whole_shape)):
            yield Finding(
                f"the ensemble tensor '{first.tensor}' is {list(first.whole_shape)} in '{first.model}'"
                f" and {list(other.whole_shape)} in '{other.model}'",
                cause="-1 fits any size, other sizes must be equal",
                fix="make the shapes equal, or reshape in one of the models",
                field=other.place,
            )


@rule("ENS113", embedded_refuses=False)
def input_written_over(model: ModelSubject) -> Iterator[Finding]:
    """No step writes to an input of the ensemble.

    Triton loads such an ensemble, and then no request gets an answer.

    Wrong::

        input [ { name: "x" ... } ]
        step { ... input_map { key: "x" value: "x" } output_map { key: "y" value: "x" } }

    Right::

        input [ { name: "x" ... } ]
        step { ... input_map { key: "x" value: "x" } output_map { key: "y" value: "scaled" } }
    """
    inputs = {tensor.name for tensor in model.config.inputs}
    for place, step in _steps(model.config):
        for key, name in step.output_map.items():
            if name in inputs:
                yield Finding(
                    f"{_called(place, step)} writes its output '{key}' to '{name}', an input of the ensemble",
                    cause="Triton loads it, and then every request waits for ever",
                    fix=f'write another value, e.g. output_map {{ key: "{key}" value: "{name}_{key}" }}',
                    field=f"{place}.output_map",
                )


@rule("ENS114")
def answers_of_different_counts(model: ModelSubject) -> Iterator[Finding]:
    """The inputs of a step, and the outputs of the ensemble, come from the same decoupled model, or none from any.

    A decoupled model gives any number of answers to a request, so that its tensors pair with no others.

    Wrong::

        # tokens comes from a decoupled model
        step { ... input_map { key: "token" value: "tokens" } input_map { key: "prompt" value: "prompt" } }

    Right::

        # the decoupled model passes the prompt on with every answer
        step { ... input_map { key: "token" value: "tokens" } input_map { key: "prompt" value: "prompts" } }
    """
    origins = _decoupled_origins(model)
    for place, step in _steps(model.config):
        found = [name for name in step.input_map.values() if name in origins]
        if len({origins[name] for name in found}) > 1:
            yield Finding(
                f"{_called(place, step)} reads {_listed(found)}, which come in different numbers",
                cause="Triton: receives inputs originated from different decoupled models",
                fix="let the decoupled model pass on what is needed beside its answers",
                field=f"{place}.input_map",
            )
    outputs = [tensor.name for tensor in model.config.outputs if tensor.name in origins]
    if len({origins[name] for name in outputs}) > 1:
        yield Finding(
            f"the ensemble answers with {_listed(outputs)}, which come in different numbers",
            cause="Triton: receives inputs originated from different decoupled models",
            fix="let the decoupled model pass on what is needed beside its answers, or leave one output out",
            field="output",
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in dict.fromkeys(names))


def _decoupled_origins(model: ModelSubject) -> dict[str, str]:
    """The step with a decoupled model that each tensor's number of answers depends on; "" for one per request."""
    origins = {tensor.name: "" for tensor in model.config.inputs}
    waiting = list(_steps(model.config))
    while ready := [entry for entry in waiting if origins.keys() >= set(entry[1].input_map.values())]:
        for place, step in ready:
            came_from = next((origins[name] for name in step.input_map.values()), "")
            origin = place if _is_decoupled(model, step) else came_from
            origins.update({name: origins.get(name, origin) for name in step.output_map.values()})
        waiting = [entry for entry in waiting if entry not in ready]
    return origins


def _is_decoupled(model: ModelSubject, step: EnsembleStep) -> bool:
    """Whether a step's model is: as it says itself, and for an ensemble whether one of its models is."""
    return model.repository.circles.is_marked(step.model_name)


@rule("ENS115", severity=Severity.WARNING)
def optional_only_outside(model: ModelSubject) -> Iterator[Finding]:
    """An optional input of an ensemble goes to inputs that are optional as well.

    Else every request without it fails in the step that reads it.

    Wrong::

        input [ { name: "mask" ... optional: true } ]         (and the step's model needs its mask)

    Right::

        input [ { name: "mask" ... } ]
    """
    optional = {tensor.name: index for index, tensor in enumerate(model.config.inputs) if tensor.optional}
    for place, step in _steps(model.config):
        composing = _composing(model, step)
        for key, name in step.input_map.items() if composing else ():
            found = composing.config.input(key) if composing else None
            if name in optional and found is not None and not found.optional:
                yield Finding(
                    f"the input '{name}' is optional, and {_called(place, step)} needs it",
                    cause=f"a request without it fails: missing required input(s) ['{key}']",
                    fix=f"remove optional, or make '{key}' of '{step.model_name}' optional",
                    field=f"input[{optional[name]}].optional",
                )


@rule("ENS116", severity=Severity.WARNING, fixable=True)
def ignored_in_an_ensemble(model: ModelSubject) -> Iterator[Finding]:
    """An ensemble only has what Triton reads of one.

    It runs no code of its own, so that the names of files, batch_input, batch_output and model_operations mean nothing;
    whether it is decoupled follows from its models.

    Wrong::

        platform: "ensemble"
        model_transaction_policy { decoupled: true }          (and no model of it is decoupled)

    Right::

        platform: "ensemble"
    """
    config = model.config
    if not config.ensemble_steps:
        return
    written = {
        "runtime": config.runtime,
        "default_model_filename": config.default_model_filename,
        "cc_model_filenames": config.cc_model_filenames,
        "batch_input": config.batch_inputs,
        "batch_output": config.batch_outputs,
        "model_operations": config.op_library_filenames,
    }
    for field in (field for field, value in written.items() if value):
        yield Finding(
            f"{field} means nothing to an ensemble",
            cause="it runs no code of its own, and Triton says nothing",
            fix=f"remove {field}, or put it into the models of the steps",
            field=field,
            edits=(RemoveField(field),),
        )
    is_decoupled = model.repository.circles.is_marked(model.name)
    if config.decoupled is not None and config.decoupled != is_decoupled:
        yield Finding(
            f"the ensemble says decoupled: {str(config.decoupled).lower()}, and is {'' if is_decoupled else 'not'}",
            cause="Triton derives it from the models of the steps",
            fix="remove model_transaction_policy",
            field="model_transaction_policy.decoupled",
            edits=(RemoveField("model_transaction_policy"),),
        )


@rule("ENS117", fixable=True)
def cache_of_many_answers(model: ModelSubject) -> Iterator[Finding]:
    """An ensemble with a decoupled model in it has no response cache: it is decoupled too.

    Wrong::

        response_cache { enable: true }                       (and a step's model is decoupled)

    Right::

        # without response_cache here; it may stay in the other models
    """
    if not model.config.response_cache or model.config.decoupled:  # CFG401 says so
        return
    for place, step in _steps(model.config):
        if _is_decoupled(model, step):
            yield Finding(
                f"response_cache with {_called(place, step)}, whose model is decoupled",
                cause="Triton: Response Cache does not currently support model with 'decoupled' transaction policy",
                fix="remove response_cache from the ensemble",
                field="response_cache",
                edits=(RemoveField("response_cache"),),
            )


@rule("ENS118", severity=Severity.WARNING)
def batches_that_no_step_takes(model: ModelSubject) -> Iterator[Finding]:
    """An ensemble that batches gives a model that does not batch only tensors with a free first dimension.

    With fixed ones Triton takes the batch dimension off while it is 1, and every larger batch fails.

    Wrong::

        max_batch_size: 8                                     (and a step's model has max_batch_size: 0, dims: [ 4 ])

    Right::

        max_batch_size: 8                                     (and it has max_batch_size: 0, dims: [ -1, 4 ])
    """
    if model.config.max_batch_size <= 1:
        return
    batches = _batched_shapes(model)
    for place, step in _steps(model.config):
        composing = _composing(model, step)
        if composing is None or composing.config.max_batch_size != 0:
            continue
        for key, name in step.input_map.items():
            shape, found = batches.get(name), composing.config.input(key)
            if shape is not None and found is not None and not _fit(shape, found.dims):
                yield Finding(
                    f"{_called(place, step)} takes one row of '{name}' and no batch",
                    cause=f"'{step.model_name}' does not batch and has dims {list(found.dims)}; larger batches fail",
                    fix="write max_batch_size: 1 here, or let the model batch",
                    field=f"{place}.input_map",
                )


def _batched_shapes(model: ModelSubject) -> dict[str, tuple[int, ...]]:
    """The whole shapes of the tensors that come in batches: the ensemble's inputs, and what batching models write."""
    shapes = {tensor.name: (-1, *tensor.model_shape) for tensor in model.config.inputs}
    for _, step in _steps(model.config):
        composing = _composing(model, step)
        if composing is not None and composing.config.max_batch_size > 0:
            written = ((name, composing.config.output(key)) for key, name in step.output_map.items())
            shapes.update({name: (-1, *tensor.dims) for name, tensor in written if tensor is not None})
    return shapes


@rule("ENS119", severity=Severity.WARNING, fixable=True)
def cache_of_sequences(model: ModelSubject) -> Iterator[Finding]:
    """An ensemble whose answers depend on earlier requests has no response cache.

    Triton refuses the cache for a model with sequence_batching, and does not notice one in an ensemble.

    Wrong::

        response_cache { enable: true }                       (and a step's model has sequence_batching)

    Right::

        # without response_cache
    """
    if not model.config.response_cache:
        return
    for place, step in _steps(model.config):
        composing = _composing(model, step)
        if composing is not None and composing.config.sequence_batching is not None:
            yield Finding(
                f"response_cache with {_called(place, step)}, whose model has sequence_batching",
                cause="its answer depends on earlier requests, and the cache gives that of another sequence",
                fix="remove response_cache from the ensemble",
                field="response_cache",
                edits=(RemoveField("response_cache"),),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """One end of an edge: how one model declares an ensemble tensor."""

    tensor: str
    model: str
    place: str
    datatype: DataType | None
    dims: tuple[int, ...]
    batches: bool

    @property
    def whole_shape(self) -> tuple[int, ...]:
        return (-1, *self.dims) if self.batches else self.dims


def _edges(model: ModelSubject) -> Iterator[tuple[_End, _End]]:
    """Each end with the first one of the same tensor, which is how Triton compares them."""
    first: dict[str, _End] = {}
    for end in _ends(model):
        known = first.setdefault(end.tensor, end)
        if known is not end:
            yield known, end


def _ends(model: ModelSubject) -> Iterator[_End]:
    config = model.config
    if not config.is_ensemble:
        return
    own: dict[str, tuple[str, ModelTensor]] = {}  # of two with one name Triton keeps the first, inputs before outputs
    for place, tensors in (("input", config.inputs), ("output", config.outputs)):
        for tensor in tensors:
            own.setdefault(tensor.name, (place, tensor))
    for place, tensor in own.values():
        # The ensemble's own reshape counts, that of its models does not (ensemble_utils.cc).
        yield _end(tensor.name, model, place, tensor, tensor.model_shape)
    for place, step in _steps(config):
        composing = _composing(model, step)
        if composing is None:
            continue
        for key, name in step.input_map.items():
            for found in (tensor for tensor in composing.config.inputs if tensor.name == key):
                yield _end(name, composing, f"{place}.input_map", found, found.dims)
        for key, name in step.output_map.items():
            for found in (tensor for tensor in composing.config.outputs if tensor.name == key):
                yield _end(name, composing, f"{place}.output_map", found, found.dims)


def _end(name: str, model: ModelSubject, place: str, tensor: ModelTensor, dims: tuple[int, ...]) -> _End:
    batches = model.config.max_batch_size > 0
    return _End(tensor=name, model=model.name, place=place, datatype=tensor.datatype, dims=dims, batches=batches)


def _fit(one: Sequence[int], other: Sequence[int]) -> bool:
    return len(one) == len(other) and all(a == b or -1 in (a, b) for a, b in zip(one, other, strict=True))


def _steps(config: ModelConfig) -> Iterator[tuple[str, EnsembleStep]]:
    for index, step in enumerate(config.ensemble_steps):
        yield f"ensemble_scheduling.step[{index}]", step


def _called(place: str, step: EnsembleStep) -> str:
    index = int(place.rsplit("[", 1)[1].rstrip("]"))
    return f"step {index + 1}" + (f" ('{step.model_name}')" if step.model_name else "")


def _composing(model: ModelSubject, step: EnsembleStep) -> ModelSubject | None:
    found = model.repository.models.get(step.model_name)
    return found if found is not None and found.config_error is None else None
