# SPDX-License-Identifier: Apache-2.0
"""The number of a case and the seed of a run make the case: the same two, the same repository."""

import random as randoms
import tempfile
from pathlib import Path

from google.protobuf import text_format
from hypothesis import strategies as st

from differential.drafts import Case
from differential.ensembles import an_ensemble, mutate_edges
from differential.file_mutations import mutate_files
from differential.graphs import a_measured_case, an_onnx_model
from differential.models import a_model
from differential.mutations import mutate
from differential.neighbours import a_neighbour
from differential.text_mutations import mutate_text

# Of a hundred cases. Those that start a Python stub (onnx, measured) cost a hundred times as much as the others.
WEIGHTS = {
    "valid": 8, "field": 36, "text": 12, "file": 10, "ensemble": 4, "ensemble edge": 14, "neighbour": 13, "onnx": 2,
    "measured": 1,
}  # fmt: skip


def a_case(seed, number):
    """Case ``number`` of the run with ``seed``."""
    random = randoms.Random(f"{seed}/{number}")  # noqa: S311
    (generator,) = random.choices(list(WEIGHTS), WEIGHTS.values())
    return _GENERATORS[generator](random, f"m{number:06}", generator)


def cases(seed):
    """A hypothesis strategy of cases."""
    return st.integers(0, 10**6 - 1).map(lambda number: a_case(seed, number))


def _of_draft(generator, draft):
    return Case(generator, draft.name, draft.written(), tuple(draft.history))


def _times(random):
    return range(random.choice((1, 1, 1, 1, 2, 2, 3, 4)))


def _valid(random, name, generator):
    return _of_draft(generator, a_model(random, name))


def _field(random, name, generator):
    draft = a_model(random, name)
    for _ in _times(random):
        mutate(random, draft)
    return _of_draft(generator, draft)


def _text(random, name, generator):
    draft = an_ensemble(random, name) if random.random() < 0.2 else a_model(random, name)
    for _ in range(random.choice((1, 1, 1, 2))):
        mutate_text(random, draft)
    return _of_draft(generator, draft)


def _file(random, name, generator):
    draft = an_ensemble(random, name) if random.random() < 0.15 else a_model(random, name)
    for _ in range(random.choice((1, 1, 2))):
        mutate_files(random, draft)
    return _of_draft(generator, draft)


def _ensemble(random, name, generator):
    return _of_draft(generator, an_ensemble(random, name))


def _ensemble_edge(random, name, generator):
    draft = an_ensemble(random, name)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        (mutate_edges if random.random() < 0.85 else mutate)(random, draft)
    return _of_draft(generator, draft)


def _neighbour(random, name, _):
    return a_neighbour(random, name)


def _onnx(random, name, generator):
    draft = an_onnx_model(random, name)
    for _ in range(random.choice((0, 1, 1, 1, 2))):
        mutate(random, draft)
    return _of_draft(generator, draft)


def _measured(random, name, generator):
    with tempfile.TemporaryDirectory() as folder:
        draft = a_measured_case(random, name, Path(folder))
    text_format.Parse(draft.text, draft.config)
    if random.random() < 0.85:
        draft.text = None
        mutate(random, draft)
    return _of_draft(generator, draft)


_GENERATORS = {
    "valid": _valid, "field": _field, "text": _text, "file": _file, "ensemble": _ensemble,
    "ensemble edge": _ensemble_edge, "neighbour": _neighbour, "onnx": _onnx, "measured": _measured,
}  # fmt: skip
