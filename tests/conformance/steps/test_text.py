# SPDX-License-Identifier: Apache-2.0
"""The steps that work on text: what they make of it, each against the library it follows, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.steps.cases_text import TEXTS, TOKENIZER, VOCABULARY, WORDS, tokenizer
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.wire import Wire
from support.step_cases import Case, complaint_of, rows_of_bytes, step_for

TEXT = {"text": Wire(DataType.BYTES, (1,))}


def step(name, files=(), **parameters):
    return step_for(name, Case({}, parameters, dict(files)))


def tokenize(**parameters):
    return step("tokenize_text", {"tokenizer": TOKENIZER}, **{"length": 8, **parameters})


def vocabulary(**parameters):
    return step("vocabulary", {"vocabulary": VOCABULARY}, **parameters)


def run(made, *texts):
    (answer, *_) = made.run({"text": rows_of_bytes(*(text.encode() for text in texts))}).values()
    return answer


def test_case_goes_by_unicode_and_not_by_the_locale():
    assert run(step("lower_case"), "İstanbul ÇA ẞ").item().decode() == "İstanbul ÇA ẞ".lower()
    assert run(step("lower_case", fold=True), "Straße").item() == b"strasse"


def test_a_text_is_brought_into_the_form_that_is_asked_for():
    assert (
        run(step("clean_text", form="NFKC", join_spaces=True), "  ﬁn\t e\u0301té\u2003! ").item().decode()
        == "fin été !"
    )
    assert run(step("clean_text", strip=False), " a ").item() == b" a "


@pytest.mark.parametrize(
    "made",
    [
        step("lower_case", most_bytes=20),
        step("clean_text", most_bytes=20),
        tokenize(most_bytes=20),
        vocabulary(length=2, most_bytes=20),
    ],
    ids=["lower_case", "clean_text", "tokenize_text", "vocabulary"],
)
def test_a_text_too_long_or_no_text_is_refused_with_its_row(made):
    with pytest.raises(ValueError, match="row 1: the text has 21 bytes, and at most 20 are taken"):
        made.run({"text": rows_of_bytes(b"Satz", b"x" * 21)})
    with pytest.raises(ValueError, match=r"row 1: the text is not UTF-8 \(byte 2\)"):
        made.run({"text": rows_of_bytes(b"Satz", b"ab\xff")})


@pytest.mark.parametrize("name", ["lower_case", "clean_text", "tokenize_text", "vocabulary"])
def test_a_megabyte_is_too_long_unless_asked_for(name):
    parameters = {"tokenize_text": {"length": 8}, "vocabulary": {"length": 8}}.get(name, {})
    files = {"tokenize_text": {"tokenizer": TOKENIZER}, "vocabulary": {"vocabulary": VOCABULARY}}.get(name, {})
    with pytest.raises(ValueError, match="row 0: the text has 1000000 bytes"):
        step(name, files, **parameters).run({"text": rows_of_bytes(b"a" * 1_000_000)})


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (step("clean_text"), "row 1: the text is empty"),
        (tokenize(), "row 1: the text is empty"),
        (vocabulary(length=2), "row 1: the text has no words"),
    ],
    ids=["clean_text", "tokenize_text", "vocabulary"],
)
def test_an_empty_text_is_refused_unless_it_is_let_in(made, words):
    with pytest.raises(ValueError, match=words):
        made.run({"text": rows_of_bytes(b"Satz", b"")})
    kept = step_kind(made.name).with_parameters(made.parameters | {"empty": "keep"})
    assert all(len(rows) == 2 for rows in kept.run({"text": rows_of_bytes(b"Satz", b"")}).values())


def test_a_text_of_which_no_token_is_left_is_refused():
    for special_tokens in (True, False):
        with pytest.raises(ValueError, match="row 1: the text has no tokens"):
            run(tokenize(special_tokens=special_tokens), "Satz", " \t ")
    kept = tokenize(special_tokens=False, empty="keep").run({"text": rows_of_bytes(b"Satz", b" \t ")})
    assert kept["attention_mask"].sum(axis=1).tolist() == [1, 0]


def test_a_letter_with_too_many_marks_is_refused_where_sorting_them_would_take_long():
    below, above = "\u0316", "\u0301"
    with pytest.raises(ValueError, match="row 1: the text has more than 100 combining marks in a row"):
        run(step("clean_text", form="NFC"), "Satz", "a" + (above + below) * 20_000)
    many = ("a" + (above + below) * 50) * 300
    assert len(run(step("clean_text", form="NFC"), many).item().decode()) == 300 * 100
    assert run(step("clean_text"), "a" + above * 200).item().decode() == "a" + above * 200


@pytest.mark.parametrize(
    "word", [r"(a+)+b", r"(?:a|ab)*c", r"(a?)*b", r"(?:\w+[-'])*\w+", r"(?=(a+)+b)", r"(x(a*?)y)+"]
)
def test_an_expression_that_can_take_for_ever_is_refused(word):
    with pytest.raises(PipelineError, match="do not fit") as raised:
        vocabulary(gives="counts", word=word)
    assert "can take for ever" in raised.value.cause


@pytest.mark.parametrize(
    "word", [r"\b\w\w+\b", r"(?:\w++[-'])*\w+", r"(?:a|ab)*+c", r"[^\W\d_]+|\d+", r"(?>(?:a|b)++)+", r"(?:\w{2})+"]
)
def test_an_expression_that_gives_back_nothing_is_taken(word):
    assert run(vocabulary(gives="counts", word=word, empty="keep"), "a" * 2_000).sum() == 0


EVERY = (
    step("lower_case"),
    step("clean_text", form="NFKD"),
    tokenize(),
    vocabulary(length=3),
    vocabulary(gives="counts"),
)


@given(text=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_text_or_refused_by_their_row(text):
    for made in EVERY:
        complaint = complaint_of(made, {"text": rows_of_bytes(b"Satz", text)})
        assert complaint is None or complaint.startswith("row 1: the text ")


def test_ids_masks_and_types_are_the_library_s_own():
    library = tokenizer()
    library.enable_truncation(5)
    library.enable_padding(length=5, pad_id=0, pad_token=WORDS[0])
    encodings = library.encode_batch([text.decode() for (text,) in TEXTS])
    ours = tokenize(length=5).run({"text": TEXTS})
    for tensor, attribute in (
        ("input_ids", "ids"),
        ("attention_mask", "attention_mask"),
        ("token_type_ids", "type_ids"),
    ):
        np.testing.assert_array_equal(ours[tensor], [getattr(encoding, attribute) for encoding in encodings])


def test_the_padding_of_the_file_holds_where_nothing_overrules_it():
    library = tokenizer()
    library.enable_padding(direction="left", pad_id=9, pad_type_id=1, pad_token=WORDS[9], length=99)
    files = {"tokenizer": ("tokenizer.json", library.to_str().encode())}
    answer = step("tokenize_text", files, length=5).run({"text": rows_of_bytes(b"Satz")})
    assert answer["input_ids"].tolist() == [[9, 9, 2, 5, 3]]
    assert answer["token_type_ids"].tolist() == [[1, 1, 0, 0, 0]]
    right = step("tokenize_text", files, length=5, side="right", pad_token=WORDS[4]).run(
        {"text": rows_of_bytes(b"Satz")}
    )
    assert right["input_ids"].tolist() == [[2, 5, 3, 4, 4]]
    assert right["attention_mask"].tolist() == [[1, 1, 1, 0, 0]]


def test_rows_can_be_as_long_as_the_longest_beside_them():
    made = tokenize(padding="longest", length=6)
    assert made.output_wires(TEXT)["input_ids"].dims == (-1,)
    answer = made.run({"text": rows_of_bytes(b"Satz", b"Ein Satz va")})["input_ids"]
    assert [row.tolist() for row in answer] == [[2, 5, 3, 0, 0], [2, 4, 5, 6, 3]]
    assert [len(row) for row in made.run({"text": rows_of_bytes(b"Ein " * 9)})["input_ids"]] == [6]


def test_too_many_tokens_are_refused_where_cutting_is_not_wanted():
    with pytest.raises(ValueError, match="row 1: the text has 5 tokens, more than 4"):
        run(tokenize(length=4, too_long="refuse"), "Satz", "Ein Satz va")


@pytest.mark.parametrize(
    ("content", "parameters", "words"),
    [
        (b"{}", {}, "'tokenizer.json' is no tokenizer.json"),
        (TOKENIZER[1], {"length": 2}, "length 2 leaves no room beside the 2 special tokens"),
        (TOKENIZER[1].replace(b"[PAD]", b"[X]"), {}, r"has no token \[PAD\] or .*: name one as pad_token"),
        (TOKENIZER[1], {"pad_token": "[MASK]"}, r"has no token \[MASK\]"),
    ],
    ids=["no tokenizer", "too short", "nothing to pad with", "unknown token"],
)
def test_a_tokenizer_that_can_never_work_is_told_before_anything_runs(content, parameters, words):
    made = step("tokenize_text", {"tokenizer": ("tokenizer.json", content)}, **{"length": 8, **parameters})
    with pytest.raises(PipelineError) as raised:
        made.output_wires(TEXT)
    assert raised.match("cannot work on its inputs")
    with pytest.raises(ValueError, match=words):
        raise raised.value.__cause__


def test_words_are_counted_as_scikit_learn_counts_them():
    from sklearn.feature_extraction.text import CountVectorizer

    texts = ["Ein Satz, ein Satz de", "va", "日本語 BIEN de de"]
    library = CountVectorizer(vocabulary=list(WORDS[4:]), lowercase=False)
    ours = vocabulary(gives="counts", word=r"\b\w\w+\b")
    np.testing.assert_array_equal(run(ours, *texts), library.transform(texts).toarray())
    assert run(vocabulary(gives="presence", word=r"\b\w\w+\b"), "Ein Ein").tolist() == [[1, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("name", ["lower_case", "clean_text", "tokenize_text", "vocabulary"])
def test_a_text_of_no_bytes_or_fewer_is_none(name):
    parameters = {"tokenize_text": {"length": 8}, "vocabulary": {"length": 8}}.get(name, {})
    files = {"tokenize_text": {"tokenizer": TOKENIZER}, "vocabulary": {"vocabulary": VOCABULARY}}.get(name, {})
    with pytest.raises(PipelineError, match=f"'{name}' do not fit"):
        step(name, files, **parameters, most_bytes=-1)


def test_unknown_words_are_skipped_numbered_or_refused():
    text = "Ein blauer Satz"
    assert run(vocabulary(length=3, first_id=1), text).tolist() == [[1, 2, 0]]
    assert run(vocabulary(length=3, unknown="id", unknown_id=77), text).tolist() == [[0, 77, 1]]
    with pytest.raises(ValueError, match=r"row 1: 'blauer' is not in 'words.txt'"):
        run(vocabulary(length=3, unknown="refuse"), "Ein", text)
    with pytest.raises(ValueError, match="row 1: the text has 3 words, more than 2"):
        run(vocabulary(length=2, too_long="refuse"), "Ein", "Ein Satz va")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"length": 2, "word": "("},
        {"length": 2, "unknown": "id"},
        {"gives": "counts", "unknown": "id", "unknown_id": 1},
        {"length": 2, "pad_id": 2**31, "datatype": "INT32"},
        {"length": 2, "first_id": -(2**70)},
    ],
    ids=["ids without length", "no expression", "no id", "an id among counts", "an id too large", "and too small"],
)
def test_parameters_of_a_vocabulary_that_contradict_one_another_are_refused(parameters):
    with pytest.raises(PipelineError, match="do not fit"):
        vocabulary(**parameters)


@pytest.mark.parametrize("content", [b"", b"a\nb\na\n", b"\xff"], ids=["empty", "a word twice", "not UTF-8"])
def test_a_file_that_is_no_vocabulary_is_told_before_anything_runs(content):
    made = step("vocabulary", {"vocabulary": ("words.txt", content)}, gives="counts")
    with pytest.raises(PipelineError) as raised:
        made.output_wires(TEXT)
    assert "'words.txt'" in raised.value.cause
