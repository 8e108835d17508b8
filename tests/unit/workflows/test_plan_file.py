# SPDX-License-Identifier: Apache-2.0
"""repo-tool.yaml: what it may say, its schema, and where its mistakes are."""

import json
from dataclasses import MISSING, fields
from pathlib import Path

import jsonschema
import pytest
import yaml

from repo_tool.errors import SpecificationError
from repo_tool.workflows.add_model import AddModelRequest
from repo_tool.workflows.given_options import OPTION_DEFAULTS, given_options
from repo_tool.workflows.plan_file import ModelDeclaration, file_schema, read_repository_file
from repo_tool.workflows.plan_repository import plan_repository
from repo_tool.workflows.settings import ValidateSettings, read_settings

ROOT = Path(__file__).parents[3]
WHOLE = """
schema: 1
options: {repository: models, release: 26.07, tolerance: 0.001}
models:
  - name: wine
    source: wine.onnx
    sample: wine.npz
    max_batch_size: 8
    precision: fp16
    trust_types: [a.B]
    config:
      dynamic_batching.preferred_batch_size: [4, 8]
      dynamic_batching.max_queue_delay_microseconds: 500
      optimization.graph.level: -1
      model_transaction_policy.decoupled: false
      instance_group[0].kind: KIND_CPU
pipelines:
  - {file: reader.yaml, sample: pictures}
routes:
  - name: wine
    to: [{model: wine, version: 1, weight: 90}, {model: wine_next, weight: 10}]
validate:
  select: CFG
  ignore: [SEC]
  release: ["24.10", "26.07"]
  strict: true
  per-model-ignores: {"old_*": [CFG104]}
"""


@pytest.fixture
def refused(tmp_path):
    """What is said about a text: the lines with a place, without the file's name."""

    def refuse(text):
        path = tmp_path / "repo-tool.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(SpecificationError) as caught:
            plan_repository(path)
        return [line.strip().removeprefix(f"{path}:") for line in caught.value.cause.splitlines()]

    return refuse


def test_everything_that_it_may_say_is_read(tmp_path):
    (tmp_path / "repo-tool.yaml").write_text(WHOLE)
    declared = read_repository_file(tmp_path / "repo-tool.yaml").declared
    assert declared.options.release == "26.07"
    assert declared.models[0].config == {
        "dynamic_batching.preferred_batch_size": "[4, 8]",
        "dynamic_batching.max_queue_delay_microseconds": "500",
        "optimization.graph.level": "-1",
        "model_transaction_policy.decoupled": "false",
        "instance_group[0].kind": "KIND_CPU",
    }
    assert [target.weight for target in declared.routes[0].to] == [90, 10]


def test_its_schema_takes_it_and_is_the_published_one():
    schema = file_schema()
    assert json.loads((ROOT / "docs" / "repo-tool.schema.json").read_text()) == schema, (
        "write it anew: repo-tool plan --schema > docs/repo-tool.schema.json"
    )
    value = yaml.safe_load(WHOLE.replace("26.07,", '"26.07",'))
    jsonschema.validate(value, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value | {"modells": []}, schema)


def test_its_section_for_validate_is_what_validate_reads(tmp_path):
    (tmp_path / "repo-tool.yaml").write_text(WHOLE)
    read = read_settings(tmp_path)
    section = read_repository_file(tmp_path / "repo-tool.yaml").declared.validation
    assert (section.select, section.ignore, section.release) == (read.select, read.ignore, read.releases)
    assert (section.strict, section.model_ignores) == (read.strict, dict(read.model_ignores))
    keys = {each.metadata.get("key", each.name) for each in fields(ValidateSettings) if each.name != "file"}
    assert keys == {field.alias or name for name, field in type(section).model_fields.items()}


