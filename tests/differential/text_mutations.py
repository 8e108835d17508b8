# SPDX-License-Identifier: Apache-2.0
"""What is done to the text of a configuration: words swapped, doubled, cut, numbers out of range, odd spellings."""

import re

_WORD = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*|-?[0-9][0-9a-fA-FxX.+-]*|[^\sA-Za-z0-9"]')
_ODD_VALUES = (
    b"99999999999999999999",
    b"-1",
    b"1.5",
    b"0x10",
    b"010",
    b"1e3",
    b"TYPE_FP32",
    b"11",
    b"true",
    b"True",
    b"t",
    b"f",
    b"False",
    b"FALSE",
    b"0",
    b'"text"',
    b"'text'",
    b"nan",
    b"inf",
    b"-inf",
    b"1f",
    b"1.5f",
    b".5",
    b"5.",
    b"-",
    b"2147483648",
    b"-2147483649",
    b"4294967296",
    b"18446744073709551616",
    b"TYPE_FP99",
    b"KIND_TPU",
    b"99",
    b'"a" "b"',
    b'"\\x41"',
    b'"\\303\\244"',
    b'"\\377"',
    b'"\\u00e4"',
    b"{}",
    b"[]",
    b"[1,2]",
    b"[1 2]",
    b"[1,]",
    b"<>",
    b"- 1",
    b'"\\q"',
    b'"unclosed',
    b"# comment\n1",
    b"+1",
    b"1_000",
    b"0b1",
    b"--1",
    b"08",
    b"1L",
    b"1u",
    b"0.0",
    b"1.0",
    b"2.0",
    b'"\\000"',
    b'"\\n"',
    b'"\\0"',
    b"1e400",
    b"infinity",
    b"Infinity",
    b"NaN",
    b"-nan",
    b"-0",
    b"0xg",
    b"TRUE",
    b'"\\U0001F600"',
    b'"\\ud83d"',
    b'"\\xff\\xfe"',
    b"0x1F",
    b"-0x10",
    b"00",
    b"9" * 400,
)
_PUNCTUATION = (
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b";",
    b"<",
    b">",
    b"(",
    b"/",
    b"\\",
    b"@",
    b"!",
    b'"',
    b"'",
    b"#",
    b"\x00",
    b"\xff",
    b"\xc3\xa4",
    b"\xef\xbb\xbf",
    b"\x0c",
    b"\x0b",
    b"//",
    b"/* */",
    b"-",
    b".",
    b"~",
)
_ADDED = (
    b"unknown_field: 1",
    b"max_batch_size: 8",
    b'name: "other"',
    b"dynamic_batching {}",
    b"sequence_batching {}",
    b"ensemble_scheduling {}",
    b"[ext.field]: 1",
    b"[type.googleapis.com/inference.ModelConfig] {}",
    b"input []",
    b"input: []",
    b"input [ {}, ]",
    b"input: { }",
    b"input < >",
    b'parameters { key: "a" }',
    b"parameters { }",
    b'parameters: { key: "a" value: { string_value: "b" } }, parameters: { key: "a" value: { string_value: "c" } }',
    b"model_metrics { }",
    b"reserved: 1",
    b"18446744073709551615: 1",
    b"4: 8",
    b"version_policy { all {} latest {} }",
    b"version_policy: { latest { num_versions: 0 } }",
    b"optimization: { cuda: { graphs: 1 } }",
    b"Input { }",
    b"MAX_BATCH_SIZE: 1",
    b"max-batch-size: 1",
    b"maxBatchSize: 4",
    b"response_cache { enable: 2 }",
    b"response_cache { enable: 1 }",
    b"response_cache: { enable: t }",
    b"instance_group [ { count: 1.0 } ]",
    b"instance_group { kind: 2 }",
    b"instance_group { kind: 77 }",
    b"instance_group { count: 0x2 }",
    b'platform: ""',
    b"metric_tags { key: 'k' value: 'v' }",
    b"metric_tags [ { key: 'k' }, { key: 'k' value: 'w' } ]",
    b";",
    b",",
    b"{}",
    b'default_model_filename: "a" "b"',
    b"ensemble_scheduling { max_inflight_requests: 1 }",
    b"runtime: ''",
    b"model_transaction_policy { decoupled: 0 }",
    b"batch_input { kind: BATCH_ELEMENT_COUNT }",
    b"{ }",
    b"} {",
)


def mutate_text(random, draft):
    """One change of the bytes."""
    text = draft.rendered()
    change = random.choice(_CHANGES)
    draft.text = change(random, text)
    draft.did(f"{change.__name__.strip('_').replace('_', ' ')} in the text")


def _words(text):
    return [(match.start(), match.end()) for match in _WORD.finditer(text)] or [(0, 0)]


def _swapped_words(random, text):
    words = _words(text)
    place = random.randrange(len(words))
    (start, middle), (after, end) = words[place], words[min(place + 1, len(words) - 1)]
    return (
        text
        if after <= start
        else text[:start] + text[after:end] + text[middle:after] + text[start:middle] + text[end:]
    )


def _doubled_word(random, text):
    start, end = random.choice(_words(text))
    return text[:end] + b" " + text[start:end] + text[end:]


def _removed_word(random, text):
    start, end = random.choice(_words(text))
    return text[:start] + text[end:]


def _odd_value(random, text):
    values = [match.span(1) for match in re.finditer(rb":\s*([^\s{}\[\]]+)", text)] or _words(text)
    start, end = random.choice(values)
    return text[:start] + random.choice(_ODD_VALUES) + text[end:]


def _cut_off(random, text):
    return text[: random.randrange(len(text) + 1)]


def _line_doubled(random, text):
    lines = text.splitlines(keepends=True)
    place = random.randrange(len(lines) or 1)
    return b"".join([*lines[: place + 1], *lines[place:]])


def _line_removed(random, text):
    lines = text.splitlines(keepends=True)
    place = random.randrange(len(lines) or 1)
    return b"".join([*lines[:place], *lines[place + 1 :]])


def _punctuation_put(random, text):
    place = random.choice(_words(text))[random.randrange(2)]
    return text[:place] + random.choice(_PUNCTUATION) + text[place:]


def _something_added(random, text):
    added = random.choice(_ADDED)
    return random.choice((text + b"\n" + added, added + b"\n" + text))


def _other_spelling(random, text):
    return random.choice(
        (
            text.replace(b"\n", b"\r\n"),
            text.replace(b"\n", b" "),
            text.replace(b" {", b": {"),
            text.replace(b'"', b"'"),
            text.replace(b"{", b"<").replace(b"}", b">"),
            b"\xef\xbb\xbf" + text,
            text + b"\x00",
            text.replace(b"\n", b";\n"),
            text.replace(b"\n", b",\n"),
            b"# comment\n" + text + b"# no newline",
            text.replace(b": ", b":"),
            text.upper(),
            text.replace(b"\n", b"\x0b"),
            text.replace(b"\n", b"\r"),
            text.replace(b"\n", b"\x0c"),
            text.decode(errors="replace").encode("utf-16"),
            text.replace(b"dims:", b"dims: [").replace(b"[ ", b"["),
            b" " * 5000 + text,
            text.replace(b"\n", b"\t# x\n"),
        )
    )


_CHANGES = (
    _swapped_words,
    _doubled_word,
    _removed_word,
    _odd_value,
    _odd_value,
    _odd_value,
    _odd_value,
    _cut_off,
    _line_doubled,
    _line_removed,
    _punctuation_put,
    _punctuation_put,
    _something_added,
    _something_added,
    _something_added,
    _other_spelling,
)
