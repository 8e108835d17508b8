# SPDX-License-Identifier: Apache-2.0
"""Mend what the rules know how to mend: each fix is held to the rules before anything is written."""

__all__ = ["Fixes", "apply_fixes", "find_fixes", "fix_repositories"]

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from repo_tool.config.edit import remove_field, set_field
from repo_tool.errors import ConfigError
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import rewrite
from repo_tool.rules import Diagnostic, Report, Severity
from repo_tool.rules.fixes import CreateFolder, Drafts, RemoveField, SetField
from repo_tool.rules.shown_paths import shown_path
from repo_tool.workflows.edit_config import unified_diff
from repo_tool.workflows.new_findings import beyond, excused
from repo_tool.workflows.settings import ValidateSettings
from repo_tool.workflows.validate_repository import validate_repository

# One fix may lay bare another, e.g. an entry of an ensemble's map that only a removed one needed.
_MOST_ROUNDS = 10

_Judge = Callable[[Drafts], Report]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixes:
    """What can be mended: files before and after, folders to make, and the diagnostics that are gone then."""

    texts: dict[str, tuple[str, str]] = field(default_factory=dict)  # by path in the repository: before, after
    folders: tuple[str, ...] = ()
    mended: tuple[Diagnostic, ...] = ()

    @property
    def diff(self) -> str:
        """All changes as a unified diff, ready for ``patch`` in the repository; folders by the file they get."""
        return self.diff_below("")

    def diff_below(self, folder: str) -> str:
        """The same with paths that begin with ``folder``, which is the repository."""
        changed = (unified_diff(shown_path(folder, path), *self.texts[path]) for path in sorted(self.texts))
        added = (_new_file(f"{shown_path(folder, path)}/.gitkeep") for path in sorted(self.folders))
        return "".join((*changed, *added))


def _new_file(path: str) -> str:
    """An empty file as git shows it; ``patch`` passes over it."""
    return f"diff --git a/{path} b/{path}\nnew file mode 100644\n"


def find_fixes(
    repository: ModelRepository, settings: ValidateSettings, *, models: Collection[str] | None = None
) -> Fixes:
    """The safe fixes for what the rules find in ``models``; nothing is written.

    A fix is kept when its diagnostic is gone with it, no error has come that was not there, and no comment has come to
    suppress anything more.

    Raises:
        RepositoryError: the repository is no folder, or has no such model.
        UserMistakeError: there is no such rule or release.
    """

    def judge(drafts: Drafts) -> Report:
        return validate_repository(repository, settings, drafts=drafts).report

    found = _Mending(repository, judge, models)
    while found.goes_on():
        pass
    return found.fixes()


def apply_fixes(repository: ModelRepository, fixes: Fixes) -> None:
    """Write what ``find_fixes`` found.

    Raises:
        RepositoryError: a file has changed meanwhile, is a link, or cannot be written.
        NoSpaceError: the disk is full.
    """
    rewrite(repository, fixes.texts, folders=fixes.folders)


def fix_repositories(
    repositories: Sequence[ModelRepository],
    settings: ValidateSettings,
    *,
    models: Collection[str] | None = None,
    write: bool,
) -> dict[ModelRepository, Fixes]:
    """The fixes for each of the repositories that one server is given; ``write`` applies them.

    Raises:
        RepositoryError: as ``find_fixes`` and ``apply_fixes``.
        UserMistakeError: there is no such rule or release.
        NoSpaceError: the disk is full.
    """
    fixes = {}
    for repository in repositories:
        fixes[repository] = find_fixes(repository, settings, models=models)
        if write:
            apply_fixes(repository, fixes[repository])
    return fixes


