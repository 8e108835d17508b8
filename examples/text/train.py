# SPDX-License-Identifier: Apache-2.0
"""Train a tokenizer and a classifier of languages on the translations that ship with Django, and save what it answers.

``python train.py FOLDER`` takes less than a minute and writes into FOLDER:

``language.pt2``, ``language.sample.npz``  the classifier, and rows for ``repo-tool add-model``
``tokenizer.json``, ``labels.txt``, ``pipeline.yaml``  the pipeline and the files that it names
``texts.txt``                  raw samples, a text a line
``test.json``                  every text of the test set, its language, the three likeliest answers and probabilities
"""

import gettext
import json
import re
import shutil
import sys
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn

HERE = Path(__file__).parent
SEED = 7
LANGUAGES = ("ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hu", "id", "it", "ja", "ko", "nb", "nl")
LANGUAGES += ("pl", "pt", "ro", "ru", "sv", "tr", "uk", "vi", "zh_Hans")
TOKENS, LENGTH, WIDTH, EPOCHS, BATCH = 6000, 64, 48, 6, 128
PLACEHOLDER = re.compile(r"%\(\w+\)\w|%\w|\{[^}]*\}|<[^>]*>|&\w+;")

ANSWERS = 3
Texts = list[tuple[str, int]]  # a text and the place of its language


def corpus() -> tuple[Texts, Texts]:
    """Training and test texts; a sentence is in one of both in all its languages."""
    import django

    found: dict[tuple[str, str], str] = {}  # by language and English sentence
    for path in sorted(Path(django.__file__).parent.glob("**/locale/*/LC_MESSAGES/*.mo")):
        language = path.parent.parent.name
        if language in LANGUAGES and language != "en":
            for english, translated in messages(path):
                found["en", english] = english
                found[language, english] = translated
    told = {key: cleaned for key, text in found.items() if len(cleaned := clean(text)) >= 12}
    twice = {text for text, times in _counted(told.values()) if times > 1}  # not translated, or alike in two languages
    train: Texts = []
    test: Texts = []
    for (language, english), text in sorted(told.items()):
        if text not in twice:
            half = test if zlib.crc32(english.encode()) % 4 == 0 else train
            half.append((text, LANGUAGES.index(language)))
    return train, test


def messages(path: Path) -> list[tuple[str, str]]:
    """English sentences and their translations."""
    with path.open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # the only way to them all
    plain = ((key[0] if isinstance(key, tuple) else key, text) for key, text in catalogue.items())
    return [(english, text) for english, text in plain if english and text]


def clean(text: str) -> str:
    """Without placeholders and markup, which would tell nothing of the language."""
    return " ".join(PLACEHOLDER.sub(" ", text).split())


def _counted(texts: Iterable[str]) -> list[tuple[str, int]]:
    values, counts = np.unique(list(texts), return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-pair encoding of lower-cased text, so that no text has an unknown token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=["[PAD]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask ``[texts, LENGTH]``."""
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")  # noqa: S106
    encodings = tokenizer.encode_batch(texts)
    return torch.tensor([each.ids for each in encodings]), torch.tensor([each.attention_mask for each in encodings])


class Languages(nn.Module):
    """The mean of the tokens' vectors, and a line between the languages."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(tokens, WIDTH)
        self.scores = nn.Linear(WIDTH, len(LANGUAGES))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        counted = attention_mask.unsqueeze(-1).to(torch.float32)
        mean = (self.vectors(input_ids) * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
        return self.scores(mean)


def train_model(model: Languages, ids: torch.Tensor, mask: torch.Tensor, answers: torch.Tensor) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(ids)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(ids[batch], mask[batch]), answers[batch]).backward()
            optimizer.step()


def save_model(model: Languages, ids: torch.Tensor, mask: torch.Tensor, folder: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = {"input_ids": {0: batch}, "attention_mask": {0: batch}}
    torch.export.save(
        torch.export.export(model, (ids[:2].clone(), mask[:2].clone()), dynamic_shapes=shapes), folder / "language.pt2"
    )
    np.savez_compressed(folder / "language.sample.npz", input_ids=ids[:64].numpy(), attention_mask=mask[:64].numpy())


def save_answers(test: Texts, probabilities: torch.Tensor, folder: Path) -> None:
    best, places = probabilities.topk(ANSWERS)
    rows = [
        {
            "text": text,
            "language": LANGUAGES[truth],
            "answered": [LANGUAGES[place] for place in likeliest],
            "probabilities": told,
        }
        for (text, truth), likeliest, told in zip(test, places.tolist(), best.tolist(), strict=True)
    ]
    (folder / "test.json").write_text(json.dumps(rows, ensure_ascii=False, indent=0), encoding="utf-8")
    right = sum(row["language"] == row["answered"][0] for row in rows)
    print(f"{right} of {len(rows)} texts right ({right / len(rows):.1%}), {len(LANGUAGES)} languages")


@cache
def trained_tokenizer() -> Tokenizer:
    return train_tokenizer([text for text, _ in corpus()[0]])


def preprocess(text: str) -> dict[str, NDArray[np.int64]]:
    """What the classifier was trained on: for ``repo-tool add-pipeline --reference``."""
    ids, mask = encode(trained_tokenizer(), [clean(text)])
    return {"input_ids": ids[0].numpy(), "attention_mask": mask[0].numpy()}


def main(folder: Path) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # so small a network loses time with more
    folder.mkdir(parents=True, exist_ok=True)
    train, test = corpus()
    tokenizer = trained_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    ids, mask = encode(tokenizer, [text for text, _ in train])
    model = Languages(tokenizer.get_vocab_size())
    train_model(model, ids, mask, torch.tensor([language for _, language in train]))
    model.eval()
    with torch.inference_mode():
        probabilities = model(*encode(tokenizer, [text for text, _ in test])).softmax(dim=1)
    save_model(model, ids, mask, folder)
    save_answers(test, probabilities, folder)
    (folder / "labels.txt").write_text("\n".join(LANGUAGES) + "\n")
    (folder / "texts.txt").write_text("\n".join(text for text, _ in test[::60]) + "\n", encoding="utf-8")
    if folder.resolve() != HERE:
        shutil.copy(HERE / "pipeline.yaml", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
