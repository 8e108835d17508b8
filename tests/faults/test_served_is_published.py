# SPDX-License-Identifier: Apache-2.0
"""Publishes and rollbacks in any order, with files as old as copies make them, and restarts: what serves is meant."""

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from repo_tool.repository.integrity import problems
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.publish import rewrite
from repo_tool.repository.stamps import provenance_digest, restamped
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.roll_back import RollBackRequest, roll_back
from support.live_roll_outs import Live, live
from support.open_loop import publish_versioned

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

LATEST = "latest { num_versions: 1 }"
A_YEAR_S = 365 * 86_400
# What is done to the repository, and how the server is told, each with how often.
DEEDS = {"publish": 50, "roll back": 45, "roll back, proven": 2, "nothing": 3}
WAYS = {"rolled out": 60, "loaded": 37, "restarted": 3}


@dataclass(slots=True, kw_only=True)
class Story:
    """A repository and its server, step by step."""

    served: Live
    drawn: random.Random
    newest: int = 1
    meant: int = 1  # the version that is to be served
    steps: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def model(self) -> ModelDirectory:
        return self.served.repository.model("m")

    def step(self, number: int) -> None:
        deed = self.drawn.choices(list(DEEDS), list(DEEDS.values()))[0] if self.newest > 1 else "publish"
        way = self.drawn.choices(list(WAYS), list(WAYS.values()))[0]
        is_old = way != "loaded" and self.drawn.random() < 0.5  # Triton alone would not see what is older
        self._do(deed)
        if is_old:
            make_old(self.model.path, self.drawn.uniform(1, 10) * A_YEAR_S)
        self._follow(way)
        self.steps.update((deed, way, "with old times" if is_old else "with times of now"))
        self.wrong += [f"step {number}: {deed}, {way}: {words}" for words in self._complaints()]

    def _do(self, deed: str) -> None:
        if deed == "publish":
            self.newest = self.meant = publish_versioned(self.served.repository, "m", self.newest + 1)
        elif deed.startswith("roll back"):
            versions = [version for version in self.model.versions() if version != self.meant]
            self.meant = self.drawn.choice(versions)
            if deed.endswith("proven"):
                request = RollBackRequest(model="m", repository=self.served.repository.path, version=self.meant)
                roll_back(request, RecordedProgress())
            else:
                self._serve_only(self.meant)

    def _serve_only(self, version: int) -> None:
        """What a rollback writes, without a Triton of its own that proves it first."""
        old = self.model.config_path.read_text()
        start = old.index("version_policy {") + len("version_policy {")
        policy = f" specific {{ versions: [ {version} ] }} "
        new = old[:start] + policy + old[closing(old, start) :]
        rewrite(self.served.repository, {"m/config.pbtxt": (old, restamped(new, self.model))})

    def _follow(self, way: str) -> None:
        if way == "rolled out":
            self.served.roll_out("m")
        elif way == "loaded":
            self.served.server.load("m")
        else:
            self.served.server.stop()
            self.served.server.start()
            self.served.server.load("m")

    def _complaints(self) -> list[str]:
        stamp = self.served.served("m").get(f"provenance.{self.meant}")
        facts = {
            "versions": (self.served.versions("m"), [self.meant]),
            "answer": (self.served.added("m"), self.meant),
            "digest": (stamp, provenance_digest(self.model, self.meant)),
            "files": (problems(self.model, self.meant), ()),
        }
        return [f"{name} {found}, not {wanted}" for name, (found, wanted) in facts.items() if found != wanted]


def closing(text: str, at: int) -> int:
    """The brace that closes the one before ``at``."""
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at - 1


def make_old(folder: Path, ago_s: float) -> None:
    """What ``cp -p``, ``rsync -a`` and archives do: everything as old as it was where it came from."""
    for path in (*folder.rglob("*"), folder):
        then = path.stat().st_mtime - ago_s
        os.utime(path, (then, then))


def test_what_is_served_is_what_was_published(tmp_path, scale, seed, figures):
    repository = ModelRepository(tmp_path / "models")
    publish_versioned(repository, "m", 1)
    with live(repository) as served:
        story = Story(served=served, drawn=random.Random(seed))  # noqa: S311 - to be drawn again
        for number in range(scale(20, 1000)):
            story.step(number)
    figures.record(
        row="served_is_published",
        measured={
            "steps": sum(story.steps[deed] for deed in DEEDS),
            "of which": dict(story.steps),
            "served otherwise than published": story.wrong[:20],
        },
        passed=not story.wrong,
        seed=seed,
    )
    assert story.wrong == []
