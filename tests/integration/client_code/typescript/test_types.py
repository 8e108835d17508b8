# SPDX-License-Identifier: Apache-2.0
"""What tsc says of generated files, of right calls, and of wrong ones."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow

RIGHT = """
import * as odd from "./odd.ts";
import { BreastCancer, Client, DigitsReader, RepoClientError, Tensor, Wine } from "./demo.ts";
import type { WineLabel } from "./demo.ts";

const client = new Client("http://localhost:8000", { token: () => "t", timeoutMs: 5000, headers: { a: "b" } });
const wine = new Wine(client);
const cancer = new BreastCancer(client, { version: 1 });
const reader = new DigitsReader(client);
const kinds = new odd.Kinds(client as unknown as odd.Client);
const whole = new odd.Whole(client as unknown as odd.Client);
const tokens = new odd.Tokens(client as unknown as odd.Client);
const counter = new odd.Counter(client as unknown as odd.Client);
const singles = new odd.Singles(client as unknown as odd.Client);
const places = new odd.Places(client as unknown as odd.Client);
const row = { measurements: new Float32Array(13) };
"""
RIGHT_CALLS = """
export async function calls(signal: AbortSignal, maybe: number | undefined): Promise<void> {
  const one = await wine.predict({ measurements: [1, 2, 3] }, { signal, timeoutMs: maybe });
  const word: "barolo" | "grignolino" | "barbera" = one.probabilities_label;
  const cultivar: bigint = one.cultivar;
  const likeliest: number | undefined = one.probabilities[0];
  const many = await wine.predictBatch({ measurements: [[1, 2], [3, 4]] });
  const all: Tensor<Float32Array> = many.probabilities;
  const words: readonly WineLabel[] = many.probabilities_labels;
  for await (const each of wine.predictMany([row], { maxInFlight: 2 })) each.cultivar;
  for await (const each of wine.predictMany([row], { errors: "return" })) {
    if (each instanceof RepoClientError) each.hint; else each.cultivar;
  }
  const digit: "zero" | "one" | "two" | "three" | "four" | "five" | "six" | "seven" | "eight" | "nine" =
    (await reader.predict({ image: new Uint8Array(4) })).label;
  const text: string = (await whole.predict({ matrix: [[1]], factor: maybe })).class;
  const raw = new odd.Whole(whole.client, { bytes: (bytes) => bytes });
  const bytes: Uint8Array = (await raw.predict({ matrix: new odd.Tensor(new Float32Array(2), [1, 2]) })).class;
  for await (const { text, index } of tokens.predict({ prompt: "a", count: 1, weights: [1] })) [text, index];
  const total: number = (await counter.sequence().predict({ amount: 1 }, { last: true })).total;
  await places.predict({ place: { city: "Bern", zip: new Uint8Array(4) } });
  await places.predictBatch({ place: [{ city: "Bern", zip: "3000" }] });
  [cancer, kinds, singles, word, cultivar, likeliest, all, words, digit, text, bytes, total];
}
"""
WRONG = [
    "wine.predict();",
    "wine.predict({});",
    "wine.predict({ measurement: [1] });",
    "wine.predict({ measurements: [1], more: [2] });",
    "wine.predict({ measurements: 1 });",
    'wine.predict({ measurements: ["1"] });',
    "wine.predict({ measurements: [1n] });",
    "wine.predict({ measurements: [[1]] });",
    "wine.predict({ measurements: new Float64Array(13) });",
    "wine.predict({ measurements: new Int32Array(13) });",
    "wine.predict({ measurements: null });",
    "wine.predict({ measurements: undefined });",
    "wine.predict([1, 2, 3]);",
    "wine.predict(row, { timeout: 5 });",
    'wine.predict(row, { timeoutMs: "5" });',
    "wine.predictBatch({ measurements: [1, 2] });",
    "wine.predictBatch([row]);",
    "wine.predictMany(row);",
    'wine.predictMany([row], { errors: "ignore" });',
    "wine.predict(row).probabilities;",
    "wine.predict(row).then((answer) => answer.probability);",
    'wine.predict(row).then((answer) => answer.probabilities_label === "burgundy");',
    "wine.predict(row).then((answer): number => answer.cultivar);",
    "wine.predict(row).then((answer) => { answer.cultivar = 1n; });",
    "wine.predict(row).then((answer): number => answer.probabilities[0]);",
    'reader.predict({ image: [1, 2] });',
    'reader.predict({ image: "a" }).then((answer) => answer.label === "ten");',
    "whole.predict({ matrix: [1, 2] });",
    "whole.predict({ matrix: [[1]], factor: [[1]] });",
    "whole.predict({ matrix: new odd.Tensor(new Int8Array(1), [1, 1]) });",
    "whole.predict({ matrix: [[1]] }).then((answer): Uint8Array => answer.class);",
    "places.predict({ place: { city: 1, zip: 2 } });",
    'places.predict({ place: { city: "Bern" } });',
    "whole.sequence();",
    "counter.predict({ amount: 1 });",
    "tokens.predictBatch([]);",
    'tokens.predict({ prompt: "a", count: 1.5, weights: "b" });',
    'singles.predictBatch({ int8_in: [true] });',
    "new Wine();",
    'new Wine("http://localhost:8000");',
    "new Wine(client, { bytes: (raw: Uint8Array) => raw });",
    "new Client({});",
    'new Client("http://localhost", { compression: "br" });',
]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory, odd, demo):
    folder = tmp_path_factory.mktemp("project")
    for name in ("package.json", "package-lock.json", "tsconfig.json"):
        shutil.copy(HERE / name, folder)
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which brings tsc, is not on this machine")
    subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True, timeout=240)
    shutil.copy(odd.folder / "clients.ts", folder / "odd.ts")
    shutil.copy(demo.folder / "clients.ts", folder / "demo.ts")
    return folder


def tsc(project, *arguments):
    done = subprocess.run(
        [project / "node_modules" / ".bin" / "tsc", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout


def test_generated_files_and_right_calls_are_right_for_the_strictest_tsc(project):
    (project / "right.ts").write_text(RIGHT + RIGHT_CALLS)
    (project / "check.json").write_text(
        json.dumps({"extends": "./tsconfig.json", "files": ["right.ts"], "compilerOptions": {"noEmit": True}})
    )
    assert tsc(project, "-p", "check.json") == ""


def test_node_s_own_types_do_as_well_as_a_browser_s(project):
    options = {"noEmit": True, "lib": ["ES2022"], "types": ["node"], "isolatedDeclarations": True, "declaration": True}
    (project / "node.json").write_text(
        json.dumps({"extends": "./tsconfig.json", "files": ["odd.ts", "demo.ts"], "compilerOptions": options})
    )
    assert tsc(project, "-p", "node.json") == ""


def test_every_wrong_call_is_flagged_and_nothing_else(project):
    lines = [
        f"export const wrong{number} = async (): Promise<void> => {{ {call} }};" for number, call in enumerate(WRONG)
    ]
    (project / "wrong.ts").write_text(RIGHT.strip() + "\n" + "\n".join(lines) + "\n")
    first = len(RIGHT.strip().splitlines()) + 1
    options = {"noEmit": True, "noUnusedLocals": False}
    (project / "wrong.json").write_text(
        json.dumps({"extends": "./tsconfig.json", "files": ["wrong.ts"], "compilerOptions": options})
    )
    flagged = {int(line) for line in re.findall(r"^wrong\.ts\((\d+),", tsc(project, "-p", "wrong.json"), re.MULTILINE)}
    assert [WRONG[line - first] for line in sorted(flagged)] == WRONG


def test_the_page_s_code_is_right(project):
    page = (HERE.parents[3] / "docs" / "client-typescript.md").read_text()
    blocks = re.findall(r"^```ts\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    names = [f"page{number}.ts" for number in range(len(blocks))]
    for name, block in zip(names, blocks, strict=True):
        (project / name).write_text(block.replace("./clients.ts", "./demo.ts"))
    (project / "page.json").write_text(
        json.dumps({"extends": "./tsconfig.json", "files": names, "compilerOptions": {"noEmit": True}})
    )
    assert tsc(project, "-p", "page.json") == ""


def test_what_tsc_emits_runs_on_a_node_that_knows_no_types(project, odd):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node of its own on this machine")
    (project / "main.ts").write_text(
        'import { Client, Whole } from "./odd.ts";\n'
        f'const whole = new Whole(new Client("{odd.url}"));\n'
        "const inputs = Array.from({ length: 30 }, () => ({ matrix: [[1, 2]], factor: 2 }));\n"
        "let sum = 0;\n"
        "const { signal } = new AbortController();\n"
        "for await (const { sums } of whole.predictMany(inputs, { maxInFlight: 15, signal })) sum += sums[0] ?? 0;\n"
        "console.log(sum);\n"
    )
    (project / "emit.json").write_text(
        json.dumps({"extends": "./tsconfig.json", "files": ["main.ts"], "compilerOptions": {"lib": ["ES2022", "DOM"]}})
    )
    assert tsc(project, "-p", "emit.json") == ""
    done = subprocess.run([node, "out/main.js"], cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("180\n", "")  # nor does Node warn of too many listeners
