# SPDX-License-Identifier: Apache-2.0
"""Texts on which protobuf's two parsers may part, with what Triton 2.51 makes of each; tests/integration asks it."""

BEGINNING = (
    b'backend: "python"\n'
    b'input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]\n'
    b'output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]\n'
    b"instance_group [ { kind: KIND_CPU count: 1 } ]\n"
)


def _with(line):
    return BEGINNING + line + b"\n"


def _string(value):
    return _with(b'parameters { key: "a" value { string_value: ' + value + b" } }")


READ = {
    "a hexadecimal number": _with(b"max_batch_size: 0x10"),
    "an octal number": _with(b"max_batch_size: 010"),
    "minus and a blank": _with(b"optimization { graph { level: - 1 } }"),
    "minus and a comment": _with(b"optimization { graph { level: - # one\n 1 } }"),
    "a boolean in hexadecimal": _with(b"response_cache { enable: 0x0 }"),
    "a boolean in octal": _with(b"response_cache { enable: 00 }"),
    "an enumeration by number": _with(b"optimization { priority: 1 }"),
    "no UTF-8 in a comment": _with(b"# caf\xe9"),
    "no UTF-8 in a string": _string(b'"caf\xe9"'),
    "a byte by an escape": _string(b'"\\xff\\376"'),
    "a byte too large": _string(b'"\\777"'),
    "half a character": _string(b'"\\ud800"'),
    "two halves of a character": _string(b'"\\ud83d\\ude00"'),
    "no character": _string(b'"\\U00110000"'),
    "every escape": _string(b'"\\a\\b\\f\\n\\r\\t\\v\\?\\\\\\\'\\"\\x4\\u00e9\\U0001F600"'),
    "strings side by side": _string(b"\"a\" # b\n 'c'"),
    "control characters in a string": _string(b'"a\tb\rc\x01"'),
    "old line ends": BEGINNING.replace(b"\n", b"\r"),
    "angle brackets and semicolons": _with(b"response_cache < enable: false; >;"),
    "a list of one for a message": _with(b"parameters: [ { key: 'a' value: { string_value: '1' } } ]"),
    "a key twice in a map": _string(b'"1"') + b'parameters { key: "a" value { string_value: "2" } }',
    "nothing": b"",
}

REFUSED = {
    "plus": _with(b"max_batch_size: +4"),
    "binary": _with(b"max_batch_size: 0b1"),
    "octal as Python has it": _with(b"max_batch_size: 0o10"),
    "digits apart": _with(b"max_batch_size: 1_0"),
    "no octal digit": _with(b"max_batch_size: 08"),
    "a fraction": _with(b"max_batch_size: 4.0"),
    "too large a number": _with(b"max_batch_size: 2147483648"),
    "a number against a name": _with(b"max_batch_size:1response_cache{enable:false}"),
    "an octal fraction": _with(b"max_batch_size: 1 sequence_batching { direct { minimum_slot_utilization: 01 } }"),
    "an unknown escape": _string(b'"\\d+"'),
    "an escaped slash": _string(b'"\\/"'),
    "a large X": _string(b'"\\X41"'),
    "too few digits": _string(b'"\\u00e"'),
    "a line end in a string": _string(b'"a\nb"'),
    "a zero in a string": _string(b'"a\x00b"'),
    "a zero in a comment": _with(b"# a\x00b"),
    "a blank of Unicode": _with("\u00a0max_batch_size: 1".encode()),
    "a control character": _with(b"\x1cmax_batch_size: 1"),
    "a byte order mark": b"\xef\xbb\xbf" + BEGINNING,
    "UTF-16": b"\xff\xfe" + BEGINNING.decode().encode("utf-16-le"),
    "a field twice": _with(b"max_batch_size: 1\nmax_batch_size: 1"),
    "two of one choice": _with(b"version_policy { latest { num_versions: 1 } all { } }"),
    "a comma at the end of a list": BEGINNING.replace(b"[ 4 ]", b"[ 4, ]"),
    "another language's comment": _with(b"// hello"),
    "an extension": _with(b"[some.extension]: 1"),
    "a quoted enumeration": _with(b'optimization { priority: "PRIORITY_MAX" }'),
    "a boolean in capitals": _with(b"response_cache { enable: FALSE }"),
    "an open brace": _with(b"response_cache { enable: false"),
    "a brace too many": _with(b"}"),
    "JSON": b'{"backend": "python"}',
}
