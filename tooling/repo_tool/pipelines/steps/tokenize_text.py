# SPDX-License-Identifier: Apache-2.0
"""Turn a text into the ids of a Hugging Face ``tokenizer.json``, with attention mask and token types."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]

_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>")


@dataclass(frozen=True, kw_only=True)
class TokenizeText:
    """Every row gets ``length`` tokens (``fixed``), or as many as the longest row beside it has, at most ``length``.

    A text without a token of its own, such as white space alone, is refused, or with ``empty: keep`` all padding and
    special tokens.

    The side, the token and the token type of the padding are those of the file; ``pad_token`` and ``side`` overrule it.
    """

    packages: ClassVar[tuple[str, ...]] = ("tokenizers",)

    tokenizer: Path
    length: int
    padding: Literal["fixed", "longest"] = "fixed"
    too_long: Literal["cut", "refuse"] = "cut"
    datatype: Literal["INT64", "INT32"] = "INT64"
    special_tokens: bool = True
    pad_token: str | None = None
    side: Literal["left", "right"] | None = None
    empty: Literal["refuse", "keep"] = "refuse"
    most_bytes: int = 100_000

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError("length is at least 1 token")
        if self.most_bytes < 1:
            raise ValueError("most_bytes is at least 1")

    def outputs(self, inputs: Wires) -> Wires:
        """Three tensors of one length."""
        if inputs["text"] != ("BYTES", (1,)):
            raise ValueError(f"'text' must be BYTES [1], one text a row; it is {inputs['text']}")
        added = self._loaded.num_special_tokens_to_add(False) if self.special_tokens else 0
        if added >= self.length:
            raise ValueError(f"length {self.length} leaves no room beside the {added} special tokens around 'text'")
        told = (self.datatype, (self.length if self.padding == "fixed" else -1,))
        return {"input_ids": told, "attention_mask": told, "token_type_ids": told}

    def run(self, text: NDArray[Any]) -> dict[str, Any]:
        """All rows at once, in the tokenizer's own threads."""
        texts = [self._text(row, value) for row, (value,) in enumerate(text)]
        encodings = self._loaded.encode_batch(texts, add_special_tokens=self.special_tokens)
        for row, encoding in enumerate(encodings):
            if self.empty == "refuse" and 0 not in encoding.special_tokens_mask:
                raise ValueError(f"row {row}: the text has no tokens")
        longest = max((len(encoding.ids) for encoding in encodings), default=0)
        if self.too_long == "refuse" and longest > self.length:
            row = next(row for row, encoding in enumerate(encodings) if len(encoding.ids) > self.length)
            raise ValueError(f"row {row}: the text has {len(encodings[row].ids)} tokens, more than {self.length}")
        return self._padded(encodings, self.length if self.padding == "fixed" else max(longest, 1))

    def warm(self) -> None:
        """Read the file."""
        _ = self._loaded

    def _text(self, row: int, value: bytes) -> str:
        if not value and self.empty == "refuse":
            raise ValueError(f"row {row}: the text is empty")
        if len(value) > self.most_bytes:
            raise ValueError(f"row {row}: the text has {len(value)} bytes, and at most {self.most_bytes} are taken")
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"row {row}: the text is not UTF-8 (byte {error.start})") from error

    def _padded(self, encodings: list[Any], length: int) -> dict[str, Any]:
        pad_id, pad_type, side = self._pad
        values = (
            ("input_ids", "ids", pad_id),
            ("attention_mask", "attention_mask", 0),
            ("token_type_ids", "type_ids", pad_type),
        )
        arrays = {name: np.full((len(encodings), length), pad, dtype=self.datatype.lower()) for name, _, pad in values}
        for row, encoding in enumerate(encodings):
            count = len(encoding.ids)
            taken = slice(0, count) if side == "right" else slice(length - count, length)
            for name, attribute, _ in values:
                arrays[name][row, taken] = getattr(encoding, attribute)
        return arrays if self.padding == "fixed" else {name: list(array) for name, array in arrays.items()}

    @cached_property
    def _loaded(self) -> Any:
        """The tokenizer without padding of its own, which would hold for one batch only."""
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self.tokenizer))
        except Exception as error:  # tokenizers raises nothing narrower
            raise ValueError(f"'{self.tokenizer.name}' is no tokenizer.json ({error})") from error
        self._find_pad(tokenizer)
        tokenizer.no_padding()
        if self.too_long == "cut":
            told = tokenizer.truncation or {}
            tokenizer.enable_truncation(self.length, direction=told.get("direction", "right"))
        else:
            tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _pad(self) -> tuple[int, int, str]:
        from tokenizers import Tokenizer

        return self._find_pad(Tokenizer.from_file(str(self.tokenizer)))

    def _find_pad(self, tokenizer: Any) -> tuple[int, int, str]:
        """Id and token type of the padding, and its side."""
        told = tokenizer.padding or {}
        side = self.side or told.get("direction", "right")
        if self.pad_token is None and told:
            return told["pad_id"], told["pad_type_id"], side
        candidates = _PAD_TOKENS if self.pad_token is None else (self.pad_token,)
        ids = [found for token in candidates if (found := tokenizer.token_to_id(token)) is not None]
        if not ids:
            raise ValueError(f"'{self.tokenizer.name}' has no token {' or '.join(candidates)}: name one as pad_token")
        return ids[0], told.get("pad_type_id", 0), side
