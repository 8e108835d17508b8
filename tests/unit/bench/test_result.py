# SPDX-License-Identifier: Apache-2.0
"""What perf_analyzer wrote is read, judged and written again; the recorded reports are real ones."""

import csv
import json
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repo_tool.bench.machine import Machine
from repo_tool.bench.plan import BenchPlan
from repo_tool.bench.report import write_report
from repo_tool.bench.result import BenchResult, Level, parse_report
from repo_tool.bench.served import ModelWork, ServedModel, ServerAddress
from repo_tool.errors import BenchmarkError, UserMistakeError

RECORDED = Path(__file__).parent / "recorded"


def level(concurrency, throughput, *, stable=True):
    times = dict.fromkeys(("average_us", "p50_us", "p90_us", "p95_us", "p99_us"), 100.0 * concurrency)
    phases = ("queue", "compute_input", "compute_infer", "compute_output")
    inside = dict.fromkeys((f"server_{phase}_us" for phase in phases), 10.0)
    work = ModelWork(model="m", rows=6, executions=4, **dict.fromkeys((f"{phase}_us" for phase in phases), 1.0))
    return Level(concurrency=concurrency, stable=stable, throughput_per_s=throughput, work=(work,), **(times | inside))


def result(*levels, server="grpc://some-host.example:8001"):
    machine = Machine(cpu="A CPU", cores=2, memory_gib=24.0, kernel="6.1", gpus=("G", "G"), load_average=0.5)
    return BenchResult(
        plan=BenchPlan(
            model="m", server=ServerAddress.parse(server), concurrency=tuple(one.concurrency for one in levels)
        ),
        model=ServedModel(name="m", version="3", backend="onnxruntime", max_batch_size=8, inputs=(), outputs=()),
        levels=levels,
        machine=machine,
        triton_version="2.51.0",
        perf_analyzer_version="2.51.0",
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def test_a_recorded_report_is_read():
    with (RECORDED / "average_settled.csv").open() as lines:
        assert parse_report(lines) == (
            Level(
                concurrency=4,
                stable=True,
                throughput_per_s=7602.35,
                average_us=523,
                p50_us=500,
                p90_us=681,
                p95_us=738,
                p99_us=893,
                server_queue_us=131,
                server_compute_input_us=15,
                server_compute_infer_us=108,
                server_compute_output_us=90,
            ),
        )


def test_a_report_without_an_average_gives_the_sum_of_its_parts():
    with (RECORDED / "p97_settled_ensemble.csv").open() as lines:
        (only,) = parse_report(lines)
    assert (only.average_us, only.p99_us) == (36 + 422, 723)


@pytest.mark.parametrize("text", ["Concurrency\n1\n", "Concurrency,Inferences/Second\n1,many\n"])
def test_a_report_with_other_columns_is_refused(text):
    with pytest.raises(BenchmarkError, match="not as expected"):
        parse_report(text.splitlines())


def test_the_knee_is_the_lowest_level_within_ten_percent_of_the_best():
    measured = result(level(16, 1000), level(1, 300), level(4, 899), level(8, 900))
    assert (measured.best.concurrency, measured.knee.concurrency) == (16, 8)


def test_rows_per_execution_tell_how_full_batches_were():
    assert level(1, 1).average_batch == 1.5


def test_the_files_hold_every_level_and_what_it_took_to_get_there(tmp_path):
    report = write_report(result(level(1, 300.5), level(2, 400.0, stable=False)), tmp_path / "new" / "folder")
    with report.csv.open() as lines:
        rows = list(csv.DictReader(lines))
    document = json.loads(report.json.read_text())
    assert [(row["concurrency"], row["stable"], row["throughput_per_s"], row["average_batch"]) for row in rows] == [
        ("1", "true", "300.5", "1.50"),
        ("2", "false", "400", "1.50"),
    ]
    assert [one["stable"] for one in document["levels"]] == [True, False]
    assert document["levels"][0]["work"][0] == {
        "model": "m", "rows": 6, "executions": 4, "queue_us": 1.0, "compute_input_us": 1.0, "compute_infer_us": 1.0,
        "compute_output_us": 1.0, "average_batch": 1.5,
    }  # fmt: skip
    assert document["machine"]["cpu"] == "A CPU"
    assert document["started_at"] == "2026-01-02T03:04:05+00:00"


def test_no_file_names_the_host(tmp_path):
    report = write_report(result(level(1, 300.0)), tmp_path)
    assert all(b"some-host" not in path.read_bytes() for path in report.paths)


@pytest.mark.parametrize(
    "levels",
    [[level(1, 3.0)], [level(n, 1e6 + n) for n in range(1, 33)], [level(1, 5.0, stable=False), level(64, 3.0)]],
    ids=["one level", "many levels", "unsettled"],
)
def test_the_plot_is_a_png_of_1800_by_900(tmp_path, levels):
    plot = write_report(result(*levels), tmp_path).plot
    header = plot.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (1800, 900)


def test_the_plot_can_be_left_out(tmp_path):
    assert write_report(result(level(1, 3.0)), tmp_path, plot=False).plot is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "m.json"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserMistakeError, match=r"cannot be written to .*file"):
        write_report(result(level(1, 3.0)), tmp_path / "file")
