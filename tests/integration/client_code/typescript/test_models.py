# SPDX-License-Identifier: Apache-2.0
"""Every model of the demo repository and many odd ones: the example as it stands, and all published rows."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from repo_tool.client_code.from_repository import describe_repository
from repo_tool.client_code.typescript import render_typescript
from repo_tool.datatypes import DataType
from repo_tool.repository.layout import ModelRepository
from repo_tool.samples import read_published_sample
from support.odd_models import SAMPLED

DEMO = ModelRepository(Path(__file__).parents[4] / "model_repository")
PUBLISHED = [model.name for model in describe_repository(DEMO) if model.example is not None]


@pytest.fixture(scope="module")
def models(served_repository):
    return {model.name: model for model in describe_repository(ModelRepository(served_repository))}


@pytest.fixture(scope="module")
def class_of(demo):
    text = (demo.folder / "clients.ts").read_text()
    found = {model: name for name, model in re.findall(r"^// (\w+): model '(.*)'$", text, re.MULTILINE)}
    return found.__getitem__


def test_the_same_models_are_the_same_file_in_any_order(models):
    listed = list(models.values())
    assert render_typescript(listed) == render_typescript(listed[::-1])


def in_one_go(demo, scripts):
    """What each script tells, by its name; they run one after another in one process."""
    blocks = (
        f"told = [];\ntry {{\n{script}\n}} catch (error) {{ told = String(error); }}\ntell(told);\n"
        for script in scripts.values()
    )
    told = demo.run("const { Client } = clients;\nlet told: any = [];\n" + "".join(blocks))
    return dict(zip(scripts, told, strict=True))


@pytest.fixture(scope="module")
def examples(demo, class_of):
    text = (demo.folder / "clients.ts").read_text()
    scripts = {}
    for name in (*PUBLISHED, *SAMPLED):
        documented = re.search(rf"@example\n((?: \* [^\n]*\n)+) \*/\nexport class {class_of(name)}\b", text)[1]
        lines = [line.removeprefix(" * ") for line in documented.splitlines()]
        answers = [re.fullmatch(r"(answer\S+); // (.*)", line) for line in lines]
        scripts[name] = (
            f"const {{ {class_of(name)} }} = clients;\n"
            + "\n".join(lines).replace("http://localhost:8000", demo.url)
            + "".join(f"\ntold.push([{found[1]}, {found[2]}]);" for found in answers if found)
        )
    return in_one_go(demo, scripts)


@pytest.mark.parametrize("name", [*PUBLISHED, *SAMPLED])
def test_the_example_runs_and_says_the_truth(examples, name):
    assert isinstance(examples[name], list), examples[name]
    assert examples[name] or name == "large"  # whose sample is too long to be shown
    for received, shown in examples[name]:
        assert plain(received) == as_shown(shown)


def as_shown(value):
    """Numbers are shown with four digits, words as they are; of a tensor of more dimensions its values."""
    parts = value if isinstance(value, list) else [value]
    is_number = all(isinstance(part, int | float) for part in parts)
    return pytest.approx(value, rel=1e-3, abs=1e-6) if is_number else value


def plain(value):
    """What `tell` made of a typed array or a tensor, as the list of its values."""
    data = value["data"] if isinstance(value, dict) else value
    is_array = isinstance(data, list) and data and re.fullmatch(r"\w+\d*Array", str(data[0]))
    return data[1:] if is_array else data


def literal(array, datatype):
    if datatype is not DataType.BYTES:
        return json.dumps(array.tolist())
    coded = (base64.b64encode(value).decode() for value in array.reshape(-1))
    elements = ", ".join(f'Buffer.from("{text}", "base64")' for text in coded)
    return f"new clients.Tensor([{elements}], {json.dumps(array.shape)})"


def published(repository, model):
    return read_published_sample(ModelRepository(repository).model(model.name).sample_path(model.version))


@pytest.fixture(scope="module")
def answers(demo, class_of, models, served_repository):
    scripts = {}
    for name in (*PUBLISHED, *SAMPLED):
        inputs = published(served_repository, models[name]).inputs
        values = (
            f"{json.dumps(each.name)}: {literal(inputs[each.name], each.datatype)}" for each in models[name].inputs
        )
        scripts[name] = (
            f"const model = new clients.{class_of(name)}(new Client(url));\n"
            f"const values: any = {{ {', '.join(values)} }};\n"
            "const given = model.spec.inputs.map((each) => [each.property, values[each.name]]);\n"
            "const answer: any = await model.predictBatch(Object.fromEntries(given));\n"
            "told = Object.fromEntries(model.spec.outputs.map((each) => [each.name, answer[each.property]]));"
        )
    return in_one_go(demo, scripts)


@pytest.mark.parametrize("name", [*PUBLISHED, *SAMPLED])
def test_all_published_rows_are_answered_as_published(answers, models, served_repository, name):
    assert isinstance(answers[name], dict), answers[name]
    outputs = published(served_repository, models[name]).outputs
    for tensor in models[name].outputs:
        expected, received = outputs[tensor.name], plain(answers[name][tensor.name])
        if tensor.datatype is DataType.BYTES:
            assert received == [value.decode() for value in expected.reshape(-1)]
        else:
            numbers = [float(str(value).removesuffix("n")) for value in received]
            np.testing.assert_allclose(numbers, expected.reshape(-1), rtol=1e-3, atol=1e-4)


def test_a_model_without_a_sample_is_called_as_well(demo, models):
    (image,) = models["digits_reader"].example.inputs["image"].reshape(-1)
    coded = base64.b64encode(image).decode()
    answer = demo.run(
        f'const image = Buffer.from("{coded}", "base64");\n'
        "tell(await new clients.DigitsReaderPre(new clients.Client(url)).predict({ image }));"
    )
    assert answer["pixels"]["shape"] == list(models["digits_reader_pre"].outputs[0].shape)


def test_a_row_can_be_told_by_the_names_of_its_columns(demo):
    told = demo.run(
        "const table = new clients.Table(new clients.Client(url));\n"
        "tell((await table.predict({ people: { weight: 3, age: 1, height: 2 } })).people);\n"
        "const people = [{ age: 1, height: 2, weight: 3 }, { age: 4, weight: 6, height: 5 }];\n"
        "tell((await table.predictBatch({ people })).people);\n"
        "const wrong = async (people: any) => tell((await caught(() => table.predict({ people }))).message);\n"
        "await wrong({ age: 1, height: 2 });\n"
        "await wrong({ age: 1, height: 2, wieght: 3 });\n"
    )
    assert told[:2] == [
        ["Float32Array", 1, 2, 3],
        {"shape": [2, 3], "data": ["Float32Array", 1, 2, 3, 4, 5, 6]},
    ]
    assert "no value for column 'weight'" in told[2]
    assert "did you mean 'weight'?" in told[3]


def test_odd_manners_and_names_are_called(demo, class_of):
    told = demo.run(
        "const client = new clients.Client(url);\n"
        f"const countdown = new clients.{class_of('countdown')}(client);\n"
        "for await (const each of countdown.predict({ start: 3 })) tell(each.number);\n"
        f"const sums = new clients.{class_of('running_sum')}(client).sequence();\n"
        "tell([(await sums.predict({ value: 2 })).total, (await sums.predict({ value: 3n }, { last: true })).total]);\n"
        f"tell(await new clients.{class_of('a-b')}(client).predict({{ x: [1, 2] }}));\n"
        f"tell(await new clients.{class_of('a_b')}(client).predict({{ x: [3, 4] }}));\n"
        f"tell(await new clients.{class_of('chain')}(client).predict({{ first: [5, 6] }}));\n"
        f"tell(await new clients.{class_of('optional')}(client).predict({{ x: 1 }}));\n"
        f"tell(await new clients.{class_of('clashes')}(client).predict({{\n"
        "  a_b: 1, a_b_: 2, a_b_2: 3, self: 4, timeout_s: 5, np: 6, rows: 7,\n"
        "}));"
    )
    assert told[:3] == [3, 2, 1]
    assert told[3] == ["2n", "5n"]
    assert told[4:7] == [{"y": ["Float32Array", 1, 2]}, {"y": ["Float32Array", 3, 4]}, {"last": ["Float32Array", 5, 6]}]
    assert told[7] == {"y": 1, "weight": 0}
    assert sorted(told[8].values()) == [1, 2, 3, 4, 5, 6, 7]
