# SPDX-License-Identifier: Apache-2.0
"""What ``push``, ``pull`` and ``sync`` run and show alike."""

__all__ = ["run_pull", "run_push"]

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from repo_tool.workflows.pull_models import PullRequest
    from repo_tool.workflows.push_models import PushRequest
    from repo_tool.workflows.remote_transfers import ModelTransfer, Transfers

_STYLES = {"new": "green", "changed": "green", "unchanged": "dim", "ahead": "yellow", "removed": "red"}


def run_push(request: "PushRequest", *, as_json: bool) -> None:
    """Push, and show what became of each model."""
    from repo_tool.cli.console import ConsoleProgress
    from repo_tool.workflows.push_models import push

    transfers = push(request, ConsoleProgress(quiet=as_json))
    _show_transfers(transfers, as_json=as_json, only_tells=request.only_tells)


def run_pull(request: "PullRequest", *, as_json: bool) -> None:
    """Pull, and show what became of each model."""
    from repo_tool.cli.console import ConsoleProgress
    from repo_tool.workflows.pull_models import pull

    transfers = pull(request, ConsoleProgress(quiet=as_json))
    _show_transfers(transfers, as_json=as_json, only_tells=request.only_tells)


def _show_transfers(transfers: "Transfers", *, as_json: bool, only_tells: bool) -> None:
    """The models with what became of them, or would."""
    remote, models = transfers.remote, transfers.models
    if as_json:
        print(json.dumps({"remote": remote, "dry_run": only_tells, "models": [each.to_dict() for each in models]}))
        return
    from repo_tool.cli.console import console

    if any(each.state != "unchanged" for each in models):
        console().print(_table(models))
    console().print(f"{remote}: {_summary(models, only_tells=only_tells)}", markup=False, soft_wrap=True)


def _summary(models: "Sequence[ModelTransfer]", *, only_tells: bool) -> str:
    counts = Counter[str](each.state for each in models)
    told = ", ".join(f"{counts[state]} {state}" for state in _STYLES if counts[state]) or "no model"
    return told + ("; nothing has been done" if only_tells else "")


def _table(models: "Sequence[ModelTransfer]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from repo_tool.remotes.transfer import in_words

    table = Table("model", "", "versions", "files", "size", box=box.SIMPLE_HEAD, pad_edge=False)
    for each in models:
        if each.state != "unchanged":
            versions = ", ".join(map(str, each.versions)) or "-"
            size = in_words(each.bytes) if each.files else "-"
            state = Text(each.state, _STYLES[each.state])
            table.add_row(Text(each.model), state, versions, str(each.files or "-"), size)
    return table
