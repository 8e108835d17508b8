# SPDX-License-Identifier: Apache-2.0
"""A pipeline goes back whole: its configuration, the models made for it, its members' versions; or nothing changes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml

from repo_client import Client
from repo_tool.config import pbtxt
from repo_tool.config.model import VersionPolicy
from repo_tool.errors import RepositoryError
from repo_tool.repository.labels import Labels, move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digest_of
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.workflows.add_pipeline import AddPipelineRequest, add_pipeline
from repo_tool.workflows.earlier_model import served_by_any
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.promote_version import PromoteRequest, promote_version
from repo_tool.workflows.remove_versions import prune_versions, remove_model, remove_version
from repo_tool.workflows.roll_back import RollBackRequest
from repo_tool.workflows.roll_back import roll_back as roll_back_to
from support.command import everything_in, repo_tool

pytestmark = pytest.mark.slow(reason="two versions of a pipeline are made, and each way back is proven")
SOFTMAX = {
    "name": "reader",
    "inputs": {"x": {"datatype": "FP32", "dims": [4]}},
    "steps": [{"model": "relu"}, {"use": "softmax", "inputs": {"logits": "y"}}],
    "outputs": ["probabilities"],
    "merge": False,
}
BEST = SOFTMAX | {
    "steps": [*SOFTMAX["steps"], {"use": "top_k_labels", "with": {"labels": ["a", "b", "c", "d"], "k": 1}}],
    "outputs": ["label"],
}


@pytest.fixture(scope="module")
def two_versions(sources, tmp_path_factory):
    """Version 1 over relu/1 tells probabilities, version 2 over relu/2 a label; each model with its variants."""
    folder = tmp_path_factory.mktemp("two_versions")
    repository = folder / "models"
    np.savez(folder / "rows.npz", x=np.arange(12, dtype=np.float32).reshape(3, 4))
    for pipeline in (SOFTMAX, BEST):
        added = repo_tool("add-model", sources / "relu.onnx", "--name", "relu", "--variants", "-r", repository)
        assert added.returncode == 0, added.stderr
        (folder / "reader.yaml").write_text(yaml.safe_dump(pipeline))
        added = repo_tool("add-pipeline", folder / "reader.yaml", "--sample", folder / "rows.npz", "-r", repository)
        assert added.returncode == 0, added.stderr
        (folder / "said.txt").write_text(added.stdout)
        if pipeline is SOFTMAX:
            move(ModelRepository(repository), "reader", "stable", 1)
        own = repository / "reader"
        if not (own / "configs").exists():  # as a version that was one model alone would have left it
            (own / "configs").mkdir()
            shutil.copyfile(own / "config.pbtxt", own / "configs" / "cpu.pbtxt")
    move(ModelRepository(repository), "reader", "stable", None)
    for path in (repository / "relu").rglob("*.pbtxt"):  # as if added while nobody asked for version 1
        config = pbtxt.parse(path.read_text())
        assert config.version_policy.specific == (1, 2)
        path.write_text(pbtxt.render(replace(config, version_policy=VersionPolicy(specific=(2,)))))
    return folder


@pytest.fixture
def copied(two_versions, tmp_path):
    """The same in a folder of the test's own."""
    return shutil.copytree(two_versions, tmp_path / "copied")


class Meanwhile(RecordedProgress):
    """Lets somebody else do something before a step begins."""

    def __init__(self, title, do):
        super().__init__()
        self.title, self.do = title, do

    def step(self, title):
        if title == self.title:
            self.do()
        return super().step(title)


def configs(repository):
    return {path.parent.name: pbtxt.parse(path.read_text()) for path in repository.glob("*/config.pbtxt")}


def served(model, variant):
    return pbtxt.parse((model / "configs" / f"{variant}.pbtxt").read_text()).version_policy.specific


def outputs_on_cpu(model):
    return pbtxt.parse((model / "configs" / "cpu.pbtxt").read_text()).outputs


def roll_back(repository, *options):
    return repo_tool("rollback", "reader", "-r", repository, *options)


def test_a_label_that_does_not_answer_any_more_is_told(two_versions):
    said = (two_versions / "said.txt").read_text()
    assert "label 'stable' points at version 1, which is not loaded beside the new one" in said
    assert "repo-tool promote reader --label stable" in said


