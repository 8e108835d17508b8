# SPDX-License-Identifier: Apache-2.0
"""What ``repo-tool validate`` shows and writes."""

__all__ = ["ValidateOutput"]

import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from repo_tool.cli.console import console, error_console
from repo_tool.errors import UserMistakeError
from repo_tool.printable import printable
from repo_tool.rules.shown_paths import seen_from, source_root

if TYPE_CHECKING:
    from repo_tool.config.explain import ModelExplanation, TensorExplanation
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.rules import Diagnostic, Report
    from repo_tool.workflows.fix_repository import Fixes
    from repo_tool.workflows.live_verdicts import LiveVerdict
    from repo_tool.workflows.validate_repository import Validated

_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
_FOR_PEOPLE = ("text", "json")


class ValidateOutput:
    """Writes findings in one format to the terminal, or to ``output`` with a summary on the terminal."""

    def __init__(
        self, repositories: "Sequence[ModelRepository]", output_format: str, *, output: Path | None, explains: bool
    ) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a letter gets its number
                stream.reconfigure(errors="backslashreplace")
        if explains and output_format not in _FOR_PEOPLE:
            raise UserMistakeError(
                f"--explain has no place in {output_format}",
                cause="that format only knows findings",
                next_step="use --format text or --format json",
            )
        self._repositories = repositories
        self._format = output_format
        self._output = output
        self._explains = explains
        self._mended: Sequence[Diagnostic] | None = None  # None: nobody asked for fixes

    @property
    def _is_for_several(self) -> bool:
        return len(self._repositories) > 1

    def write_diff(self, fixes: "Mapping[ModelRepository, Fixes]") -> int:
        """Show what would be mended, and tell the exit code: 1 if that is anything."""
        diff = self._show_diff(fixes)
        error_console().print(_mended_words(self._all_mended(fixes), "would be fixed"), markup=False)
        return 1 if diff else 0

    def write_fixes(self, fixes: "Mapping[ModelRepository, Fixes]") -> None:
        """Show what has been mended, where the findings leave room for it."""
        self._mended = self._all_mended(fixes)
        if self._format == "text":
            self._show_diff(fixes)
        error_console().print(_mended_words(self._mended, "fixed"), markup=False)

    def _show_diff(self, fixes: "Mapping[ModelRepository, Fixes]") -> str:
        from repo_tool.cli.diff_output import print_diff

        folders = self._folders(lambda _: Path.cwd()) if self._is_for_several else {"": ""}
        diff = "".join(each.diff_below(folders[self._name(repository)]) for repository, each in fixes.items())
        print_diff(diff)
        return diff

    def _all_mended(self, fixes: "Mapping[ModelRepository, Fixes]") -> "list[Diagnostic]":
        return [
            replace(diagnostic, repository=self._name(repository))
            for repository, each in fixes.items()
            for diagnostic in each.mended
        ]

    def _name(self, repository: "ModelRepository") -> str:
        """What findings call a repository: nothing where there is only one."""
        return str(repository.path) if self._is_for_several else ""

    def _folders(self, start: Callable[[Path], Path]) -> dict[str, str]:
        """The folder of each repository as seen from where ``start`` says for it, by its name."""
        paths = {self._name(repository): repository.path for repository in self._repositories}
        return {name: seen_from(start(path), path) for name, path in paths.items()}

    def _located(self, report: "Report", start: Callable[[Path], Path]) -> "tuple[Report, str]":
        """A report and the folder that its paths begin in: that of the only repository, or none with whole paths."""
        from repo_tool.rules.joining import with_whole_paths

        folders = self._folders(start)
        return (with_whole_paths(report, folders), "") if self._is_for_several else (report, folders[""])

    def write(self, validated: "Validated") -> None:
        """Show or write everything.

        Raises:
            UserMistakeError: the file cannot be written.
        """
        document = self._document(validated)
        if self._output is not None:
            self._save(self._output, document)
        else:
            sys.stdout.write(document)
        if self._output is not None or self._format == "text":
            self._close(validated)
        elif self._format != "json":  # which has the server's words in it
            sys.stderr.writelines(f"{line}\n" for line in _verdict_lines(validated))

    def _close(self, validated: "Validated") -> None:
        """What stands below the findings: the server's words, the explanations, and how many there were."""
        from repo_tool.rules.render_text import summary

        print(*_verdict_lines(validated), sep="\n", end="\n" if validated.verdicts else "")
        if self._format == "text" and self._explains:
            self._show_explanations(validated)
        first = next(iter(validated.report.diagnostics), None)
        if first is not None and self._is_screen:
            print(_style(f"repo-tool rule {first.code} explains a rule", "label"))
        print(summary(validated.report) + _live_summary(validated.verdicts or ()))

    @property
    def _is_screen(self) -> bool:
        return self._output is None and console().is_terminal

    @staticmethod
    def _save(path: Path, document: str) -> None:
        try:
            path.write_text(document, encoding="utf-8")
        except OSError as error:
            raise UserMistakeError(
                f"'{path}' cannot be written", cause=error.strerror or str(error), next_step="choose another --output"
            ) from error

    def _document(self, validated: "Validated") -> str:
        return {
            "text": self._text,
            "json": self._json,
            "sarif": self._sarif,
            "junit": self._junit,
            "github": self._github,
        }[self._format](validated)

    def _text(self, validated: "Validated") -> str:
        from repo_tool.rules.excerpts import SourceLines
        from repo_tool.rules.render_text import plain, render_text

        report, folder = self._located(validated.report, lambda _: Path.cwd())
        return render_text(
            report,
            folder=folder,
            sources=SourceLines(Path.cwd() if self._is_for_several else self._repositories[0].path),
            width=console().width if self._is_screen else None,
            style=_style if self._is_screen else plain,
        )

    def _json(self, validated: "Validated") -> str:
        from repo_tool.rules import render_json
        from repo_tool.workflows.validate_repository import explanations

        more: dict[str, Any] = {}
        if self._mended is not None:
            more["fixed"] = [diagnostic.to_dict() for diagnostic in self._mended]
        if validated.verdicts is not None:
            more["live"] = [
                verdict.to_dict() | {"file": str(validated.evidence.get(verdict.model, ""))}
                for verdict in validated.verdicts
            ]
        if self._explains:
            more["explain"] = [
                (where | each.to_dict())
                for repository in self._repositories
                for where in ({"repository": str(repository.path)} if self._is_for_several else {},)
                for each in explanations(repository, validated.report.models)
            ]
        return render_json(validated.report, more=more) + "\n"

    def _sarif(self, validated: "Validated") -> str:
        import repo_tool
        from repo_tool.rules.render_sarif import render_sarif

        version = repo_tool.__version__
        report, folder = self._located(validated.report, source_root)
        return render_sarif(report, rules=validated.rules, folder=folder, version=version) + "\n"

    def _junit(self, validated: "Validated") -> str:
        from repo_tool.rules.render_junit import render_junit

        report, folder = self._located(validated.report, source_root)
        return render_junit(report, folder=folder, strict=validated.is_strict)

    def _github(self, validated: "Validated") -> str:
        from repo_tool.rules.render_github import render_github

        report, folder = self._located(validated.report, source_root)
        return render_github(report, folder=folder)

    def _show_explanations(self, validated: "Validated") -> None:
        from repo_tool.workflows.validate_repository import explanations

        for repository in self._repositories:
            if self._is_for_several:
                console().print(f"{printable(str(repository.path))}:\n", markup=False)
            for explanation in explanations(repository, validated.report.models):
                _show_explanation(explanation)


