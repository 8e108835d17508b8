# SPDX-License-Identifier: Apache-2.0
"""Nothing that a model says becomes code of the generated file."""

import re

import numpy as np

from repo_tool.client_code.description import Example, ModelDescription, TensorDescription
from repo_tool.client_code.typescript import render_typescript
from repo_tool.datatypes import DataType

HOSTILE = (
    "*/ process.exit(7); /*",
    '"); process.exit(7); ("',
    "`${process.exit(7)}`",
    "a\nprocess.exit(7);",
    "a\r\nprocess.exit(7);",
    "\u2028process.exit(7);",
    "\\",
    "\\*/ process.exit(7);",
    "}}{{ 7 * 7 }}{% raw %}",
    "</script>",
    "\x00",
    "'\"",
    "__proto__",
    "constructor",
)


def model(text):
    words = (text, "b")
    raw = np.array([text.encode()], dtype=object)
    return ModelDescription(
        name=text,
        max_batch_size=4,
        inputs=(
            TensorDescription(name=text, datatype=DataType.FP32, shape=(2,), columns=words),
            TensorDescription(name=f"{text} word", datatype=DataType.BYTES, shape=(1,)),
        ),
        outputs=(
            TensorDescription(name=text, datatype=DataType.FP32, shape=(2,), classes=words),
            TensorDescription(name="word", datatype=DataType.BYTES, shape=(1,), words=words, is_text=True),
        ),
        about=text,
        made_with=text,
        release=text,
        example=Example(
            inputs={text: np.array([1, 2], np.float32), f"{text} word": raw}, outputs={"word": raw}, path=text
        ),
    )


def test_nothing_that_a_model_says_becomes_code(program, tmp_path):
    (tmp_path / "clients.ts").write_text(render_typescript([model(text) for text in HOSTILE]), encoding="utf-8")
    told = program(tmp_path, "http://localhost:9").run(
        "const specs = Object.values(clients).map((each) => (each as any).spec).filter((spec) => spec);\n"
        "tell(specs.map((spec) => [spec.name, spec.inputs[0].name, spec.outputs[0].classes.words[0]]));"
    )
    assert sorted(told) == sorted([text, text, text] for text in HOSTILE)


def test_no_name_is_given_twice():
    scores = [
        TensorDescription(name=f"y{number}", datatype=DataType.FP32, shape=(2,), classes=(str(number), "other"))
        for number in range(12)
    ]
    many = ModelDescription(name="many", max_batch_size=4, inputs=(), outputs=tuple(scores))
    names = ("ManyLabel11", "ManyLabels12", "Tensor", "Checked")
    others = [ModelDescription(name=name, max_batch_size=4, inputs=(), outputs=()) for name in names]
    text = render_typescript([many, *others])
    given = re.findall(r"^export (?:const|type|class|interface) (\w+)", text, re.MULTILINE)
    assert len(given) == len(set(given))
