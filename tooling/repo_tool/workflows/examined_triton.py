# SPDX-License-Identifier: Apache-2.0
"""The embedded Triton as ``doctor`` sees it: its binary, libraries and Python stub, a real start, and its CVEs."""

__all__ = ["examine_installation", "examine_start", "examine_vulnerabilities"]

import importlib.metadata
import json
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from repo_tool.errors import EnvironmentUnfitError, RepoToolError
from repo_tool.releases import first_release_with_all_fixes, known_releases, release
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.triton.installation import Installation, find_installation
from repo_tool.workflows.examination import Finding, bad, doubtful, good
from repo_tool.workflows.progress import Progress

_GRAVE = 9.0  # a CVSS base score
_ANSWER_S = 5.0


def examine_installation() -> Iterator[Finding]:
    """Whether there is a Triton that this environment can run, and all that its programs are linked with."""
    try:
        installation = find_installation()
    except RepoToolError as error:
        yield bad("Triton", error)
        return
    wheel = importlib.metadata.version("nvidia-pytriton")
    yield good("Triton", f"nvidia-pytriton {wheel}: {installation.server}")
    yield _libraries(installation)
    numpy = importlib.metadata.version("numpy")
    yield good("Python stub", f"Python {platform.python_version()} with numpy {numpy}: {installation.stub}")


def _libraries(installation: Installation) -> Finding:
    """What the loader does not find for the server and its stub."""
    missing = sorted(
        {name for program in (installation.server, installation.stub) for name in _missing(installation, program)}
    )
    if not missing:
        return good("libraries", "all are there that the server and its Python stub are linked with")
    return bad(
        "libraries",
        EnvironmentUnfitError(
            f"{', '.join(missing)} not found",
            cause="the server or its Python stub is linked with it",
            next_step="install the package of your system that brings it; python:3.11 images have them all",
        ),
    )


def _missing(installation: Installation, program: Path) -> list[str]:
    environment = {"LD_LIBRARY_PATH": installation.library_path(), "LD_TRACE_LOADED_OBJECTS": "1"}
    listed = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - a file of the wheel, which lists what it is linked with
    return [line.split()[0] for line in listed.stdout.splitlines() if line.endswith("not found")]


def examine_start(progress: Progress) -> tuple[list[Finding], str]:
    """A server that is started, asked who it is, and stopped; and its version, "" where it does not start."""
    with progress.step("starting Triton"), tempfile.TemporaryDirectory(prefix="repo-tool-doctor-") as empty:
        try:
            with EmbeddedServer(Path(empty), ServerOptions(graceful_stop_s=0)) as server:
                version = _version(server.http_url)
        except RepoToolError as error:
            return [bad("start", error)], ""
    return [good("start", f"Triton {version} starts, answers and stops")], version


def _version(address: str) -> str:
    with suppress(URLError, OSError, ValueError), urlopen(f"http://{address}/v2", timeout=_ANSWER_S) as reply:
        return str(json.load(reply).get("version", ""))
    return ""


def examine_vulnerabilities(version: str) -> Iterator[Finding]:
    """What is published about the embedded Triton."""
    name = next((each for each in known_releases() if release(each).triton_version == version), None)
    if name is None:
        return
    known = release(name).vulnerabilities
    if not known:
        yield good("known CVEs", f"Triton {version} ({name}) has none that is published")
        return
    grave = sum((each.score or 0.0) >= _GRAVE for each in known)
    yield doubtful(
        "known CVEs",
        f"Triton {version} ({name}) has {len(known)}, {grave} of CVSS {_GRAVE:.0f} or more: repo-tool release {name}",
        "let it listen on this machine alone, as it does by default; serve others with the gateway before it, or with "
        f"docker-compose.yml on {first_release_with_all_fixes()} or newer",
    )
