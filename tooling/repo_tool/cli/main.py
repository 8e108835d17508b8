# SPDX-License-Identifier: Apache-2.0
"""The command ``repo-tool``: its commands, and what each kind of failure means to the shell."""

__all__ = ["app", "main"]

import errno
import os
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

import repo_tool
from repo_tool.cli.add_model import add_model
from repo_tool.cli.add_pipeline import add_pipeline
from repo_tool.cli.apply import apply
from repo_tool.cli.bench import bench
from repo_tool.cli.call import call
from repo_tool.cli.client import client
from repo_tool.cli.config import config
from repo_tool.cli.console import error_console, show_error
from repo_tool.cli.deploy import deploy
from repo_tool.cli.diff import diff
from repo_tool.cli.doctor import doctor
from repo_tool.cli.fsck import fsck
from repo_tool.cli.history import history
from repo_tool.cli.pipeline import pipeline
from repo_tool.cli.plan import plan
from repo_tool.cli.promote import promote
from repo_tool.cli.prune import prune
from repo_tool.cli.pull import pull
from repo_tool.cli.push import push
from repo_tool.cli.release import release
from repo_tool.cli.remove import remove
from repo_tool.cli.rollback import rollback
from repo_tool.cli.rule import rule
from repo_tool.cli.serve import serve
from repo_tool.cli.show import show
from repo_tool.cli.standard_error import unfailing
from repo_tool.cli.sync import sync
from repo_tool.cli.validate import validate
from repo_tool.cli.verify import verify
from repo_tool.cli.versions import versions
from repo_tool.errors import LoadRefusedError, ParityError, RepoToolError, RollOutError, UserMistakeError

EXIT_FINDINGS, EXIT_MISTAKE, EXIT_OURS, EXIT_INTERRUPTED, EXIT_UNREAD = 1, 2, 3, 130, 141
_TWICE_S = 0.3  # what comes sooner is the same signal
_EXIT_CODES: tuple[tuple[tuple[type[RepoToolError], ...], int], ...] = (
    ((ParityError, LoadRefusedError, RollOutError), EXIT_FINDINGS),
    ((UserMistakeError,), EXIT_MISTAKE),
)

app = typer.Typer(
    name="repo-tool",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"repo-tool {repo_tool.__version__}")
        raise typer.Exit


@app.callback()
def repo_tool_command(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Trained models into a proven NVIDIA Triton model repository: converted, served, called, measured, checked."""


app.command("add-model")(add_model)
app.command("add-pipeline")(add_pipeline)
app.add_typer(pipeline, name="pipeline")
app.command("serve")(serve)
app.command("deploy")(deploy)
app.command("call")(call)
app.add_typer(client, name="client")
app.command("bench")(bench)
app.command("show")(show)
app.command("versions")(versions)
app.command("promote")(promote)
app.command("rollback")(rollback)
app.command("remove")(remove)
app.command("prune")(prune)
app.command("history")(history)
app.command("config")(config)
app.command("verify")(verify)
app.command("fsck")(fsck)
app.command("validate")(validate)
app.command("release")(release)
app.command("rule")(rule)
app.command("plan")(plan)
app.command("apply")(apply)
app.command("diff")(diff)
app.command("push")(push)
app.command("pull")(pull)
app.command("sync")(sync)
app.command("doctor")(doctor)


def main() -> None:
    """Run the command line and leave with its exit code.

    0; 1 findings, a comparison that failed, a model that Triton refused; 2 a mistake of the person's; 3 what no person
    at the keyboard did wrong: a server or tool that failed, or a bug, which leaves a report; 128 and the number of the
    signal that ended it (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP, 141 a reader that closed standard output).
    """
    sys.stderr = unfailing(sys.stderr)
    if sys.stdout is None:  # `>&-`: there is nobody to tell
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 # for as long as the process lives
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP for us
            signal.signal(number, _terminate)
    sys.exit(_run())


def _terminate(number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes and a supervisor may send both
    signal.signal(signal.SIGTERM, partial(_terminate_at_once, time.monotonic()))
    raise SystemExit(128 + number)  # unwinds every with block: servers stop, workers end, staging folders go


def _terminate_at_once(first: float, number: int, _frame: FrameType | None) -> None:
    """End the orderly end, as a second Ctrl-C does; ``timeout`` sends each signal twice, to us and to our group."""
    if time.monotonic() - first > _TWICE_S:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)


def _run() -> int:
    try:
        return _called()
    except RepoToolError as error:
        show_error(error)
        _print_for_programs(error.to_dict())
        return next((code for kinds, code in _EXIT_CODES if isinstance(error, kinds)), EXIT_OURS)
    except (KeyboardInterrupt, typer.Abort):
        error_console().print("interrupted", style="yellow")
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 # whatever is left is a bug of ours, and must leave a report
        if (code := _usage_error(error)) is not None:
            return code
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            error_console().print("standard output cannot be written: no space is left", style="bold red", markup=False)
            _forget_standard_output()
        else:
            _report_bug(error)
        return EXIT_OURS


def _called() -> int:
    """The command's exit code: that of SIGPIPE where `| head` closed standard output before the command had ended."""
    try:
        code = int(app(standalone_mode=False) or 0)
    except BrokenPipeError:
        code = EXIT_UNREAD
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # for which Click leaves with 1: findings, to us
            raise
        code = EXIT_UNREAD
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_standard_output()
    return code


def _print_for_programs(error: dict[str, str]) -> None:
    """The error on standard output as well, where whoever asked for JSON reads it; an option may not have parsed."""
    words = " ".join(sys.argv[1:]).replace("=", " ")
    if "--json" in sys.argv[1:] or "--format json" in words:
        import json

        try:
            print(json.dumps(error, indent=2), flush=True)
        except BrokenPipeError:  # nobody reads it; the exit code still says whose the failure is
            _forget_standard_output()


def _forget_standard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage_error(error: Exception) -> int | None:
    """Show a wrong option or argument the way Typer does, and its exit code; None for any other failure."""
    show = getattr(error, "show", None)
    if show is None or not hasattr(error, "exit_code"):
        return None
    show()
    fact = str(getattr(error, "message", error))
    _print_for_programs({"error": type(error).__name__, "fact": fact, "cause": "", "next_step": "see --help"})
    return int(error.exit_code)


def _report_bug(error: Exception) -> None:
    import platform
    import traceback

    descriptor, path = tempfile.mkstemp(prefix="repo-tool-report-", suffix=".txt")
    os.close(descriptor)
    facts = f"repo-tool {repo_tool.__version__}, Python {platform.python_version()}, {platform.platform()}"
    command = " ".join(sys.argv[1:])
    Path(path).write_text(f"{facts}\nrepo-tool {command}\n\n{''.join(traceback.format_exception(error))}")
    out = error_console()
    out.print(f"bug in repo-tool: {type(error).__name__}: {error}", style="bold red", markup=False, soft_wrap=True)
    out.print(f"please attach {path} to a report", markup=False, soft_wrap=True)
    fact, next_step = f"bug in repo-tool: {error}", f"please attach {path} to a report"
    _print_for_programs({"error": type(error).__name__, "fact": fact, "cause": "", "next_step": next_step})


if __name__ == "__main__":
    main()
