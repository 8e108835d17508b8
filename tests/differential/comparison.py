# SPDX-License-Identifier: Apache-2.0
"""One case: what the rules say without loading anything, what Triton does, and whether the two agree."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from differential.native import STAND_INS
from differential.pool import the_pool
from differential.server import CRASHES, HANGS, VerdictServer
from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import RULES, Severity, validate
from repo_tool.rules.subjects import RepositorySubject
from support.rule_cases import EMBEDDED_RELEASE

_EMBEDDED_REFUSES = frozenset(rule.code for rule in RULES if rule.embedded_refuses)
_ERRORS = frozenset(rule.code for rule in RULES if rule.severity is Severity.ERROR)
# What this server lacks and says that it does, which is no verdict on the configuration: features of the Python-based
# onnxruntime backend, and backends that nobody put there.
_EMBEDDED_LIMITS = (
    "not supported by the embedded backend",
    "unable to find backend library",
    "unable to find Python backend based backend library",
)
# What rules say of the inside of a model file or of parameters, which a stand-in does not read; and where the code that
# NVIDIA's own backends have in common fails.
_OF_REAL_BACKENDS = ("SIG2", "CFG607")
_OF_THEIR_COMMON_CODE = ("names no output",)

AGREE, FALSE_ALARM, MISS, NO_VERDICT = "agree", "false alarm", "miss", "no verdict"


@dataclass(frozen=True)
class Comparison:
    """The two verdicts on one case."""

    number: int
    case: object
    codes: tuple  # rules that foresaw that this server refuses it
    elsewhere: tuple  # rules of severity error about other machines or releases, which say that this server loads it
    verdict: object
    messages: tuple = ()
    flaky: str = ""  # how the server ended at first, when it did not do so again
    kind: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "kind", self._kind())

    def _kind(self):
        if self.verdict.loads:
            return FALSE_ALARM if self.codes else AGREE
        if self.codes:
            return AGREE
        return NO_VERDICT if any(words in self.verdict.words for words in _EMBEDDED_LIMITS) else MISS

    @property
    def is_false_error(self):
        """Whether a rule of severity error refused what Triton loads."""
        return self.kind == FALSE_ALARM and bool(_ERRORS.intersection(self.codes))

    @property
    def words(self):
        """Triton's words without names and numbers, so that the same reason reads the same."""
        text = self.verdict.words.strip().splitlines()[-1] if self.verdict.words.strip() else ""
        text = re.sub(r"m\d{6}\w*", "…", without_places(text))
        text = re.sub(r"'[^']*'", "'…'", text)
        text = re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "n", text)
        return re.sub(r"\[[n,… -]*\]", "[…]", text)[:160]


def without_places(text):
    """The words without the folders of the machine that they were said on."""
    return re.sub(r"(/tmp|/dev/shm|/var)\S+", "…", text)


class Judge:
    """Compares cases one after another, in one server that is started again when it ends."""

    def __init__(self, folder, *, backends, load_timeout_s=20.0):
        self.folder = Path(folder)
        self.pool = self.folder / "pool"
        self.served = self.folder / "served"
        self.cases = self.folder / "cases"
        for each in (self.pool, self.served, self.cases):
            each.mkdir(parents=True)
        write_pool(self.pool)
        write_pool(self.served)
        self.server = VerdictServer(self.served, backends=backends, load_timeout_s=load_timeout_s)
        self._release = release(EMBEDDED_RELEASE)

    def __enter__(self):
        self._start()
        return self

    def __exit__(self, *_):
        self.server.stop()

    def compare(self, number, case):
        """Both verdicts on ``case``."""
        folder = self.cases / f"{number}"
        folder.mkdir()
        try:
            case.write(folder)
            found = self._foreseen(folder, case)
            verdict, flaky = self._ask(folder, case, is_foreseen=bool(found[0]))
            return Comparison(number, case, *found[:2], verdict, found[2], flaky)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self):
        self.server.start()
        for name in the_pool():
            verdict = self.server.verdict(name)
            if not verdict.loads:
                raise RuntimeError(f"the model {name} of the pool does not load: {verdict.words}")

    def _foreseen(self, folder, case):
        repository, pool = ModelRepository(folder), ModelRepository(self.pool)
        found = validate(repository, release=self._release, beside=pool)
        along = _loaded_along(folder, case.target)
        # A variant in configs/ is another configuration, for servers that are started with its name.
        about = [each for each in found if each.model in along and "/configs/" not in each.path]
        about = [each for each in about if not (_is_of_a_real_backend(each) and along[each.model] in STAND_INS)]
        codes = {each.code for each in about}
        messages = tuple(f"{each.code} {each.message} ({each.cause})" for each in about)
        return tuple(sorted(codes & _EMBEDDED_REFUSES)), tuple(sorted(codes & (_ERRORS - _EMBEDDED_REFUSES))), messages

    def _ask(self, folder, case, *, is_foreseen):
        """Triton's verdict; an end of the server that no rule foresaw is believed when it happens again."""
        self._move(folder, self.served)
        try:
            verdict = self._load(case)
            if verdict.outcome not in (CRASHES, HANGS) or is_foreseen:
                return verdict, ""
            again = self._load(case)
            return again, verdict.outcome if again.outcome != verdict.outcome else ""
        finally:
            self._move(self.served, folder, case.models)

    def _load(self, case):
        if not self.server.is_running():
            self.server.stop()
            self._start()
        verdict = self.server.verdict(case.target)
        if verdict.outcome in (CRASHES, HANGS):
            self.server.stop()
            return verdict
        for model in [case.target, *(model for model in case.models if model != case.target)]:
            self.server.unload(model)
        return verdict

    @staticmethod
    def _move(source, destination, names=None):
        for name in [entry.name for entry in source.iterdir()] if names is None else names:
            if (source / name).exists():
                (source / name).rename(destination / name)


def write_pool(folder):
    for draft in the_pool().values():
        for path, content in draft.written().items():
            place = folder / path
            if content is None:
                place.mkdir(parents=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)


def _is_of_a_real_backend(diagnostic):
    is_common = diagnostic.code == "CFG114" and diagnostic.message.endswith(_OF_THEIR_COMMON_CODE)
    return is_common or diagnostic.code.startswith(_OF_REAL_BACKENDS)


def _loaded_along(folder, model, seen=None):
    """The model and, for an ensemble, every model that is loaded with it; each with its backend as rules see it."""
    seen = {} if seen is None else seen
    if model in seen or not (folder / model).is_dir():
        return seen
    seen[model] = ""
    subject = RepositorySubject(ModelRepository(folder), release(EMBEDDED_RELEASE)).models.get(model)
    if subject is None or subject.config_error is not None:
        return seen
    seen[model] = subject.backend
    for step in subject.config.ensemble_steps:
        _loaded_along(folder, step.model_name, seen)
    return seen
