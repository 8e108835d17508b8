# SPDX-License-Identifier: Apache-2.0
"""Diagnostics as JUnit XML, for the test reports of CI systems: a suite for each model, a case for each finding."""

__all__ = ["render_junit"]

from collections.abc import Iterator
from itertools import chain
from xml.etree import ElementTree

from repo_tool.printable import printable, printable_lines
from repo_tool.rules.diagnostics import Diagnostic, Report
from repo_tool.rules.shown_paths import shown_path

_REPOSITORY = "(repository)"


def render_junit(report: Report, *, folder: str, strict: bool = False) -> str:
    """What counts as a finding fails, what is suppressed is skipped, the rest passes with its words as output.

    A model without any of them is one case that passes. ``folder`` is the repository as seen by the reader.
    """
    failing = set(report.findings(strict=strict))
    by_model: dict[str, list[Diagnostic]] = {name: [] for name in ("", *report.models)}
    for diagnostic in chain(report.diagnostics, report.suppressed):
        by_model.setdefault(diagnostic.model, []).append(diagnostic)
    root = ElementTree.Element("testsuites", name="repo-tool validate", time=f"{report.seconds:.3f}")
    for model, diagnostics in by_model.items():
        if model or diagnostics:
            cases = [_case(each, folder, report, is_failing=each in failing) for each in diagnostics]
            root.append(_suite(model, cases or [_clean(model)]))
    _count(root)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(model: str, cases: list[ElementTree.Element]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=printable(model) or _REPOSITORY)
    suite.extend(cases)
    _count(suite)
    return suite


def _count(element: ElementTree.Element) -> None:
    counts = {"tests": "testcase", "failures": "failure", "skipped": "skipped"}
    for attribute, tag in counts.items():
        element.set(attribute, str(len(list(element.iter(tag)))))
    element.set("errors", "0")


def _clean(model: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=printable(model), name="nothing found")


def _case(diagnostic: Diagnostic, folder: str, report: Report, *, is_failing: bool) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase",
        classname=printable(diagnostic.model) or _REPOSITORY,
        name=printable(" ".join(filter(None, (diagnostic.code, diagnostic.field)))),
        file=printable(shown_path(folder, diagnostic.path)),
    )
    if diagnostic.line is not None:
        case.set("line", str(diagnostic.line))
    words = "\n".join(_lines(diagnostic, folder, report))
    if diagnostic.suppression is not None:
        ElementTree.SubElement(case, "skipped", message=printable(f"suppressed: {diagnostic.suppression.reason}"))
    elif is_failing:
        message = printable(diagnostic.message)
        ElementTree.SubElement(case, "failure", message=message, type=diagnostic.code).text = words
    else:
        ElementTree.SubElement(case, "system-out").text = words
    return case


def _lines(diagnostic: Diagnostic, folder: str, report: Report) -> Iterator[str]:
    place = printable(shown_path(folder, diagnostic.path))
    where = f"{place}:{diagnostic.line}:{diagnostic.column}" if diagnostic.line is not None else place
    yield f"{where}: {diagnostic.code} {diagnostic.severity.value}: {printable(report.fact(diagnostic))}"
    for label, text in diagnostic.remarks:
        yield f"{label}: {printable_lines(text)}"
