# SPDX-License-Identifier: Apache-2.0
"""``repo-tool call`` against a real server."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from repo_tool.cli.call import call
from repo_tool.errors import RepositoryError, SampleError, ServerUnreachableError, TritonError, UserMistakeError
from repo_tool.repository.labels import move
from repo_tool.repository.layout import ModelRepository
from repo_tool.samples import Sample, write_published_sample
from repo_tool.triton.ports import free_ports

IMAGES = np.arange(60, dtype=np.float32).reshape(10, 2, 3) / 100 - 0.3


@pytest.fixture
def run(client_server, client_repository, monkeypatch):
    """Runs the command; gives back what it printed, or raises what it raised."""
    monkeypatch.setenv("COLUMNS", "100")
    app = typer.Typer()
    app.command()(call)

    def run(*arguments, server=f"grpc://{client_server.grpc_url}"):
        options = ["--server", server, "--repository", str(client_repository)]
        result = CliRunner().invoke(app, [*map(str, arguments), *options], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    return run


@pytest.fixture
def published_sample(client_repository):
    path = client_repository / "rows" / "1" / "sample.npz"
    # A framework may do without the dimension of a single value a row.
    inputs = {"image": IMAGES, "weight": np.ones(10, np.float32)}
    write_published_sample(path, Sample(inputs=inputs))
    yield path
    path.unlink()


def test_the_published_sample_goes_in_batches_that_the_model_takes(run, published_sample):
    document = json.loads(run("rows", "--json"))
    assert (document["model"], document["version"], document["rows"], document["requests"]) == ("rows", "1", 10, 3)
    assert document["round_trip_ms"] > 0
    totals = document["outputs"]["total"]
    assert (totals["datatype"], totals["shape"]) == ("FP32", [10, 1])
    np.testing.assert_allclose(totals["data"], IMAGES.sum(axis=(1, 2))[:, None], rtol=1e-5)
    assert document["outputs"]["label"]["data"] == [["low"]] * 5 + [["high"]] * 5


def test_a_label_of_the_repository_chooses_the_version(run, published_sample, client_repository):
    repository = ModelRepository(client_repository)
    move(repository, "rows", "stable", 1)
    assert "rows, version 1" in run("rows", "--label", "stable", "--rows", 1)
    with pytest.raises(RepositoryError, match="model 'rows' has no label 'stabel'") as caught:
        run("rows", "--label", "stabel")
    assert "repo-tool promote" in caught.value.next_step
    with pytest.raises(SampleError, match="version 1 and label 'stable'"):
        run("rows", "--label", "stable", "--version", 1)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_table_shows_words_and_rounded_numbers(run, published_sample, client_server, protocol):
    server = f"{protocol}://{getattr(client_server, f'{protocol}_url')}"
    table = run("rows", "--rows", 2, server=server)
    assert "rows, version 1" in table
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if "│" in line]
    assert cells == [["0", "low", "-1.65"], ["1", "low", "-1.29"]]
    assert "2 rows in one request: " in table
    assert "ms round trip" in table


def test_long_tensors_are_shortened_and_non_numbers_are_null_in_json(run, tmp_path):
    sample = tmp_path / "sample.npz"
    np.savez(sample, in_FP32=np.full((2, 5), np.nan, np.float32))
    document = json.loads(run("echo", "--sample", sample, "--json"))
    assert document["outputs"]["out_FP32"]["data"] == [[None] * 5] * 2
    table = run("echo", "--sample", sample)
    assert "nan, nan, nan, nan, nan, nan, … [2, 5]" in table
    assert "\none request: " in table


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_file_goes_to_a_model_of_pictures_as_it_is(run, tmp_path, suffix):
    picture = tmp_path / f"seven{suffix}"
    picture.write_bytes(b"\x89PNG\r\n")
    document = json.loads(run("picture", "--sample", picture, "--json"))
    assert (document["rows"], document["outputs"]["length"]["data"]) == (1, [[6]])


def test_a_folder_of_files_and_the_lines_of_a_text_are_a_row_each(run, tmp_path):
    (tmp_path / "pictures").mkdir()
    for name, content in (("a.png", b"\x89PNG"), ("b.png", b"\x89PNG\r\n")):
        (tmp_path / "pictures" / name).write_bytes(content)
    (tmp_path / "lines.txt").write_text("one\nseven\n")
    told = [json.loads(run("picture", "--sample", tmp_path / name, "--json")) for name in ("pictures", "lines.txt")]
    assert [each["outputs"]["length"]["data"] for each in told] == [[[4], [6]], [[3], [5]]]


def test_an_image_file_does_not_go_to_a_model_of_numbers(run, tmp_path):
    picture = tmp_path / "seven.png"
    picture.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(SampleError) as caught:
        run("rows", "--sample", picture)
    assert "one input of BYTES" in caught.value.cause
    assert "repo-tool add-pipeline" in caught.value.next_step


def test_no_server_names_the_command_that_starts_one(run):
    with pytest.raises(ServerUnreachableError) as caught:
        run("rows", server=f"grpc://127.0.0.1:{free_ports(1)[0]}")
    assert "Connection refused" in caught.value.fact
    assert "repo-tool serve" in caught.value.next_step


def test_a_model_that_is_not_served(run):
    with pytest.raises(RepositoryError, match="unknown model: 'nope'") as caught:
        run("nope")
    assert "repo-tool add-model" in caught.value.next_step


def test_a_model_without_a_sample(run):
    with pytest.raises(SampleError, match="no sample at") as caught:
        run("rows")
    assert "--sample" in caught.value.next_step


def test_an_address_without_a_scheme(run):
    with pytest.raises(UserMistakeError, match="no scheme") as caught:
        run("rows", server="127.0.0.1:8001")
    assert "grpc://127.0.0.1:8001" in caught.value.next_step


def test_a_sample_that_does_not_fit(run, tmp_path):
    sample = tmp_path / "rows.npz"
    np.savez(sample, image=np.zeros((1, 3, 3), np.float32), weight=np.ones((1, 1), np.float32))
    with pytest.raises(SampleError, match="does not fit input 'image'"):
        run("rows", "--sample", sample)


def test_a_model_that_fails_says_so_in_its_own_words(run, tmp_path):
    sample = tmp_path / "rows.json"
    sample.write_text("[-1.0]")
    with pytest.raises(TritonError, match="time runs forward"):
        run("moody", "--sample", sample)