def test_back_and_forward_again(two_versions):
    repository = two_versions / "models"
    newest = configs(repository)
    assert outputs_on_cpu(repository / "reader") == newest["reader"].outputs
    promote(repository, "stable")
    done = roll_back(repository, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 1
    assert json.loads(done.stdout)["labels"] == {"stable": 2}
    assert Labels.of(ModelRepository(repository)).versions("reader") == {"stable": 1}
    old = configs(repository)
    assert [tensor.name for tensor in old["reader"].outputs] == ["probabilities"]
    assert {step.model_name: step.model_version for step in old["reader"].ensemble_steps}["relu"] == 1
    assert old["relu"].version_policy.specific == (1, 2)
    for variant in ("cpu", "gpu"):
        assert served(repository / "relu", variant) == (1, 2)
        assert served(repository / "reader_post", variant) == (1,)
    valid = repo_tool("validate", repository, "--live")
    assert valid.returncode == 0, valid.stdout + valid.stderr
    # By configs/cpu.pbtxt as well, with what the pipeline answered then.
    with EmbeddedServer(repository, ServerOptions(model_config_name="cpu")) as server:
        server.load("reader")
        with Client(f"grpc://{server.grpc_url}") as client:
            answer = client.model("reader").infer({"x": np.zeros((1, 4), dtype=np.float32)})
    assert answer["probabilities"].tolist() == [[0.25, 0.25, 0.25, 0.25]]
    forward = roll_back(repository, "--to", "2")
    assert forward.returncode == 0, forward.stderr
    assert "back again: repo-tool rollback reader --to 1" in forward.stdout
    assert Labels.of(ModelRepository(repository)).versions("reader") == {"stable": 2}  # one version answers at a time
    again = configs(repository)
    assert again["reader"].outputs == newest["reader"].outputs
    assert served(repository / "reader_post", "cpu") == (2,)
    assert again["reader"].ensemble_steps == newest["reader"].ensemble_steps


def promote(repository, label, version=""):
    request = PromoteRequest(model="reader", label=label, version=version, repository=repository)
    return promote_version(request, RecordedProgress())


def test_a_version_that_is_not_there_is_refused(two_versions):
    refused = roll_back(two_versions / "models", "--to", "9")
    assert refused.returncode == 2
    assert "no version 9" in refused.stderr
    assert "next:  pass one of those with --to" in refused.stderr


def test_a_part_of_a_pipeline_does_not_go_alone(two_versions):
    refused = repo_tool("rollback", "reader_post", "--to", "1", "-r", two_versions / "models")
    assert refused.returncode == 2
    assert "'reader_post' is a part of the pipeline 'reader'" in refused.stderr


def test_a_member_does_not_leave_its_pipeline(two_versions):
    """``reader`` was proven with version 2 of it, which would answer instead."""
    refused = repo_tool("rollback", "relu", "--to", "1", "-r", two_versions / "models")
    assert refused.returncode == 2
    assert "'reader' was proven with another version of 'relu'" in refused.stderr


def test_answers_that_are_no_longer_the_same_change_nothing(two_versions, tmp_path):
    repository = tmp_path / "models"
    shutil.copytree(two_versions / "models", repository)
    sample = repository / "reader" / "1" / "sample.npz"
    rows = dict(np.load(sample))
    changed = {key: array + 1 if "probabilities" in key else array for key, array in rows.items()}
    np.savez(sample, **changed)
    provenance = repository / "reader" / "1" / "provenance.json"  # so that it is not noticed before
    facts = json.loads(provenance.read_text())
    facts["files"]["sample.npz"] = digest_of(sample)
    provenance.write_text(json.dumps(facts))
    before = everything_in(repository)
    refused = roll_back(repository, "--to", "1")
    assert refused.returncode == 1
    assert "'reader'" in refused.stderr
    assert everything_in(repository) == before


def test_a_member_that_changed_during_the_proof_is_noticed(copied):
    """Its policy no longer loads the version that the pipeline would ask for."""
    repository = copied / "models"
    (copied / "other.yaml").write_text(yaml.safe_dump(BEST | {"name": "other"}))
    request = AddPipelineRequest(file=copied / "other.yaml", sample=copied / "rows.npz", repository=repository)

    def publish_relu():
        shutil.copytree(repository / "relu" / "2", repository / "relu" / "3")

    with pytest.raises(RepositoryError, match="'relu' has been changed meanwhile"):
        add_pipeline(request, Meanwhile("publish", publish_relu))
    assert not (repository / "other").exists()


def test_a_version_that_is_published_during_the_proof_stays_in_service(copied):
    repository = copied / "models"

    def publish_reader():
        shutil.copytree(repository / "reader" / "2", repository / "reader" / "3")

    before = configs(repository)
    with pytest.raises(RepositoryError, match="'reader' has been changed meanwhile"):
        roll_back_to(
            RollBackRequest(model="reader", repository=repository),
            Meanwhile("change the configurations", publish_reader),
        )
    assert configs(repository) == before


def test_a_member_that_takes_something_else_by_now_is_refused(copied):
    config = copied / "models" / "relu" / "config.pbtxt"
    size = pbtxt.parse(config.read_text()).max_batch_size
    config.write_text(config.read_text().replace(f"max_batch_size: {size}", "max_batch_size: 3"))
    refused = roll_back(copied / "models")
    assert refused.returncode == 2
    assert "'relu' takes or gives something else by now" in refused.stderr


def test_what_another_pipeline_asks_for_stays_in_service(copied):
    """``chain`` was proven with version 2 of the pipeline."""
    (copied / "models" / "chain").mkdir()
    text = (copied / "models" / "reader" / "config.pbtxt").read_text()
    text = text.replace('"reader"', '"chain"').replace('"relu"', '"reader"')
    (copied / "models" / "chain" / "config.pbtxt").write_text(text)
    refused = roll_back(copied / "models")
    assert refused.returncode == 2
    assert "'chain' was proven with another version of 'reader'" in refused.stderr


@pytest.fixture
def at_its_newest(copied):
    """``relu`` loads its newest version alone, and no label points anywhere."""
    repository = ModelRepository(copied / "models")
    relu = repository.model("relu")
    for path in (relu.config_path, *map(relu.variant_path, relu.variants())):
        path.write_text(pbtxt.render(replace(pbtxt.parse(path.read_text()), version_policy=None)))
    shutil.rmtree(repository.private_path, ignore_errors=True)
    if served_by_any(repository.model("reader")) != (2,):
        roll_back_to(RollBackRequest(model="reader", repository=repository.path, version=2), RecordedProgress())
    return repository


def test_a_label_of_a_pipeline_is_where_it_answers(at_its_newest):
    assert promote(at_its_newest.path, "stable").version == 2
    with pytest.raises(RepositoryError, match="'reader' does not answer with version 1") as refused:
        promote(at_its_newest.path, "canary", "1")
    assert refused.value.next_step == "let it do so: repo-tool rollback reader --to 1"
    with pytest.raises(RepositoryError, match="'reader_post' is a part of the pipeline 'reader'"):
        promote_version(
            PromoteRequest(model="reader_post", label="stable", repository=at_its_newest.path), RecordedProgress()
        )


def test_a_version_of_a_pipeline_goes_as_one_and_frees_those_it_was_proven_with(at_its_newest):
    only_in_the_first = shutil.copytree(at_its_newest.model("reader_post").path, at_its_newest.path / "reader_pre")
    shutil.rmtree(only_in_the_first / "2")
    alone = prune_versions(at_its_newest, ["relu"], keep=1)[0]
    assert (alone.removed, alone.kept[1]) == ((), "version 1 of 'reader' was proven with it")
    with pytest.raises(RepositoryError, match="version 1 of 'relu' is needed"):
        remove_version(at_its_newest, "relu", 1)
    pruned = {each.model: each.removed for each in prune_versions(at_its_newest, keep=1)}
    assert pruned == {"reader": (1,), "relu": (1,)}
    assert {model.name: model.versions() for model in at_its_newest.models()} == {
        "reader": (2,),
        "reader_post": (2,),
        "relu": (2,),
    }


def test_a_pipeline_is_removed_with_the_models_made_for_it(at_its_newest):
    with pytest.raises(RepositoryError, match="'relu' is needed") as refused:
        remove_model(at_its_newest, "relu")
    assert refused.value.cause == "'reader' calls it"
    with pytest.raises(RepositoryError, match="'reader_post' is a part of the pipeline 'reader'"):
        remove_model(at_its_newest, "reader_post")
    assert set(remove_model(at_its_newest, "reader").models) == {"reader", "reader_post"}
    assert [model.name for model in at_its_newest.models()] == ["relu"]
    assert remove_model(at_its_newest, "relu").versions == (1, 2)
