# SPDX-License-Identifier: Apache-2.0
"""What is packed up for a report: the model's own files by name, whatever its configuration speaks of."""

import zipfile

import pytest

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.live_verdicts import LiveVerdict, write_disagreement
from repo_tool.workflows.plan_found import read_found


def packed(repository, model):
    verdict = LiveVerdict(model=model, refusal="no", codes=())
    with zipfile.ZipFile(write_disagreement(repository, verdict, [], releases=[release()])) as archive:
        return {name for name in archive.namelist() if name.endswith("files.txt")}


def write_ensemble(folder, name, step):
    (folder / name / "1").mkdir(parents=True)
    (folder / name / "config.pbtxt").write_text(
        f'platform: "ensemble"\nensemble_scheduling {{ step {{ model_name: "{step}" model_version: -1 }} }}\n'
    )


@pytest.mark.parametrize("step", ["/etc", "../beside", "a\\000b", "x" * 300, "", "absent"])
def test_a_step_that_is_no_model_of_the_repository_is_not_looked_at(tmp_path, step):
    (tmp_path / "beside").mkdir()
    write_ensemble(tmp_path / "models", "chain", step)
    assert packed(ModelRepository(tmp_path / "models"), "chain") == {"chain/files.txt"}


def test_all_models_that_are_loaded_with_it_are_there(tmp_path):
    for name, step in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        write_ensemble(tmp_path, name, step)
    assert packed(ModelRepository(tmp_path), "a") == {f"{name}/files.txt" for name in "abc"}


def test_what_a_model_calls_itself_is_there_and_counts_as_used(tmp_path):
    write_ensemble(tmp_path, "chain", "cascade")
    (tmp_path / "cascade" / "1").mkdir(parents=True)
    (tmp_path / "cascade" / "config.pbtxt").write_text(
        'backend: "python"\nparameters { key: "pins" value { string_value: "{\\"cheap\\": 1}" } }\n'
    )
    (tmp_path / "cheap" / "1").mkdir(parents=True)
    (tmp_path / "cheap" / "config.pbtxt").write_text('backend: "onnxruntime"\n')
    repository = ModelRepository(tmp_path)
    assert packed(repository, "chain") == {f"{name}/files.txt" for name in ("chain", "cascade", "cheap")}
    assert {name: found.uses for name, found in read_found(repository).items()} == {
        "chain": ("cascade",),
        "cascade": ("cheap",),
        "cheap": (),
    }