def _mended_words(mended: "Sequence[Diagnostic]", done: str) -> str:
    """How many findings were fixed, with their rules."""
    if not mended:
        return f"nothing {done}"
    codes = ", ".join(sorted({diagnostic.code for diagnostic in mended}))
    return f"{len(mended)} finding{'' if len(mended) == 1 else 's'} {done}: {codes}"


def _show_explanation(explanation: "ModelExplanation") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(printable(explanation.model)), title_justify="left", title_style="bold")
    for heading in ("", "tensor", "datatype", "shape"):
        table.add_column(heading, overflow="fold")
    rows = (*explanation.sends, *explanation.gets, *explanation.fills)
    if any(tensor.remarks for tensor in rows):
        table.add_column("")
    for kind, tensors in (("send", explanation.sends), ("get", explanation.gets), ("Triton", explanation.fills)):
        for tensor in tensors:
            table.add_row(kind, *map(escape, _cells(tensor, len(table.columns) - 1)))
    console().print(table)
    for remark in explanation.remarks:
        console().print(f"{printable(remark)}", markup=False)
    console().print()


def _cells(tensor: "TensorExplanation", count: int) -> Iterator[str]:
    cells = (tensor.name, tensor.datatype, tensor.shape, "; ".join(tensor.remarks))
    return map(printable, cells[:count])


def _live_summary(verdicts: "tuple[LiveVerdict, ...]") -> str:
    refused = sum(bool(verdict.refusal or verdict.refusal_together) for verdict in verdicts)
    disagreements = sum(verdict.is_disagreement for verdict in verdicts)
    counted = f"; Triton refused {refused} of {len(verdicts)}" if refused else ""
    return counted + (f", {disagreements} not as the rules foresaw" if disagreements else "")


def _verdict_lines(validated: "Validated") -> Iterator[str]:
    for verdict in validated.verdicts or ():
        yield _verdict_line(verdict)
        if verdict.is_disagreement:
            why = "the rules foresaw a refusal" if verdict.codes else "no rule foresaw it"
            file = validated.evidence.get(verdict.model)
            attach = f": please report it and attach {file}" if file else ": please report it"
            yield f"  {_style(f'DISAGREEMENT: {why}', 'error')}{attach}"


def _verdict_line(verdict: "LiveVerdict") -> str:
    together = f"loads alone, refused beside the others: {verdict.refusal_together}" if verdict.refusal_together else ""
    words = f"refused: {verdict.refusal}" if verdict.refusal else together or "loads"
    codes = f"  [{', '.join(verdict.codes)}]" if verdict.codes else ""
    limit = "  (a limit of the embedded Triton; a GPU server may load it)" if verdict.is_embedded_limit else ""
    model = "/".join(filter(None, (verdict.repository, verdict.model)))
    return f"{_style(f'live {printable(model)}', 'place')}: {printable(words)}{codes}{limit}"


def _style(text: str, part: str) -> str:
    if not console().is_terminal or console().no_color or error_console().no_color:
        return text
    return typer.style(text, fg=_COLOURS.get(part), bold=part in ("place", *_COLOURS), dim=part == "label")
