# SPDX-License-Identifier: Apache-2.0
"""Every model of the demo repository from its generated client: the example as it stands, and all published rows."""

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

DEMO = Path(__file__).parents[4] / "model_repository"
MODELS = {model.name: model for model in describe_repository(ModelRepository(DEMO))}
WITH_SAMPLE = [name for name, model in MODELS.items() if model.example is not None]


def class_of(text, model):
    return re.search(rf"^// (\w+): model '{re.escape(model)}'$", text, re.MULTILINE)[1]


def test_the_same_models_are_the_same_file_in_any_order():
    models = list(MODELS.values())
    assert render_typescript(models) == render_typescript(models[::-1])


@pytest.mark.parametrize("name", WITH_SAMPLE)
def test_the_example_runs_and_says_the_truth(demo, name):
    text = (demo.folder / "clients.ts").read_text()
    documented = re.search(rf"@example\n((?: \* [^\n]*\n)+) \*/\nexport class {class_of(text, name)}\b", text)[1]
    lines = [line.removeprefix(" * ") for line in documented.splitlines()]
    answers = [re.fullmatch(r"(answer\S+); // (.*)", line) for line in lines]
    told = demo.run(
        f"const {{ Client, {class_of(text, name)} }} = clients;\n"
        + "\n".join(lines).replace("http://localhost:8000", demo.url)
        + "".join(f"\ntell([{found[1]}, {found[2]}]);" for found in answers if found)
    )
    assert len(told) >= 1
    for received, documented_value in told if isinstance(told[0], list) else [told]:
        assert plain(received) == as_documented(documented_value)


def as_documented(value):
    """Numbers are shown with four digits, words as they are."""
    parts = value if isinstance(value, list) else [value]
    is_number = all(isinstance(part, int | float) for part in parts)
    return pytest.approx(value, rel=1e-3, abs=1e-6) if is_number else value


def plain(value):
    """What `tell` made of a typed array, as the list that the documentation shows."""
    is_array = isinstance(value, list) and value and str(value[0]).endswith("Array")
    return value[1:] if is_array else value


def literal(array, datatype):
    if datatype is not DataType.BYTES:
        return json.dumps(array.tolist())
    coded = (base64.b64encode(value).decode() for value in array.reshape(-1))
    return "[" + ", ".join(f'Buffer.from("{text}", "base64")' for text in coded) + "]"


@pytest.mark.parametrize("name", WITH_SAMPLE)
def test_all_published_rows_are_answered_as_published(demo, name):
    model = MODELS[name]
    sample = read_published_sample(ModelRepository(DEMO).model(name).sample_path(model.version))
    batch = {tensor.name: literal(sample.inputs[tensor.name], tensor.datatype) for tensor in model.inputs}
    made = f"new clients.{class_of((demo.folder / 'clients.ts').read_text(), name)}(new clients.Client(url))"
    inputs = ", ".join(f"{key}: {text}" for key, text in batch.items())
    answer = demo.run(f"tell(await {made}.predictBatch({{ {inputs} }}));")
    for tensor in model.outputs:
        expected, received = sample.outputs[tensor.name], answer[tensor.name]
        data = plain(received["data"] if isinstance(received, dict) else received)
        if tensor.datatype is DataType.BYTES:
            assert data == [value.decode() for value in expected.reshape(-1)]
        else:
            numbers = [float(str(value).removesuffix("n")) for value in data]
            np.testing.assert_allclose(numbers, expected.reshape(-1), rtol=1e-3, atol=1e-4)


def test_a_model_without_a_sample_is_called_as_well(demo):
    (image,) = MODELS["digits_reader"].example.inputs["image"].reshape(-1)
    coded = base64.b64encode(image).decode()
    answer = demo.run(
        f'const image = Buffer.from("{coded}", "base64");\n'
        "tell(await new clients.DigitsReaderPre(new clients.Client(url)).predict({ image }));"
    )
    assert answer["pixels"]["shape"][-2:] == [8, 8] or answer["pixels"]["shape"][:2] == [8, 8]
