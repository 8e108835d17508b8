# SPDX-License-Identifier: Apache-2.0
"""Ensembles that contain themselves are found however deep, however interwoven."""

import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import find_rule, validate
from repo_tool.rules.circles import Circles


def circles(steps, marked=()):
    return Circles(lambda name: steps.get(name, ()), marked.__contains__)


@pytest.mark.parametrize(
    ("steps", "way"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b", "c"], "b": ["d"], "c": ["a"]}, ("a", "c", "a")),
        ({"a": ["b"], "b": ["b"]}, ()),  # the other's circle
        ({"a": ["b"], "b": ["c"], "c": ["b", "a"]}, ("a", "b", "c", "a")),
        ({"a": ["b", "b"], "b": []}, ()),
        ({}, ()),
    ],
)
def test_the_way_back_is_the_shortest(steps, way):
    assert circles(steps).way_back("a") == way


NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4)), st.permutations("abcdef"), st.sets(NAMES, max_size=2))
def test_whoever_is_asked_first_the_answers_are_those_of_a_search_from_each(steps, order, marked):
    found = circles(steps, marked)
    for name in order:
        reached, waiting = set(), list(steps.get(name, ()))
        while waiting:
            step = waiting.pop()
            if step not in reached:
                reached.add(step)
                waiting += steps.get(step, ())
        assert found.is_marked(name) == bool(marked & {name, *reached})
        way = found.way_back(name)
        assert bool(way) == (name in reached)
        assert all(after in steps[before] for before, after in pairwise(way))
        assert not way or (way[0], way[-1]) == (name, name)


def write_ensembles(folder, steps):
    for name, inside in steps.items():
        (folder / name / "1").mkdir(parents=True)
        body = " ".join(f'step {{ model_name: "{step}" model_version: -1 }}' for step in inside)
        (folder / name / "config.pbtxt").write_text(f'platform: "ensemble" ensemble_scheduling {{ {body} }}')
    return ModelRepository(folder)


def in_a_circle(repository):
    found = validate(repository, release=release(), rules=[find_rule("ENS105"), find_rule("ENS114")])
    return {each.model for each in found if each.code == "ENS105"}


def test_a_long_chain_is_walked_to_its_end(tmp_path):
    length = sys.getrecursionlimit() + 200
    steps = {f"e{number:04}": [f"e{number + 1:04}"] for number in range(length)}
    repository = write_ensembles(tmp_path, steps)
    assert in_a_circle(repository) == set()


def test_many_ways_to_the_same_models_are_walked_once(tmp_path):
    """Each ensemble's two steps both use the next two: 2 to the power of 40 ways."""
    steps = {f"e{n}{side}": [f"e{n + 1}a", f"e{n + 1}b"] for n in range(40) for side in "ab"}
    repository = write_ensembles(tmp_path, steps | {"e40a": ["e0a"], "e40b": []})
    assert in_a_circle(repository) == {*steps, "e40a"} - {"e0b"}