class _Mending:
    """Rounds of fixes, each on the drafts of those before."""

    def __init__(self, repository: ModelRepository, judge: _Judge, models: Collection[str] | None) -> None:
        self._repository = repository
        self._judge = judge
        self._models = models
        self._read: dict[str, str | None] = {}  # None: it cannot be edited
        self._drafts = Drafts()
        self._report = judge(self._drafts)
        self._mended: list[Diagnostic] = []
        self._hopeless: set[Diagnostic] = set()
        self._rounds = 0

    def goes_on(self) -> bool:
        """Mend what can be mended now; False when that was nothing."""
        self._rounds += 1
        waiting = [each for each in self._report.diagnostics if self._is_fixable(each)]
        if not waiting or self._rounds > _MOST_ROUNDS:
            return False
        if not self._try(waiting):  # one of them does harm
            for model in dict.fromkeys(each.model for each in waiting):
                self._mend([each for each in waiting if each.model == model])
        return True

    def _mend(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Keep the edits of all that do no harm."""
        if self._try(diagnostics):
            return
        for diagnostic in diagnostics:
            if not self._try([diagnostic]):
                self._hopeless.add(diagnostic)

    def fixes(self) -> Fixes:
        """All that was kept."""
        texts = {path: (self._original(path), text) for path, text in self._drafts.texts.items()}
        return Fixes(
            texts={path: pair for path, pair in texts.items() if pair[0] != pair[1]},
            folders=self._drafts.folders,
            mended=tuple(self._mended),
        )

    def _is_fixable(self, diagnostic: Diagnostic) -> bool:
        is_wanted = self._models is None or diagnostic.model in self._models
        return bool(diagnostic.edits) and is_wanted and diagnostic not in self._hopeless

    def _try(self, diagnostics: Sequence[Diagnostic]) -> bool:
        """Keep the edits of all ``diagnostics`` if they are gone then, and nothing worse has come."""
        # From the end of a file on, so that the index of a value that is removed means the same to those before it.
        drafts = self._drafts
        edited: list[Diagnostic] = []
        for diagnostic in reversed(diagnostics):
            amended = self._amended(drafts, diagnostic)
            if amended is not None:
                drafts = amended
                edited.append(diagnostic)
        if not edited:
            return False
        report = self._judge(drafts)
        new = [each for each in beyond(report, self._report) if each.severity is Severity.ERROR]
        if new or _remain(edited, report) or excused(report) - excused(self._report):
            return False
        self._drafts, self._report = drafts, report
        self._mended += reversed(edited)
        return True

    def _amended(self, drafts: Drafts, diagnostic: Diagnostic) -> Drafts | None:
        """The drafts with the edits of one diagnostic; None where one of them cannot be made."""
        path = diagnostic.path if diagnostic.path.endswith(".pbtxt") else f"{diagnostic.model}/config.pbtxt"
        for edit in diagnostic.edits:
            if isinstance(edit, CreateFolder):
                folder = f"{diagnostic.model}/{edit.path}"
                drafts = replace(drafts, folders=tuple(dict.fromkeys((*drafts.folders, folder))))
                continue
            text = drafts.texts[path] if path in drafts.texts else self._text(path)
            if text is None:
                return None
            try:
                drafts = replace(drafts, texts={**drafts.texts, path: _edited(text, edit)})
            except ConfigError:
                return None
        return drafts

    def _text(self, path: str) -> str | None:
        """What a file says; None where it cannot be edited."""
        if path not in self._read:
            file = self._repository.path / path
            try:
                self._read[path] = None if file.is_symlink() else file.read_bytes().decode("utf-8")
            except (OSError, UnicodeDecodeError):
                self._read[path] = None
        return self._read[path]

    def _original(self, path: str) -> str:
        return self._text(path) or ""


def _edited(text: str, edit: SetField | RemoveField) -> str:
    return set_field(text, edit.path, edit.value) if isinstance(edit, SetField) else remove_field(text, edit.path)


def _remain(mended: Iterable[Diagnostic], report: Report) -> bool:
    """Whether any of the diagnostics that should be gone is still told, wherever it lies now."""
    left = {(each.code, each.model, each.message) for each in report.diagnostics}
    return any((each.code, each.model, each.message) in left for each in mended)
