# SPDX-License-Identifier: Apache-2.0
"""Loads that hang, fail late, or fail while the others are given up."""

import threading

import pytest

from repo_tool.errors import ServerStartError
from repo_tool.triton import loading
from repo_tool.triton.loading import Loader
from repo_tool.triton.options import LoadOutcome

SOON_S = 10.0


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(loading, "_SLOW_AFTER_S", 0.0)


class Loads:
    """Stands in for the server: a load hangs until it is released, and ends with what it was given."""

    def __init__(self, **ends):
        self.ends = ends
        self.released = threading.Event()
        self.told = []
        self.all_told = threading.Event()

    def __call__(self, model):
        end = self.ends.get(model)
        if end is not None:
            assert self.released.wait(SOON_S)
        if isinstance(end, BaseException):
            raise end
        return LoadOutcome(model=model, versions=("1",), seconds=0.0)

    def on_outcome(self, outcome):
        if outcome.is_loading:
            self.released.set()  # it ends while it is being told that it is still loading
        self.told.append((outcome.model, outcome.state, outcome.reason))
        if not outcome.is_loading and outcome.model in self.ends:
            self.all_told.set()


def test_a_load_is_told_as_under_way_before_it_is_told_to_have_ended(impatient):
    loads = Loads(hangs="ready")
    loader = Loader(loads, patience_s=0.0, on_outcome=loads.on_outcome)
    assert {outcome.model: outcome.state for outcome in loader.run(["fast", "hangs"])}["hangs"] == "LOADING"
    assert loads.all_told.wait(SOON_S)
    assert [state for model, state, _ in loads.told if model == "hangs"] == ["LOADING", "READY"]
    assert not loader.late


def test_a_load_that_fails_after_it_was_given_up_is_told_as_refused(impatient):
    loads = Loads(hangs=ServerStartError("the server ended"))
    loader = Loader(loads, patience_s=0.0, on_outcome=loads.on_outcome)
    loader.run(["hangs"])
    assert loads.all_told.wait(SOON_S)
    assert loads.told[-1] == ("hangs", "UNAVAILABLE", "the server ended")


def test_a_failure_at_the_moment_of_giving_up_is_raised():
    ended = ServerStartError("the server ended")

    class LosesItsPatience(Loader):
        def _next(self):  # what came to an end after the last look and before the giving up
            assert fails.wait(SOON_S)
            while self._started:
                pass

        def _is_hopeless(self):
            return True

    fails = threading.Event()

    def load(_model):
        fails.set()
        raise ended

    with pytest.raises(ServerStartError) as raised:
        LosesItsPatience(load, patience_s=0.0, on_outcome=None).run(["a", "b"])
    assert raised.value is ended
