# SPDX-License-Identifier: Apache-2.0
"""A table for a model that was trained on named columns goes by name, whatever order its file has."""

import json

import numpy as np
import pytest

from repo_client import Client
from repo_tool.bench.rows import file_rows
from repo_tool.bench.served import ServerAddress, Triton
from repo_tool.errors import SampleError
from repo_tool.samples import read_published_sample
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.workflows.call_model import CallRequest, call_model
from support.command import repo_tool

NAMES = ("age", "income", "rooms")
ROWS = np.array([[1, 20, 300], [2, 30, 100], [4, 10, 200]], dtype=np.float32)
ANSWERS = ROWS @ np.array([100, 10, 1], dtype=np.float32)

PIPELINE = """\
name: priced
inputs: {table: {datatype: FP32, dims: [3]}}
steps: [{model: named, inputs: {features: table}, outputs: {prediction: price}}]
outputs: [price]
"""


def write_table(path, names, rows=ROWS, order=(0, 1, 2)):
    np.savetxt(path, rows[:, order], delimiter=",", header=",".join(names), comments="", fmt="%g")
    return path


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """`named`, which learned 100 age + 10 income + rooms from a DataFrame, and `priced`, an ensemble of it."""
    import joblib
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    folder = tmp_path_factory.mktemp("named")
    random = np.random.default_rng(0).normal(size=(20, 3))
    table = pd.DataFrame(random, columns=list(NAMES))
    joblib.dump(LinearRegression().fit(table, random @ [100, 10, 1]), folder / "named.joblib")
    write_table(folder / "rows.csv", ("sold", *NAMES), order=(0, 0, 1, 2))  # what was trained on has its answers too
    done = repo_tool("add-model", "named.joblib", "--name", "named", "--sample", "rows.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "priced.yaml").write_text(PIPELINE)
    done = repo_tool("add-pipeline", "priced.yaml", "--sample", "rows.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "model_repository"


@pytest.fixture(scope="module")
def server(repository):
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0)) as running:
        running.load("priced")  # and what it uses
        yield running


@pytest.fixture
def call(server, tmp_path):
    """Sends a table to `named`, without its repository at hand."""

    def call(sample, protocol="grpc", model="named"):
        url = f"{protocol}://{getattr(server, f'{protocol}_url')}"
        return call_model(CallRequest(model=model, repository=tmp_path, server=url, sample=sample))

    return call


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_permuted_columns_get_the_answers_of_their_names(call, tmp_path, protocol):
    permuted = write_table(tmp_path / "permuted.csv", ("rooms", "age", "income"), order=(2, 0, 1))
    np.testing.assert_allclose(call(permuted, protocol).outputs["prediction"][:, 0], ANSWERS, rtol=1e-5)


def test_an_ensemble_takes_them_by_name_as_its_model_does(call, server, repository, tmp_path):
    permuted = write_table(tmp_path / "permuted.csv", ("rooms", "age", "income"), order=(2, 0, 1))
    np.testing.assert_allclose(call(permuted, model="priced").outputs["price"][:, 0], ANSWERS, rtol=1e-5)
    with Client(f"http://{server.http_url}") as client:
        assert client.model("priced").signature.inputs[0].columns == NAMES
    published = read_published_sample(repository / "priced" / "1" / "sample.npz")  # rows.csv has one column more
    np.testing.assert_array_equal(published.inputs["table"], ROWS)


def test_json_rows_go_by_name_too(call, tmp_path):
    rows = [dict(reversed(list(zip(NAMES, row, strict=True)))) for row in ROWS.tolist()]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    np.testing.assert_allclose(call(tmp_path / "rows.json").outputs["prediction"][:, 0], ANSWERS, rtol=1e-5)


@pytest.mark.parametrize(
    ("names", "lists"),
    [
        (("age", "income", "stars"), "missing: 'rooms'; unknown: 'stars'"),
        (("sold", *NAMES), "unknown: 'sold'"),
        (("age", "income"), "missing: 'rooms'"),
        (("colour", "taste", "smell"), "missing: 'age', 'income', 'rooms'; unknown: 'colour', 'taste', 'smell'"),
    ],
)
def test_missing_and_unknown_columns_are_refused_with_both_lists(call, tmp_path, names, lists):
    table = write_table(tmp_path / "table.csv", names, order=(0, 1, 2, 0)[: len(names)])
    with pytest.raises(SampleError, match="not those that the model was trained on") as caught:
        call(table)
    assert caught.value.cause == lists
    assert "'age', 'income', 'rooms', in any order" in caught.value.next_step


def test_rows_without_names_are_sent_as_they_are(call, tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    np.savetxt(tmp_path / "bare.csv", ROWS, delimiter=",", fmt="%g")
    for sample in (write_table(tmp_path / "rows.csv", ("0", "1", "2")), tmp_path / "bare.csv", tmp_path / "rows.npy"):
        np.testing.assert_allclose(call(sample).outputs["prediction"][:, 0], ANSWERS, rtol=1e-5)


def test_the_client_tells_the_names(server):
    with Client(f"http://{server.http_url}") as client:
        assert client.model("named").signature.inputs[0].columns == NAMES


def test_bench_sends_them_by_name(server, tmp_path):
    permuted = write_table(tmp_path / "permuted.csv", ("rooms", "age", "income"), order=(2, 0, 1))
    for protocol in ("grpc", "http"):
        with Triton(ServerAddress.parse(f"{protocol}://{getattr(server, f'{protocol}_url')}")) as triton:
            rows = file_rows(permuted)(triton.model("named"))
        np.testing.assert_array_equal(rows["features"], ROWS)


def test_the_rules_have_nothing_against_the_parameter(repository):
    done = repo_tool("validate", repository, "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "columns" not in done.stdout
