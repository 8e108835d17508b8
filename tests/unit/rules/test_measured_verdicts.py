# SPDX-License-Identifier: Apache-2.0
"""The rules foresee what a real Triton was seen to do; tests/rules/measured.yaml has the configurations."""

from pathlib import Path

import pytest
import yaml

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import find_rule, validate
from support.rule_cases import EMBEDDED_RELEASE

MEASURED = yaml.safe_load((Path(__file__).parents[2] / "rules" / "measured.yaml").read_text())

MODEL = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"


def write(folder, files):
    for path, text in files.items():
        place = folder / path
        (place if text is None else place.parent).mkdir(parents=True, exist_ok=True)
        if text is not None:
            place.write_text(text)


@pytest.mark.parametrize("model", MEASURED["models"], ids=lambda model: " ".join(model["refused"]) or "loads")
def test_the_rules_foresee_what_triton_did(model, tmp_path):
    config = model.get("config") or MEASURED["base"] + model["adds"]
    write(tmp_path / "echo", {"config.pbtxt": config} | model.get("files", {"1/model.py": MODEL}))
    found = validate(ModelRepository(tmp_path), release=release(EMBEDDED_RELEASE))
    assert sorted({each.code for each in found if find_rule(each.code).embedded_refuses}) == model["refused"]
