# SPDX-License-Identifier: Apache-2.0
"""A generated client finds that the served model is another now, and lists what has changed."""

import json
import shutil
import urllib.request
from pathlib import Path

import pytest

from repo_tool.triton.server import EmbeddedServer, ServerOptions

HERE = Path(__file__).parent
CALL = "await new clients.Rows(new clients.Client(url)).predict({ image: [[1, 2, 3], [4, 5, 6]] })"
COLUMNS = r'parameters [ { key: "columns" value: { string_value: "{\"weight\": [\"kg\"]}" } } ]'
ROWS = HERE.parents[1] / "client" / "repository" / "rows"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("changing") / "repository"
    shutil.copytree(ROWS, repository / "rows")
    with (repository / "rows" / "config.pbtxt").open("a") as config:
        config.write(COLUMNS)
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0)) as server:
        yield server


@pytest.fixture(scope="module")
def rows(server, tmp_path_factory, generated_program):
    return generated_program(server.repository, tmp_path_factory.mktemp("rows"), server)


def load(server, **changes):
    """Load the model with another configuration than the file's."""
    config = {
        "name": "rows",
        "backend": "python",
        "max_batch_size": 4,
        "input": [
            {"name": "image", "data_type": "TYPE_FP32", "dims": [2, 3]},
            {"name": "weight", "data_type": "TYPE_FP32", "dims": [1], "optional": True},
        ],
        "output": [
            {"name": "label", "data_type": "TYPE_STRING", "dims": [1]},
            {"name": "total", "data_type": "TYPE_FP32", "dims": [1]},
        ],
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    }
    for key, value in changes.items():
        side, _, place = key.partition("_")
        if place.isdigit():
            config[side][int(place)] |= value
        elif place == "more":
            config[side].append(value)
        else:
            config[key] = value
    body = json.dumps({"parameters": {"config": json.dumps(config)}}).encode()
    url = f"http://{server.http_url}/v2/repository/models/rows/load"
    urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=30).close()


FINE = {
    "nothing": {},
    "a larger batch": {"max_batch_size": 8},
    "a smaller batch": {"max_batch_size": 1},
    "a more general input": {"input_0": {"dims": [-1, 3]}},
    "one more optional input": {
        "input_more": {"name": "bias", "data_type": "TYPE_FP32", "dims": [1], "optional": True}
    },
    "the same columns": {"parameters": {"columns": {"string_value": '{"weight": ["kg"]}'}}},
    "one more output": {"output_more": {"name": "extra", "data_type": "TYPE_FP32", "dims": [1]}},
}
BREAKING = {
    "no batches": ({"max_batch_size": 0}, "it no longer batches"),
    "another type": ({"input_0": {"data_type": "TYPE_FP64"}}, "input 'image' was FP32, is FP64"),
    "another shape": ({"input_0": {"dims": [2, 4]}}, "input 'image' was [-1, 2, 3], is [-1, 2, 4]"),
    "another name": (
        {"input_0": {"name": "picture"}},
        "input 'image' is gone\n  input 'picture' is new, and not optional",
    ),
    "another output": ({"output_1": {"data_type": "TYPE_INT64"}}, "output 'total' was FP32, is INT64"),
    "an input that is needed now": ({"input_1": {"optional": False}}, "input 'weight' is no longer optional"),
    "other columns": (
        {"parameters": {"columns": {"string_value": '{"weight": ["lb"]}'}}},
        "the columns of input 'weight' are lb",
    ),
    "sequences": ({"sequence_batching": {}}, "its requests now belong to sequences"),
    "an output of any size": ({"output_1": {"dims": [-1]}}, "output 'total' was [-1, 1], is [-1, -1]"),
}


@pytest.mark.slow  # each case loads the model anew
@pytest.mark.parametrize("case", FINE)
def test_what_breaks_no_call_is_fine(server, rows, case):
    load(server, **FINE[case])
    assert rows.run("await new clients.Rows(new clients.Client(url)).checkSignature(); tell('fine');") == "fine"


def test_batches_are_as_large_as_the_server_takes_them_now(server, rows):
    load(server, max_batch_size=2)
    told = rows.run(
        "const sent: string[] = [];\n"
        "const heard = (to: any, options: any) => { sent.push(String(to)); return fetch(to, options); };\n"
        "const client = new clients.Client(url, { fetch: heard });\n"
        "const image = Array.from({ length: 5 }, (_, row) => [[row, 0, 0], [0, 0, 0]]);\n"
        "tell((await new clients.Rows(client).predictBatch({ image })).total);\n"
        "tell(sent.filter((to) => to.endsWith('/infer')).length);"
    )
    assert told == [["Float32Array", 0, 1, 2, 3, 4], 3]


@pytest.mark.slow
@pytest.mark.parametrize("case", BREAKING)
def test_what_breaks_calls_is_listed_before_the_first(server, rows, case):
    changes, words = BREAKING[case]
    load(server, **changes)
    told = rows.run(
        f"const error = await caught(async () => {CALL});\n"
        "tell([error.name, error.message, error instanceof clients.ModelError]);"
    )
    assert told[0] == "SignatureChangedError"
    assert words in told[1]
    assert "repo-tool client generate" in told[1]
    assert told[2]


def test_a_change_while_the_client_runs_is_told_when_a_call_is_refused(server, rows):
    load(server)
    script = (
        "const model = new clients.Rows(new clients.Client(url));\n"
        "tell((await model.predict({ image: [[1, 2, 3], [4, 5, 6]] })).total);\n"
        "for await (const _ of process.stdin) break;\n"
        "const error = await caught(() => model.predict({ image: [[1, 2, 3], [4, 5, 6]] }));\n"
        "tell(error.name); process.exit(0);\n"
    )
    with rows.start(script) as running:
        assert json.loads(running.stdout.readline()) == pytest.approx(21)
        load(server, input_0={"dims": [2, 4]})
        answer, _ = running.communicate("\n", timeout=30)
    assert json.loads(answer) == "SignatureChangedError"