def test_every_option_of_add_model_can_be_written_and_is_recorded():
    decided_elsewhere = {"repository", "version", "dry_run", "by", "owner"}
    same = {"trusted_types": "trust_types", "trusted_source": "trust_source"}
    request = {same.get(each.name, each.name) for each in fields(AddModelRequest)} - decided_elsewhere
    assert ModelDeclaration.model_fields.keys() == request
    by_digest_or_name = {"source", "name", "sample", "labels", "weights", "release", "config"}
    assert {same.get(name, name) for name in OPTION_DEFAULTS} == request - by_digest_or_name
    defaults = {each.name: each.default for each in fields(AddModelRequest) if each.default is not MISSING}
    assert {name: defaults[name] for name in OPTION_DEFAULTS} == dict(OPTION_DEFAULTS)
    assert given_options(defaults) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models:\n  - nam: w\n", ["2:5: models[0].nam: there is no such key; did you mean 'name'?"]),
        ("modles: []", ["1:1: modles: there is no such key; did you mean 'models'?"]),
        ("models:\n  - {name: a, sorce: b}", ["2:5: models[0].source: field required", "2:15: models[0].sorce: there"]),
        ("models:\n  - {name: a b, source: c}", ["2:12: models[0].name: 'a b' is not a model name"]),
        ("models:\n  - {name: a, source: gone}", ["2:23: models[0].source: there is no '"]),
        ("options: {release: 26.70}", ["1:20: options.release: there is no Triton release '26.70'"]),
        ("options: {release: 26.10}", ["1:20: options.release: there is no Triton release '26.10'"]),
        ("options: []", ["1:10: options: input should be a mapping"]),
        ("models: wine", ["1:9: models: input should be a list"]),
        ("- 1", ["1:1: the file: input should be a mapping"]),
        (f"models: [{{name: a, source: {'b' * 300}}}]", ["1:28: models[0].source: there is no '"]),
        ("schema: 2", ["1:9: schema: input should be 1"]),
        ("models: [", ["1:10: expected the node content"]),
        ("models: []\nmodels: []", ["2:1: 'models' is given twice"]),
        ("routes: [{name: a, to: []}]", ["1:24: routes[0].to: "]),
        (
            "routes: [{name: a, to: [{modl: b}]}]",
            ["1:24: routes[0].to: list should have at least 1 item, not 0", "1:25: routes", "1:26: routes"],
        ),
        ("validate: {selct: CFG}", ["1:12: validate.selct: there is no such key; did you mean 'select'?"]),
        ("pipelines: [{file: gone.yaml, sample: gone}]", ["1:20: pipelines[0].file: ", "1:39: pipelines[0].sample: "]),
        ("models: !!python/object/apply:os.system [id]", ["1:9: could not determine a constructor"]),
        ("a: &a [*a]\nmodels: *a", ["1:8: it holds itself"]),
        ("x: &x {x: 1}\ny: &y {<<: *x, y: [*x, *x]}\nz: {<<: *y}", ["1:1: x: there is no such key"]),
        ("? [1]\n: 2", ["1:3: found unhashable key"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_column(refused, text, said):
    found = refused(text)
    assert len(found) >= len(said)
    for line, start in zip(found, said, strict=False):
        assert line.startswith(start.partition(": ")[0]), found
        assert start.partition(": ")[2] in line, found


@pytest.mark.parametrize("text", [b"\xff\xfe", b"[" * 5000, b"models: {" * 3000, b"\x00", b"\t- a"])
def test_what_is_no_yaml_is_a_mistake_and_no_crash(refused, text):
    assert refused(text)


def test_what_is_set_over_a_configuration_is_checked_before_anything_is_done(refused, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"")
    start = "models:\n  - name: a\n    source: a.onnx\n    config:\n      "
    assert refused(start + "dynamic_batchin.max_queue_delay_microseconds: 1")[0].startswith(
        "5:7: models[0].config.dynamic_batchin.max_queue_delay_microseconds: there is no field 'dynamic_batchin'; "
        "did you mean dynamic_batching"
    )
    assert "does not take 'soon'" in refused(start + "max_batch_size: soon")[0]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('["a,b", c]', '["a,b", "c"]'),
        ("['say \"x\"', 2]", '["say \\"x\\"", "2"]'),
        ("[a, b]", "[a, b]"),
        ("[1, 2.50, true]", "[1, 2.50, true]"),
        ("['{ kind: KIND_CPU }']", "[{ kind: KIND_CPU }]"),
        ("['']", '[""]'),
    ],
)
def test_each_item_of_a_list_stays_one(tmp_path, written, read):
    path = tmp_path / "repo-tool.yaml"
    path.write_text(f"models: [{{name: a, source: b, config: {{x: {written}}}}}]")
    assert read_repository_file(path).declared.models[0].config == {"x": read}


@pytest.mark.parametrize("written", ["[null]", "[{kind: KIND_CPU}]", "[[1]]", "[2020-01-01]"])
def test_what_no_list_of_a_field_holds_is_refused(refused, written):
    (line,) = refused(f"models: [{{name: a, source: b, config: {{x.y: {written}}}}}]")
    assert line.startswith("1:39: models[0].config: x.y: its list holds what is no text")


def test_of_many_mistakes_the_first_are_told(refused):
    lines = refused("models: [" + "1, " * 500 + "]")
    assert (len(lines), lines[-1]) == (21, "and 480 more")


def test_a_source_that_cannot_be_read_is_a_mistake(refused, tmp_path):
    (tmp_path / "a.onnx").symlink_to("/proc/self/mem")
    (line,) = refused("models: [{name: a, source: a.onnx}]")
    assert line.startswith("1:10: models[0]: its files cannot be read: ")


def test_two_models_of_one_name_are_a_mistake(refused, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"")
    both = "models:\n  - {name: a, source: a.onnx}\n  - {name: a, source: a.onnx}\n"
    assert refused(both) == ["3:12: models[1].name: models[0] is called 'a' too"]


def test_a_file_that_is_not_there_is_a_mistake(tmp_path):
    with pytest.raises(SpecificationError, match="cannot be read"):
        plan_repository(tmp_path / "repo-tool.yaml")


def test_only_what_is_listed_can_be_replaced(tmp_path):
    (tmp_path / "repo-tool.yaml").write_text("models:")
    with pytest.raises(SpecificationError, match="does not list"):
        plan_repository(tmp_path / "repo-tool.yaml", replace=["wine"])


@pytest.mark.parametrize("text", ["", "# cut off\n"])
def test_a_file_that_says_nothing_removes_nothing(tmp_path, text):
    (tmp_path / "repo-tool.yaml").write_text(text)
    with pytest.raises(SpecificationError, match="says nothing"):
        read_repository_file(tmp_path / "repo-tool.yaml")
