# SPDX-License-Identifier: Apache-2.0
"""The fenced blocks of a Markdown page, and running the page from top to bottom as a reader would."""

import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from repo_tool.triton.ports import free_ports
from support.command import environment

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PORTS = ("8000", "8001", "8002", "9000", "9001", "9002")  # those of the pages; each run takes free ones instead
_ASKING = ("call", "bench", "verify", "deploy")
_NOT_HERE = ("docker ", "source ")  # no Docker engine here; the tests run inside the environment already


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What a reader would type, without the comments behind it."""
        lines = [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        return [shlex.join(shlex.split(line, comments=True)) for line in lines] if self.language == "console" else []


def blocks(page: Path) -> list[Block]:
    """The page's blocks in order."""
    return [Block(language, text) for language, text in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def commands(page: Path) -> list[str]:
    """Every command that the page shows."""
    return [command for block in blocks(page) for command in block.commands]


class Reader:
    """Follows a page in ``folder``: runs its commands and Python blocks, keeps its servers running until the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[subprocess.Popen[str]] = []
        self._ports = dict(zip(_PORTS, map(str, free_ports(len(_PORTS))), strict=True))

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.send_signal(signal.SIGINT)
        for server in self._servers:
            assert server.wait(timeout=20) == 0

    def follow(self, page: Path) -> None:
        """Do everything that the page shows."""
        for block in blocks(page):
            for command in block.commands:
                self._type(command)
            if block.language == "python" and not self._save(block.text):
                self._check([sys.executable, "-c", self._on_own_ports(self._with_rows(block.text))])
            if block.language == "yaml":
                self._save(block.text)

    def _save(self, text: str) -> bool:
        """Whether it is a file that the page shows whole: a pipeline by its name, others by the path in line 1."""
        if name := re.match(r"name: (\w+)", text):
            (self._folder / f"{name[1]}.yaml").write_text(text)
            return True
        if path := re.match(r"# ([\w./-]+\.(?:yaml|py))\n", text):
            target = self._folder / path[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            return True
        return False

    def _on_own_ports(self, text: str) -> str:
        return re.sub(r"\b[89]00[0-2]\b", lambda port: self._ports[port[0]], text)

    @staticmethod
    def _with_rows(code: str) -> str:
        """README's snippet leaves the rows to the reader."""
        return "import numpy as np\nrows = np.zeros((2, 30), dtype=np.float32)\n" + code

    def _type(self, command: str) -> None:
        if command.startswith(_NOT_HERE) or command.startswith("make "):
            return
        arguments = shlex.split(self._on_own_ports(command))
        if arguments[0] == "repo-tool" and arguments[1] in _ASKING and not {"--server", "--serve"} & set(arguments):
            arguments += ["--server", f"grpc://127.0.0.1:{self._ports['8001']}"]
        if arguments[:2] == ["repo-tool", "serve"]:
            for option, port in zip(("--http-port", "--grpc-port", "--metrics-port"), _PORTS, strict=False):
                arguments += [] if option in arguments else [option, self._ports[port]]
            self._serve(arguments)
            return
        self._check([self._program(arguments[0]), *arguments[1:]])

    @staticmethod
    def _program(name: str) -> str:
        beside_python = Path(sys.executable).parent / name
        return str(beside_python) if beside_python.exists() else name

    def _check(self, arguments: list[str]) -> None:
        done = subprocess.run(
            arguments, cwd=self._folder, env=environment(), capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"

    def _serve(self, arguments: list[str]) -> None:
        """Start it, and go on when it says that everything is loaded."""
        server = subprocess.Popen(
            [self._program("repo-tool"), *arguments[1:]],
            cwd=self._folder,
            env=environment(PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._servers.append(server)
        said = []
        for line in server.stdout or []:
            said.append(line)
            if "Ctrl-C stops" in line:
                break
        assert server.poll() is None, "".join(said)
        assert "refused" not in "".join(said), "".join(said)
