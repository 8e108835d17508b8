# SPDX-License-Identifier: Apache-2.0
"""``repo-tool release``."""

__all__ = ["release"]

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from repo_tool.releases import Release


def _complete_release(incomplete: str) -> list[str]:
    from repo_tool.releases import known_releases

    return [name for name in known_releases() if name.startswith(incomplete)]


def release(
    name: Annotated[
        str | None, typer.Argument(help="A release, e.g. 26.07; without it, all.", autocompletion=_complete_release)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: an object, for all releases an array of them.")
    ] = False,
) -> None:
    """Show what a Triton release can load, and which published vulnerabilities it has.

    **Example:**

        repo-tool release 24.10
    """
    from repo_tool.releases import known_releases
    from repo_tool.releases import release as find_release

    found = [find_release(each) for each in ([name] if name else known_releases())]
    if as_json:
        import json

        facts = [_facts(each) for each in found]
        print(json.dumps(facts[0] if name else facts, indent=2))
    elif name:
        _show(found[0])
    else:
        _show_all(found)


def _facts(each: "Release") -> dict[str, Any]:
    from dataclasses import asdict

    listed = {"backends": sorted(each.backends), "unknown_config_fields": sorted(each.unknown_config_fields)}
    return asdict(each) | listed


def _show(each: "Release") -> None:
    from repo_tool.cli.console import console

    facts = {
        "Triton": each.triton_version,
        "ONNX Runtime": each.onnxruntime_version or "not in the image",
        "ONNX": f"IR {each.max_onnx_ir}, ai.onnx {each.max_onnx_opset}, ai.onnx.ml {each.max_ml_opset}"
        if each.onnxruntime_version
        else "none",
        "Python": f"{each.python_version} (of the python backend)",
        "Backends": ", ".join(sorted(each.backends)),
        "Unknown fields": ", ".join(sorted(each.unknown_config_fields)) or "none: it knows every field there is",
    }
    for label, words in facts.items():
        console().print(f"{label + ':':<16}{words}", markup=False, highlight=False, soft_wrap=True)
    _show_vulnerabilities(each)


def _show_vulnerabilities(each: "Release") -> None:
    from rich.table import Table

    from repo_tool.cli.console import console

    if not each.vulnerabilities:
        console().print("Vulnerabilities: none that was published", markup=False)
        return
    table = Table(title=f"{len(each.vulnerabilities)} published vulnerabilities", title_justify="left")
    for heading in ("CVE", "CVSS", "fixed in", "part", "what"):
        table.add_column(heading, overflow="fold")
    for found in each.vulnerabilities:
        score = f"{found.score:g}" if found.score else ""
        table.add_row(found.cve, score, found.fixed, found.component, found.what)
    console().print(table)


def _show_all(found: "list[Release]") -> None:
    from rich.table import Table

    from repo_tool.cli.console import console

    table = Table()
    for heading in ("release", "Triton", "ONNX Runtime", "IR", "ai.onnx", "Python", "CVEs", "without"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("IR", "ai.onnx", "CVEs") else "left")
    every = frozenset[str]().union(*(each.backends for each in found))
    for each in found:
        onnx = [str(fact or "-") for fact in (each.onnxruntime_version, each.max_onnx_ir, each.max_onnx_opset)]
        gone = ", ".join(sorted(every - each.backends))
        table.add_row(each.name, each.triton_version, *onnx, each.python_version, str(len(each.vulnerabilities)), gone)
    console().print(table)
