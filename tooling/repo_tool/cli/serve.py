# SPDX-License-Identifier: Apache-2.0
"""``repo-tool serve``: a model repository on an embedded Triton, until Ctrl-C."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.service_log import LogFormat, ServiceLog

if TYPE_CHECKING:
    from rich.table import Table

    from repo_tool.triton import LoadOutcome
    from repo_tool.workflows.serve_repository import RepositoryService, ServeRequest

_LOG_POLL_S = 0.2
_STATES = {
    "READY": ("ready", "green"),
    "LOADING": ("still loading", "bold yellow"),
    "UNAVAILABLE": ("refused", "bold red"),
}

Port = typer.Option(min=0, max=65535, help="0 takes a free one.")


def serve(
    repository: Annotated[Path, typer.Argument(help="The model repository.")] = Path("model_repository"),
    http_port: Annotated[int, Port] = 8000,
    grpc_port: Annotated[int, Port] = 8001,
    metrics_port: Annotated[int, Port] = 8002,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Load this one and what it calls; repeatable.")
    ] = None,
    model_config_name: Annotated[
        str,
        typer.Option(help="Read configs/NAME.pbtxt of each model in place of config.pbtxt, e.g. cpu.", metavar="NAME"),
    ] = "",
    shared_memory: Annotated[
        bool,
        typer.Option(
            "--shared-memory",
            help="Let clients on this machine send large tensors through memory that they share with the server; any "
            "program here that reaches the server can then end it.",
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the repository: roll out what is published while it is served.")
    ] = False,
    promote: Annotated[
        str,
        typer.Option(
            help="With --watch: let this label point at each new version once that is proven.",
            metavar="LABEL",
        ),
    ] = "",
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine reach any but a loopback address.")
    ] = "127.0.0.1",
    accept_known_cves: Annotated[
        bool,
        typer.Option("--accept-known-cves", help="Listen where others reach a Triton with known vulnerabilities."),
    ] = False,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for requests in flight when it is asked to end.", metavar="SECONDS")
    ] = 30.0,
    hang_after: Annotated[
        float,
        typer.Option(
            min=0,
            help="Load a model again that for so long neither answers the requests that wait for it nor computes; "
            "0: never.",
            metavar="SECONDS",
        ),
    ] = 60.0,
    log_format: Annotated[
        LogFormat, typer.Option(help="How events and the server's log are written to standard error.")
    ] = LogFormat.TEXT,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the server's whole log, not its errors.")
    ] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Serve on when no model is ready.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object once the models are loaded.")] = False,
) -> None:
    """Serve a model repository on this machine with a real Triton, reachable from this machine only.

    Each model is loaded by itself: one that Triton refuses is named with the reason, and the others serve. One that
    is still loading after 30 seconds is named too, and once more when it has come to an end. A model or a server that
    dies while it serves is started again. With --watch a published version is loaded beside the one that serves and
    takes its place once it has given the published answers; one that does not changes nothing.
    Ctrl-C stops the server; the exit code is 1 when a model was refused, and at once when none is ready.

    **Example:**

        repo-tool serve model_repository --watch --promote stable
    """
    from repo_tool.triton import ServerOptions
    from repo_tool.workflows.serve_repository import ServeRequest

    options = ServerOptions(
        host=host,
        accept_known_cves=accept_known_cves,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        graceful_stop_s=grace,
        open_model_control=False,
        shared_memory=shared_memory,
        model_config_name=model_config_name,
    )
    request = ServeRequest(
        repository=repository,
        options=options,
        models=tuple(model) if model is not None else None,
        follow=watch,
        label=_label(promote, watch=watch),
        hang_after_s=hang_after or None,
    )
    if not stay:
        _refuse_emptiness(repository)
    _tell_who_lacks(repository, model_config_name, model)
    with ServiceLog(log_format, verbose=verbose) as log:
        told = _served(request, log, as_json=as_json, stay=stay)
    if not all(outcome.is_ready for outcome in {outcome.model: outcome for outcome in told}.values()):
        raise typer.Exit(1)


def _served(request: "ServeRequest", log: ServiceLog, *, as_json: bool, stay: bool) -> "list[LoadOutcome]":
    """Serve until it is asked to end; what became of each model, of one that was still loading once more."""
    from repo_tool.cli.console import error_console
    from repo_tool.workflows.serve_repository import RepositoryService

    told: list[LoadOutcome] = []
    with (
        error_console().status("starting Triton …") as status,
        RepositoryService(request, on_event=log.tell) as service,
    ):
        status.update("loading the models …")
        started = time.monotonic()
        outcomes = service.load(on_outcome=told.append)
        status.stop()
        serves = stay or any(outcome.is_ready or outcome.is_loading for outcome in outcomes)
        try:
            _show(service, outcomes, seconds=time.monotonic() - started, as_json=as_json, serves=serves)
            if serves:
                _serve_until_interrupted(service, log, tell=_teller(told, outcomes, as_json=as_json))
        except KeyboardInterrupt:
            log.remark(f"stopping within {request.options.graceful_stop_s:g} s …  Ctrl-C once more stops at once")
    return told


def _label(promote: str, *, watch: bool) -> str | None:
    from repo_tool.errors import UserMistakeError
    from repo_tool.repository.labels import check_label

    if promote and not watch:
        raise UserMistakeError(
            f"'{promote}' cannot follow what is rolled out",
            cause="nothing is rolled out while the repository is not watched",
            next_step="add --watch",
        )
    return check_label(promote) if promote else None


def _tell_who_lacks(repository: Path, variant: str, models: "Sequence[str] | None") -> None:
    """Name the models without ``configs/VARIANT.pbtxt``: Triton says nothing and reads their config.pbtxt."""
    from repo_tool.cli.console import error_console
    from repo_tool.repository.layout import ModelRepository

    if not variant:
        return
    served = [model for model in ModelRepository(repository).models() if models is None or model.name in models]
    lacking = [model.name for model in served if not model.variant_path(variant).is_file()]
    if lacking:
        words = f"without configs/{variant}.pbtxt, served by config.pbtxt: {', '.join(lacking)}"
        error_console().print(words, style="yellow", markup=False, soft_wrap=True)


def _refuse_emptiness(repository: Path) -> None:
    from repo_tool.errors import RepositoryError
    from repo_tool.repository.layout import ModelRepository

    if not any(ModelRepository(repository).models()):
        raise RepositoryError(
            f"'{repository}' holds no model",
            cause="there is nothing to serve",
            next_step="repo-tool add-model puts one there; --stay serves on without any",
        )


def _teller(told: "Sequence[LoadOutcome]", shown: "Sequence[LoadOutcome]", *, as_json: bool) -> Callable[[], None]:
    """A function that shows what became of the models ``shown`` as still loading; ``told`` grows meanwhile."""
    from rich.text import Text

    from repo_tool.cli.console import console, error_console

    loading = {outcome.model for outcome in shown if outcome.is_loading}

    def tell() -> None:
        for outcome in tuple(told):
            if outcome.model in loading and not outcome.is_loading:
                loading.remove(outcome.model)
                words = f"ready after {outcome.seconds:.1f} s" if outcome.is_ready else outcome.reason
                line = Text.assemble((outcome.model, "green" if outcome.is_ready else "bold red"), f": {words}")
                (error_console() if as_json else console()).print(line, soft_wrap=True)

    return tell


def _show(
    service: "RepositoryService", outcomes: "Sequence[LoadOutcome]", *, seconds: float, as_json: bool, serves: bool
) -> None:
    from repo_tool.cli.console import console, error_console
    from repo_tool.triton.exposure import open_to_others

    server = service.server
    if exposed := open_to_others(server.options):
        error_console().print(f"other machines reach this server: {exposed}", style="bold yellow", soft_wrap=True)
    if as_json:
        told = {key: value for key, value in service.started.to_dict().items() if key != "event"}
        print(json.dumps(told | {"models": [outcome.to_dict() for outcome in outcomes]}), flush=True)
        return
    ready = sum(outcome.is_ready for outcome in outcomes)
    out = console()
    if outcomes:
        out.print(_table(outcomes))
        _print_reasons(outcomes)
    out.print(f"{ready} of {len(outcomes)} models ready after {seconds:.1f} s")
    if not serves:
        out.print("no model is ready, so there is nothing to serve; --stay serves on without any", style="yellow")
        return
    out.print(f"HTTP {server.http_url}   gRPC {server.grpc_url}   metrics {server.metrics_url}", soft_wrap=True)
    out.print("Ctrl-C stops", style="dim")


def _print_reasons(outcomes: "Sequence[LoadOutcome]") -> None:
    from rich.text import Text

    from repo_tool.cli.console import console

    for outcome in outcomes:
        if not outcome.is_ready:
            console().print(Text.assemble((outcome.model, "bold red"), f": {outcome.reason}\n"), soft_wrap=True)


def _table(outcomes: "Sequence[LoadOutcome]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("model", "version", "state", "load time", box=box.SIMPLE_HEAD, pad_edge=False)
    for outcome in outcomes:
        state = Text(*_STATES[outcome.state])
        table.add_row(Text(outcome.model), ", ".join(outcome.versions) or "-", state, f"{outcome.seconds:.2f} s")
    return table


def _serve_until_interrupted(service: "RepositoryService", log: ServiceLog, *, tell: Callable[[], None]) -> None:
    """Show the log as it grows: all of it from the start, or the errors from now on.

    Raises:
        ServerStartError: the server ended, and was of no use when it was started again.
    """
    if not log.is_verbose:
        service.skip_log()
    while True:
        service.raise_if_ended()
        tell()
        for line in service.log_lines():
            log.show(line)
        time.sleep(_LOG_POLL_S)
