# SPDX-License-Identifier: Apache-2.0
"""Cases of the steps that work on text."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from support.step_cases import Case, rows_of_bytes

TEXTS = rows_of_bytes(
    *(text.encode() for text in ("Ein Satz", " ÇA va\tBIEN ", "日本語 と 日本語", "x", "ﬁn de l'été"))
)
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "Ein", "Satz", "va", "BIEN", "日本語", "de")
VOCABULARY = ("words.txt", "".join(f"{word}\n" for word in WORDS[4:]).encode())


def tokenizer():
    """Words of a list, between two special tokens."""
    made = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token=WORDS[1]))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    return made


TOKENIZER = ("tokenizer.json", tokenizer().to_str().encode())

CASES = {
    "lower_case": Case({"text": TEXTS}),
    "lower_case: folded": Case({"text": TEXTS}, {"fold": True}),
    "clean_text": Case({"text": TEXTS}),
    "clean_text: in one form": Case({"text": TEXTS}, {"form": "NFKC", "join_spaces": True}),
    "tokenize_text": Case({"text": TEXTS}, {"length": 8}, {"tokenizer": TOKENIZER}),
    "tokenize_text: cut, on the left, INT32": Case(
        {"text": TEXTS}, {"length": 4, "side": "left", "datatype": "INT32"}, {"tokenizer": TOKENIZER}
    ),
    "tokenize_text: no special tokens": Case(
        {"text": TEXTS}, {"length": 3, "special_tokens": False, "pad_token": "[SEP]"}, {"tokenizer": TOKENIZER}
    ),
    "vocabulary": Case({"text": TEXTS}, {"length": 4, "first_id": 1}, {"vocabulary": VOCABULARY}),
    "vocabulary: unknown id": Case(
        {"text": TEXTS},
        {"length": 2, "unknown": "id", "unknown_id": 99, "datatype": "INT32"},
        {"vocabulary": VOCABULARY},
    ),
    "vocabulary: counts": Case({"text": TEXTS}, {"gives": "counts"}, {"vocabulary": VOCABULARY}),
    "vocabulary: presence": Case(
        {"text": TEXTS}, {"gives": "presence", "word": r"\b\w+\b", "datatype": "INT64"}, {"vocabulary": VOCABULARY}
    ),
}
