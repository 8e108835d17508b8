# SPDX-License-Identifier: Apache-2.0
"""Write the blocking side of ``repo_client`` from the async side: ``python clients/generate_sync.py [--check]``."""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import unasync

_PACKAGE = Path(__file__).parent / "repo_client"
_NAMES = {
    "aclosing": "closing",
    "AsyncAdmin": "Admin",
    "AsyncClient": "Client",
    "AsyncGrpcTransport": "GrpcTransport",
    "AsyncHttpExchange": "HttpExchange",
    "AsyncHttpTransport": "HttpTransport",
    "AsyncInMemoryTransport": "InMemoryTransport",
    "AsyncInfer": "Infer",
    "AsyncModel": "Model",
    "AsyncRecorder": "Recorder",
    "AsyncReplay": "Replay",
    "AsyncRetrying": "Retrying",
    "AsyncModelSequence": "ModelSequence",
    "AsyncSharedRegions": "SharedRegions",
    "AsyncTransport": "Transport",
    "AsyncTypedModel": "TypedModel",
    "AsyncTypedSequence": "TypedSequence",
    "_task_connection": "_thread_connection",
    "_task_grpc": "_thread_grpc",
    "_task_window": "_thread_window",
    "open_async_stream": "open_stream",
    "_async": "_sync",
    "asyncio": "time",
}
_SPDX = "# SPDX-License-Identifier: Apache-2.0\n"
_NOTICE = "# Generated from _async/{name} by clients/generate_sync.py: change that file, then run it.\n"


def generate() -> dict[str, str]:
    """The text of each file of the blocking side, by name."""
    with TemporaryDirectory() as folder:
        here, there = Path(folder, "_async"), Path(folder, "_sync")
        here.mkdir()
        for source in sorted(_PACKAGE.joinpath("_async").glob("*.py")):
            here.joinpath(source.name).write_text(_adapted(source), encoding="utf-8")
        rule = unasync.Rule(fromdir="/_async/", todir="/_sync/", additional_replacements=_NAMES)
        unasync.unasync_files([str(path) for path in here.iterdir()], [rule])
        # In this folder ruff cannot see that repo_client is ours.
        ours = "lint.isort.known-first-party=['repo_client']"
        _ruff("check", "--fix", "--quiet", "--select", "I,F401", "--config", ours, str(there))
        _ruff("format", "--quiet", str(there))
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(there.glob("*.py"))}


def _adapted(source: Path) -> str:
    if source.name == "__init__.py":
        return f'{_SPDX}"""The blocking side, generated from ``_async`` by ``clients/generate_sync.py``."""\n'
    text = source.read_text(encoding="utf-8")
    text = re.sub(r"\bAwaitable\[(\w+)\]", r"\1", text)  # what blocks returns the value itself
    for name, twin in _NAMES.items():
        text = text.replace(f"``{name}``", f"``{twin}``")
    return text.replace(_SPDX, _SPDX + _NOTICE.format(name=source.name), 1)


def _ruff(*arguments: str) -> None:
    configuration = str(_PACKAGE.parents[1] / "pyproject.toml")
    command = [sys.executable, "-m", "ruff", arguments[0], "--config", configuration, "--no-cache", *arguments[1:]]
    subprocess.run(command, check=True)  # noqa: S603  # our own interpreter and arguments


def stale() -> list[str]:
    """The names of the files that differ from what would be generated, or should not be there."""
    folder, wanted = _PACKAGE / "_sync", generate()
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def main() -> int:
    """Write the files, or with ``--check`` only name those that are stale."""
    if "--check" in sys.argv[1:]:
        names = stale()
        sys.stdout.writelines(f"stale: _sync/{name}\n" for name in names)
        return 1 if names else 0
    folder = _PACKAGE / "_sync"
    folder.mkdir(exist_ok=True)
    for name, text in generate().items():
        folder.joinpath(name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
