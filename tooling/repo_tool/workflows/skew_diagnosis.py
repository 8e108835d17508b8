# SPDX-License-Identifier: Apache-2.0
"""What a difference to the training code comes from, found by trying: said only where the numbers then agree.

Tried are other values of the parameters of the steps before, and what people mix up: channels, layout, scale, columns.
"""

__all__ = ["Suspect", "diagnose", "needed_for"]

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client import RepoClientError
from repo_tool.errors import RepoToolError
from repo_tool.pipelines.stages import BlockStage, Stage, StepStage, TypedPipeline
from repo_tool.samples import Array
from repo_tool.verification import Infer, Tolerance
from repo_tool.workflows.pipeline_rows import PipelineRows
from repo_tool.workflows.skew import DifferentRow, distances
from repo_tool.workflows.step_by_step import as_values, run_stages

_ROWS_TRIED, _MOST_TRIALS = 8, 64
_FAMILIES = {  # of parameters of the shipped steps
    "layout": "looks like another layout: ",
    "interpolation": "looks like another interpolation: ",
    "antialias": "looks like another interpolation: ",
    "library": "looks like another interpolation: ",
    "mode": "looks like other colours: ",
}
_COLOURS, _LEAST_SAMPLES = (3, 4), 3
# Solved by least squares in float64 from float32 values: what is left must be rounding, far below any real difference.
_FIT = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A wire that differs: its rows that do, the pipeline, and all raw rows."""

    wire: str
    rows: Sequence[DifferentRow]
    typed: TypedPipeline
    raw: PipelineRows
    members: Mapping[str, Infer]
    tolerance: Tolerance
    exact_integers: bool = True  # whole numbers must be equal
    unchanged: Sequence[Array] | None = None  # the wire as the steps give it here; None: not known


def diagnose(suspect: Suspect) -> str:
    """What it looks like, in words; empty where nothing that was tried makes the rows agree."""
    tried = replace(suspect, rows=suspect.rows[:_ROWS_TRIED])
    tried = replace(tried, unchanged=_rerun(tried, needed_for(tried.typed.stages, tried.wire)))
    if tried.unchanged is not None and _all_close(tried, tried.unchanged):
        return "its steps run one by one agree with the reference: what is served in their place does not"
    looks: tuple[Callable[[Suspect], str], ...] = (_as_text, _rearranged, _another_parameter, _scaled, _as_columns)
    return next((found for look in looks if (found := look(tried))), "")


def _agree(suspect: Suspect, change: Callable[[Array], Array]) -> bool:
    """Whether every row that differs agrees once the served one is changed so."""
    return _all_close(suspect, [change(row.served) for row in suspect.rows])


def _all_close(suspect: Suspect, found: Sequence[Array]) -> bool:
    return all(_close(array, row.wanted, suspect) for array, row in zip(found, suspect.rows, strict=True))


def _close(found: Array, wanted: Array, suspect: Suspect) -> bool:
    """By the rules by which it was found to differ: whole numbers must be equal."""
    wanted = wanted.reshape(found.shape) if found.size == wanted.size and wanted.ndim != found.ndim else wanted
    if found.shape != wanted.shape:
        return False
    if object in (found.dtype, wanted.dtype):
        return bool(np.all(found == wanted))
    if found.dtype.kind != "f" and suspect.exact_integers:
        return not distances(found, wanted).any()
    tolerance = suspect.tolerance.at(wanted.astype(np.float64))
    numbers, reference = found.astype(np.float64), wanted.astype(np.float64)
    return np.allclose(numbers, reference, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True)


# --- words and arrangements ------------------------------------------------------------------------------------------


def _as_text(suspect: Suspect) -> str:
    if any(object not in (row.served.dtype, row.wanted.dtype) for row in suspect.rows):
        return ""
    changes: dict[str, Callable[[bytes], bytes]] = {
        "the words differ in upper and lower case only": bytes.lower,
        "the words differ in white space only": lambda word: b" ".join(word.split()),
    }
    for words, change in changes.items():
        if all(_each(change, row.served) == _each(change, row.wanted) for row in suspect.rows):
            return words
    return ""


def _each(change: Callable[[bytes], bytes], array: Array) -> list[bytes]:
    return [change(word) if isinstance(word, bytes) else word for word in array.ravel()]


def _rearranged(suspect: Suspect) -> str:
    shapes = {(row.served.shape, row.wanted.shape) for row in suspect.rows}
    if len(shapes) != 1 or any(row.served.dtype == object for row in suspect.rows):
        return ""
    ((served, wanted),) = shapes
    changes: dict[str, Callable[[Array], Array]] = {}
    if len(served) == 3:
        changes = {
            "looks like BGR and RGB swapped": lambda array: np.flip(array, axis=_channel_axis(array.shape)),
            "looks like rows and columns swapped": lambda array: np.swapaxes(array, *_other_axes(array.shape)),
            "looks like the picture upside down": lambda array: np.flip(array, axis=_other_axes(array.shape)[0]),
            "looks like the picture mirrored": lambda array: np.flip(array, axis=_other_axes(array.shape)[1]),
        }
        if served != wanted and sorted(served) == sorted(wanted):
            changes = {
                "looks like another layout (channels first or last)": _other_layout,
                "looks like another layout (channels first or last), and BGR and RGB swapped": lambda array: np.flip(
                    _other_layout(array), axis=_channel_axis(_other_layout(array).shape)
                ),
            }
    if served != wanted and not changes and np.prod(served) == np.prod(wanted):
        changes = {"holds the same numbers in another shape": lambda array: array.reshape(wanted)}
    changes["looks like it was rounded by the reference"] = np.round
    return next((words for words, change in changes.items() if _agree(suspect, change)), "")


def _channel_axis(shape: Sequence[int]) -> int:
    """The first or the last of three dimensions, whichever is as small as channels are."""
    return 2 if shape[2] in (1, *_COLOURS) else 0


def _other_axes(shape: Sequence[int]) -> tuple[int, int]:
    return (0, 1) if _channel_axis(shape) == 2 else (1, 2)


def _other_layout(array: Array) -> Array:
    return np.moveaxis(array, 2, 0) if _channel_axis(array.shape) == 2 else np.moveaxis(array, 0, 2)


# --- other parameters ------------------------------------------------------------------------------------------------


def _another_parameter(suspect: Suspect) -> str:
    for stage in reversed(_before(suspect.typed.stages, suspect.wire)):
        for values in itertools.islice(_alternatives(stage), _MOST_TRIALS):
            if _agrees_with(suspect, stage, values):
                return f"{_family(values)}with {_told(values)} in step '{_name(stage)}' they agree"
    return ""


def _before(stages: Sequence[Stage], wire: str) -> list[StepStage]:
    """The steps outside blocks that the wire hangs on, in their order."""
    return [stage for stage in needed_for(stages, wire) if isinstance(stage, StepStage)]


def _alternatives(stage: StepStage) -> Iterator[dict[str, Any]]:
    """Other values of parameters with a few to choose from: first of one alone, then of two together."""
    now = stage.step.parameters
    schema: Mapping[str, Any] = stage.step.kind.parameters.get("properties", {})
    choices = {name: [value for value in _choices(told) if value != now.get(name)] for name, told in schema.items()}
    names = [name for name, values in choices.items() if values]
    for count in (1, 2):
        for chosen in itertools.combinations(names, count):
            for values in itertools.product(*(choices[name] for name in chosen)):
                yield dict(zip(chosen, values, strict=True))


def _choices(told: Mapping[str, Any]) -> list[Any]:
    if told.get("type") == "boolean":
        return [False, True]
    options = [told, *told.get("anyOf", [])]
    return [value for option in options for value in option.get("enum", [])]


def _agrees_with(suspect: Suspect, stage: StepStage, values: Mapping[str, Any]) -> bool:
    """Whether the steps run here agree with these values, and did not without."""
    if suspect.unchanged is None:
        return False
    try:
        changed = replace(stage, step=stage.step.kind.with_parameters({**stage.step.parameters, **values}))
    except RepoToolError:  # no such value beside the others
        return False
    stages = [changed if each is stage else each for each in needed_for(suspect.typed.stages, suspect.wire)]
    found = _rerun(suspect, stages)
    return found is not None and _all_close(suspect, found)


def _rerun(suspect: Suspect, stages: Sequence[Stage]) -> list[Array] | None:
    """The wire of the rows that differ, computed here by such stages; None where they fail."""
    try:
        raw = {name: array[[row.row for row in suspect.rows]] for name, array in suspect.raw.inputs.items()}
        tensors = run_stages(stages, suspect.typed.wires, as_values(raw, suspect.typed.wires), suspect.members)
        return list(tensors[suspect.wire])
    except (
        RepoToolError,
        RepoClientError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
    ):  # what the change made of the steps after it
        return None


def needed_for(stages: Sequence[Stage], *wires: str) -> list[Stage]:
    """Those that are needed for the wires."""
    needed, found = {*wires}, []
    for stage in reversed(stages):
        if needed & set(stage.outputs.values()):
            needed |= set(stage.inputs.values())
            found.append(stage)
    return found[::-1]


def _family(values: Mapping[str, Any]) -> str:
    return next((words for name, words in _FAMILIES.items() if name in values), "")


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {_yaml(value)}" for name, value in values.items())


def _yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _name(stage: StepStage | BlockStage) -> str:
    return stage.name or (stage.step.name if isinstance(stage, StepStage) else stage.kind)


# --- scales ----------------------------------------------------------------------------------------------------------


def _scaled(suspect: Suspect) -> str:
    """Whether each channel of a picture is the served one (or its mirror's), times a number, plus one."""
    if _are_whole(suspect) or {row.served.ndim for row in suspect.rows} != {3}:
        return ""
    if any(row.served.shape != row.wanted.shape or row.wanted.dtype == object for row in suspect.rows):
        return ""
    axis = _channel_axis(suspect.rows[0].served.shape)
    served, wanted = (_channels(suspect, axis, which) for which in ("served", "wanted"))
    if (fit := _fit(served, wanted, suspect.tolerance)) is not None:
        return _words_of_scale(suspect, *fit)
    if len(served) in _COLOURS and _fit(served[::-1], wanted, suspect.tolerance) is not None:
        return "looks like BGR and RGB swapped"
    return ""


def _are_whole(suspect: Suspect) -> bool:
    """Whether the numbers are ids and the like, of which one is no multiple of another."""
    return all(array.dtype.kind != "f" for row in suspect.rows for array in (row.served, row.wanted))


def _channels(suspect: Suspect, axis: int, which: str) -> list[NDArray[np.float64]]:
    """For each channel its values in all the rows."""
    moved = [np.moveaxis(getattr(row, which), axis, 0).astype(np.float64) for row in suspect.rows]
    return [np.concatenate([row[channel].ravel() for row in moved]) for channel in range(len(moved[0]))]


def _fit(
    served: Sequence[NDArray[np.float64]], wanted: Sequence[NDArray[np.float64]], tolerance: Tolerance
) -> tuple[list[float], list[float]] | None:
    """Factors and summands, one for each channel; None where some channel is no such line of the other."""
    factors, summands = [], []
    for found, reference in zip(served, wanted, strict=True):
        if len(found) < _LEAST_SAMPLES or np.ptp(found) == 0 or not np.isfinite([found, reference]).all():
            return None
        factor, summand = np.polyfit(found, reference, 1)
        error = np.abs(factor * found + summand - reference)
        allowed = tolerance.absolute + tolerance.relative * np.abs(reference)
        too_far = error.max() > _FIT * max(float(np.ptp(reference)), 1e-12) or (error > allowed).any()
        if too_far or abs(factor) < 1e-9:
            return None
        factors.append(float(factor))
        summands.append(float(summand))
    return factors, summands


def _words_of_scale(suspect: Suspect, factors: Sequence[float], summands: Sequence[float]) -> str:
    """In terms of the step's own mean and std, where it has these and the rows then agree."""
    writer = _before(suspect.typed.stages, suspect.wire)[-1:]
    if writer and {"mean", "std"} <= set(writer[0].step.parameters):
        now = writer[0].step.parameters
        mean, std = (np.asarray(now[name], dtype=np.float64) for name in ("mean", "std"))
        new_std = std / np.asarray(factors)
        values = {"mean": (mean - np.asarray(summands) * new_std).tolist(), "std": new_std.tolist()}
        changed = {name: found for name, found in values.items() if not np.allclose(found, now[name], rtol=1e-3)}
        if _agrees_with(suspect, writer[0], values):
            words = f"with {_told(changed)} in step '{_name(writer[0])}' they agree"
            return f"looks like another {' and '.join(changed)}: {words}"
    if np.allclose(factors, factors[0], rtol=1e-4) and np.allclose(summands, 0, atol=_FIT * abs(factors[0])):
        return f"looks like another scale: the reference is {factors[0]:.6g} times the served"
    words = "; ".join(f"{factor:.4g} x + {summand:.4g}" for factor, summand in zip(factors, summands, strict=True))
    return f"looks like another mean or std: by channel the reference is {words} of the served x"


def _as_columns(suspect: Suspect) -> str:
    """Whether the numbers of a row are there in another order, or each scaled otherwise."""
    shapes = {row.served.shape for row in suspect.rows} | {row.wanted.shape for row in suspect.rows}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1 or any(row.served.dtype == object for row in suspect.rows):
        return ""
    served, wanted = (np.stack([getattr(row, which) for row in suspect.rows]) for which in ("served", "wanted"))
    if object in (served.dtype, wanted.dtype) or len(served) < _LEAST_SAMPLES:
        return ""
    order = [_same_column(served, wanted[:, at], suspect) for at in range(wanted.shape[1])]
    if None not in order and len(set(order)) == len(order):
        return f"looks like columns in another order: the reference has the served {order}"
    differ = [at for at in range(wanted.shape[1]) if not _close(served[:, at], wanted[:, at], suspect)]
    ours, theirs = ([array[:, at].astype(np.float64) for at in differ] for array in (served, wanted))
    if not _are_whole(suspect) and _fit(ours, theirs, suspect.tolerance) is not None:
        return f"looks like another scale of column {', '.join(map(str, differ[:8]))}"
    return ""


def _same_column(served: Array, wanted: Array, suspect: Suspect) -> int | None:
    found = [at for at in range(served.shape[1]) if _close(served[:, at], wanted, suspect)]
    return found[0] if len(found) == 1 else None
