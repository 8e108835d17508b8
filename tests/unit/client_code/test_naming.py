# SPDX-License-Identifier: Apache-2.0
import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tool.client_code.naming import class_names, member_names
from repo_tool.client_code.python.members import Names


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("wine", "Wine"), ("digits_cnn", "DigitsCnn"), ("resnet50-v1.2", "Resnet50V12"), ("3d-unet", "Model3dUnet"),
        ("digitsReader", "DigitsReader"), ("BERT", "BERT"), ("---", "Model"), ("client", "ClientModel"),
    ],
)  # fmt: skip
def test_a_model_is_a_class(model, name):
    assert class_names([model], lambda name: [name], taken={"Client"}) == {model: name}


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("image", "image"), ("INPUT__0", "INPUT__0"), ("x:0", "x_0"), ("class", "class_"), ("1", "tensor_1"),
        ("__x", "x"), ("a/b c", "a_b_c"), ("größe", "gr_e"), ("日本", "tensor"), ("", "tensor"),
    ],
)  # fmt: skip
def test_a_tensor_is_a_parameter(tensor, name):
    assert member_names([tensor], taken=keyword.kwlist) == {tensor: name}


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=12))
def test_whatever_tensors_are_called_their_names_are_identifiers_and_differ(tensors):
    names = member_names(tensors, taken=keyword.kwlist)
    assert list(names) == tensors
    assert len(set(names.values())) == len(tensors)
    assert all(name.isidentifier() and not keyword.iskeyword(name) and name[0] != "_" for name in names.values())


@given(st.lists(st.text(alphabet="abAB_-. 1", min_size=1, max_size=8), unique=True, max_size=12))
def test_whatever_models_are_called_no_two_share_a_name(models):
    names = class_names(models, lambda name: Names(name).family(), taken=())
    families = [set(Names(name).family()) for name in names.values()]
    assert names.keys() == set(models)
    assert sum(map(len, families)) == len(set().union(*families))
    assert all(name.isidentifier() for name in names.values())


def test_a_result_does_not_take_the_name_of_another_model():
    names = class_names(["wine", "wine_result"], lambda name: Names(name).family(), taken=())
    assert names == {"wine": "Wine", "wine_result": "WineResultModel"}


def test_a_name_that_several_models_could_have_is_nones():
    before = class_names(["a_b", "a_b_model"], lambda name: [name], taken=())
    after = class_names(["a-b", "a_b", "a_b_model"], lambda name: [name], taken=())
    assert before == {"a_b": "AB", "a_b_model": "ABModel"}
    assert after == {"a-b": "ABModel2", "a_b": "ABModel3", "a_b_model": "ABModel"}
