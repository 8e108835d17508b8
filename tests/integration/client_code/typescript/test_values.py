# SPDX-License-Identifier: Apache-2.0
"""Values of every data type through a generated client and a real server, and back as they went."""

import pytest

SIX = {
    "BOOL": ("Uint8Array.of(1, 0, 1, 1, 0, 0)", ["Uint8Array", 1, 0, 1, 1, 0, 0]),
    "UINT8": ("Uint8ClampedArray.of(0, 255, 2, 3, 4, 5)", ["Uint8Array", 0, 255, 2, 3, 4, 5]),
    "UINT16": ("[[0, 65535, 2], [3, 4, 5]]", ["Uint16Array", 0, 65535, 2, 3, 4, 5]),
    "UINT32": ("[[0, 4294967295, 2], [3, 4, 5]]", ["Uint32Array", 0, 4294967295, 2, 3, 4, 5]),
    "UINT64": (
        "[[0n, 18446744073709551615n, 2], [3, 4, 9007199254740991]]",
        ["BigUint64Array", "0n", "18446744073709551615n", "2n", "3n", "4n", "9007199254740991n"],
    ),
    "INT8": ("new clients.Tensor(Int8Array.of(-128, 127, 2, 3, 4, 5), [2, 3])", ["Int8Array", -128, 127, 2, 3, 4, 5]),
    "INT16": ("[[-32768, 32767, 2], [3, 4, 5]]", ["Int16Array", -32768, 32767, 2, 3, 4, 5]),
    "INT32": (
        "Int32Array.of(-2147483648, 2147483647, 2, 3, 4, 5)",
        ["Int32Array", -2147483648, 2147483647, 2, 3, 4, 5],
    ),
    "INT64": (
        "BigInt64Array.of(-9223372036854775808n, 9223372036854775807n, 2n, 3n, 4n, 5n)",
        ["BigInt64Array", "-9223372036854775808n", "9223372036854775807n", "2n", "3n", "4n", "5n"],
    ),
    # The largest half, the smallest above zero, a tie that goes to the even neighbour, a third; NaN is null in JSON.
    "FP16": (
        "[[65504, 5.960464477539063e-8, -0.5], [2049, 1 / 3, NaN]]",
        ["Float32Array", 65504, 5.960464477539063e-8, -0.5, 2048, 0.333251953125, None],
    ),
    "BF16": (
        "Float32Array.of(1, -2.5, 3.140625, 1 + 2 ** -8, 1 + 3 * 2 ** -8, NaN)",
        ["Float32Array", 1, -2.5, 3.140625, 1, 1.015625, None],
    ),
    "FP32": ("[[0.5, -1.25, 2], [3, 4, 16777216]]", ["Float32Array", 0.5, -1.25, 2, 3, 4, 16777216]),
    "FP64": ("Float64Array.of(0.1, 1e300, -2, 3, 4, 5)", ["Float64Array", 0.1, 1e300, -2, 3, 4, 5]),
    "STRING": (
        '[["gr\\u00f6\\u00dfer", "", "\\ufeffmark"], ["\\u{1F600}", new Uint8Array([65]), "e"]]',
        ["gr\u00f6\u00dfer", "", "\ufeffmark", "\U0001f600", "A", "e"],
    ),
}
SINGLES = {
    "BOOL": ("true", True),
    "UINT8": ("7", 7),
    "UINT16": ("7", 7),
    "UINT32": ("7", 7),
    "UINT64": ("7n", "7n"),
    "INT8": ("-7", -7),
    "INT16": ("[-7]", -7),
    "INT32": ("Int32Array.of(-7)", -7),
    "INT64": ("-7", "-7n"),
    "FP16": ("0.5", 0.5),
    "BF16": ("0.5", 0.5),
    "FP32": ("0.5", 0.5),
    "FP64": ("0.1", 0.1),
    "STRING": ('"word"', "word"),
}


def fields(values, wrap="{}"):
    return ", ".join(f"{name.lower()}_in: {wrap.format(text)}" for name, (text, _) in values.items())


def test_a_row_of_every_type_comes_back_as_it_went(odd):
    answer = odd.run(f"tell(await new clients.Kinds(new clients.Client(url)).predict({{ {fields(SIX)} }}));")
    assert answer == {f"{name.lower()}_out": {"shape": [2, 3], "data": data} for name, (_, data) in SIX.items()}


def test_single_values_are_single_values(odd):
    answer = odd.run(f"tell(await new clients.Singles(new clients.Client(url)).predict({{ {fields(SINGLES)} }}));")
    assert answer == {f"{name.lower()}_out": value for name, (_, value) in SINGLES.items()}


def test_a_batch_of_single_values_is_flat(odd):
    plain = {name: pair for name, pair in SINGLES.items() if name not in ("INT16", "INT32")}
    batch = f"{fields(plain, '[{0}, {0}]')}, int16_in: [[-7], [-7]], int32_in: Int32Array.of(-7, -7)"
    answer = odd.run(f"tell(await new clients.Singles(new clients.Client(url)).predictBatch({{ {batch} }}));")
    kinds = {name: data[0] for name, (_, data) in SIX.items()}
    for name, (_, value) in SINGLES.items():
        twice = [int(value), int(value)] if name == "BOOL" else [value, value]
        assert answer[f"{name.lower()}_out"] == (twice if name == "STRING" else [kinds[name], *twice]), name


def test_all_halves_there_are_come_back_as_themselves(odd):
    told = odd.run(
        "const bits = new Uint16Array(65536).map((_, index) => index);\n"
        "const sign = (b: number) => (b & 0x8000 ? -1 : 1);\n"
        "const e = (b: number) => (b >> 10) & 31, f = (b: number) => b & 1023;\n"
        "const half = (b: number) => sign(b) * (e(b) ? (1 + f(b) / 1024) * 2 ** (e(b) - 15) : f(b) * 2 ** -24);\n"
        "const finite = [...bits].filter((b) => e(b) !== 31 && b !== 0x8000).map(half).slice(0, 63486);\n"
        "const model = new clients.Halves(new clients.Client(url));\n"
        "const { half_out } = await model.predict({ half_in: finite });\n"
        "tell(finite.length); tell(finite.every((value, index) => half_out[index] === value));\n"
    )
    assert told == [63486, True]


class TestBatches:
    def test_more_rows_than_fit_are_sent_in_parts_and_answered_in_order(self, odd):
        answer = odd.run(
            "const singles = new clients.Singles(new clients.Client(url));\n"
            "const rows = Array.from({ length: 11 }, (_, row) => row);\n"
            "const of = <T>(value: (row: number) => T): T[] => rows.map(value);\n"
            "tell(await singles.predictBatch({\n"
            "  bool_in: of((row) => row % 2 === 0), uint8_in: Uint8Array.from(rows), uint16_in: rows,\n"
            "  uint32_in: rows, uint64_in: rows, int8_in: rows, int16_in: rows, int32_in: rows,\n"
            "  int64_in: of(BigInt),\n"
            "  fp16_in: rows, bf16_in: rows, fp32_in: Float32Array.from(rows), fp64_in: rows, string_in: of(String),\n"
            "}));"
        )
        assert answer["int64_out"] == ["BigInt64Array", *(f"{row}n" for row in range(11))]
        assert answer["fp32_out"] == ["Float32Array", *range(11)]
        assert answer["string_out"] == [str(row) for row in range(11)]
        assert answer["bool_out"] == ["Uint8Array", *(int(row % 2 == 0) for row in range(11))]

    def test_a_tensor_knows_its_places(self, odd):
        told = odd.run(
            "const tensor = new clients.Tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);\n"
            "tell(tensor.at(1, 2)); tell(tensor.toNested());\n"
            "tell((await caught(async () => tensor.at(0, 3))).name);\n"
            "tell((await caught(async () => new clients.Tensor([1, 2], [3]))).name);\n"
        )
        assert told == [6, [[1, 2, 3], [4, 5, 6]], "RangeError", "ShapeError"]


class TestAnswersOfAnotherShape:
    def test_rows_are_never_matched_with_answers_to_others(self, odd):
        told = odd.run(
            "const places = new clients.Places(new clients.Client(url));\n"
            "const wrong = async (call: () => Promise<unknown>): Promise<void> => {\n"
            "  const error = await caught(call);\n"
            "  tell([error.name, error.tensor, error.received, error.expected, error.hint !== '']);\n"
            "};\n"
            "const rows = (city: string, count: number) => Array.from({ length: count }, () => ({ city, zip: '1' }));\n"
            "await wrong(() => places.predictBatch({ place: rows('fewer', 3) }));\n"
            "await wrong(() => places.predictBatch({ place: rows('fewer', 9) }));\n"
            "await wrong(() => places.predict({ place: { city: 'wide', zip: '1' } }));\n"
            "tell((await places.predictBatch({ place: rows('Bern', 9) })).lengths.shape);"
        )
        wrong = ["UnexpectedAnswerError", "lengths"]
        assert told[:3] == [
            [*wrong, "INT32 [1, 2]", "INT32 [3, 2]", True],
            [*wrong, "INT32 [1, 2]", "INT32 [4, 2]", True],
            [*wrong, "INT32 [1, 3]", "INT32 [1, 2]", True],
        ]
        assert told[3] == [9, 2]


class TestWholeTensors:
    def test_a_model_without_batching_takes_any_size(self, odd):
        told = odd.run(
            "const whole = new clients.Whole(new clients.Client(url));\n"
            "tell(await whole.predict({ matrix: [[1, 2, 3], [4, 5, 6]], factor: 2 }));\n"
            "tell(await whole.predict({ matrix: new clients.Tensor(Float32Array.of(1, 2), [2, 1]) }));\n"
            "tell(await whole.predictBatch([{ matrix: [[1]] }, { matrix: [[2, 3]] }]));\n"
        )
        word = "\ufeffgr\u00f6\u00dfer"
        assert told[0] == {
            "sums": ["Float32Array", 12, 30],
            "scaled": {"shape": [2, 3], "data": ["Float32Array", 2, 4, 6, 8, 10, 12]},
            "class": word,
        }
        assert told[1]["sums"] == ["Float32Array", 1, 2]
        assert [answer["sums"] for answer in told[2]] == [["Float32Array", 1], ["Float32Array", 5]]

    def test_bytes_that_are_no_text_are_read_as_their_user_says(self, odd):
        told = odd.run(
            "const client = new clients.Client(url);\n"
            "const input = { matrix: [[-1]] };\n"
            "const error = await caught(() => new clients.Whole(client).predict(input));\n"
            "tell([error.name, error.message.includes('bytes: (raw) => raw')]);\n"
            "const raw: clients.WholeResult<Uint8Array> = "
            "await new clients.Whole(client, { bytes: (raw) => raw }).predict(input);\n"
            "tell(raw.class);\n"
            "tell((await new clients.Whole(client, { bytes: (raw) => raw.length }).predict(input)).class + 1);\n"
        )
        assert told == [["UnexpectedAnswerError", True], ["Uint8Array", 255], 2]


def test_nan_is_refused_where_the_model_is_made_so(odd):
    told = odd.run(
        "const client = new clients.Client(url);\n"
        "const whole = new clients.Whole(client, { nan: 'refuse' });\n"
        "const error = await caught(() => whole.predict({ matrix: [[1, NaN]] }));\n"
        "tell([error.name, error.tensor, error.message.includes('first at [0, 1]'), error.hint !== '']);\n"
        "tell((await whole.predict({ matrix: [[1, 2]] })).sums[0]);\n"
        "tell((await new clients.Whole(client).predict({ matrix: [[1, NaN]] })).sums);\n"
        "const halves = new clients.Halves(client, { nan: 'refuse' });\n"
        "tell((await caught(() => halves.predict({ half_in: [1, NaN] }))).name);\n"
        "tell((await halves.predict({ half_in: [1, Infinity] })).half_out[0]);"
    )
    assert told == [["NanError", "matrix", True, True], 3, ["Float32Array", None], "NanError", 1]


WRONG = {
    "a name that is nearly right": ("whole", "{ matrx: [[1]] }", "UnknownTensorError", "did you mean 'matrix'?"),
    "a name of nothing": ("whole", "{ matrix: [[1]], q: 1 }", "UnknownTensorError", "'matrix', 'factor'"),
    "no value": ("whole", "{ factor: 1 }", "MissingInputError", "it needs 'matrix'"),
    "no value, and a word of every object": ("whole", "{ constructor: 1 }", "UnknownTensorError", "'constructor'"),
    "another array": ("whole", "{ matrix: Float64Array.of(1) }", "DatatypeError", "Float32Array.from(values)"),
    "an array of bits": ("whole", "{ matrix: new DataView(new ArrayBuffer(8)) }", "DatatypeError", "DataView"),
    "words": ("whole", '{ matrix: [["one"]] }', "DatatypeError", "string 'one' does not fit FP32"),
    "a number too large": ("whole", "{ matrix: [[1e39]] }", "DatatypeError", "1e+39 does not fit FP32"),
    "a flat array of two free dimensions": ("whole", "{ matrix: Float32Array.of(1) }", "ShapeError", "new Tensor("),
    "another rank": ("whole", "{ matrix: [1, 2] }", "ShapeError", "received [2], expected [-1, -1]"),
    "rows of different lengths": ("whole", "{ matrix: [[1], [2, 3]] }", "ShapeError", "different lengths"),
    "rows that are none": ("whole", "{ matrix: [[1], 2] }", "ShapeError", "different lengths"),
    "nothing but null": ("whole", "{ matrix: null }", "DatatypeError", "null does not fit FP32"),
    "a fraction": ("counter", "{ amount: 1.5 }", "DatatypeError", "1.5 does not fit INT32"),
    "a number beyond": (
        "counter",
        "{ amount: 2147483648 }",
        "DatatypeError",
        "2147483648 does not fit INT32\nhint: INT32 takes whole numbers from -2147483648 to 2147483647",
    ),
    "a number that has lost digits": (
        "kinds",
        f"{{ {fields(SIX)}, uint64_in: [[2 ** 53, 0, 0], [0, 0, 0]] }}",
        "DatatypeError",
        "pass a bigint",
    ),
    "half a pair": ("places", '{ place: ["\\ud83d", "a"] }', "DatatypeError", "half a surrogate pair"),
    "a column less": ("places", '{ place: { city: "a" } }', "MissingInputError", "its columns are 'city', 'zip'"),
    "a word for a number": ("counter", '{ amount: "1" }', "DatatypeError", "string '1' does not fit INT32"),
    "a bigint for a number": ("counter", "{ amount: 1n }", "DatatypeError", "bigint 1 does not fit INT32"),
    "two for one": ("counter", "{ amount: [1, 2] }", "ShapeError", "received [2], expected [1]"),
}


BATCHES = {
    "no rows": ("slow", "{ seconds: [] }", "BatchSizeError", "one at least"),
    "rows of two": ("slow", "{ seconds: [[1, 2], [3, 4]] }", "ShapeError", "expected [-1, 1]"),
    "a flat array of nothing": ("slow", "{ seconds: Float32Array.of() }", "BatchSizeError", "0 for 'seconds'"),
}
CALLS = {
    "whole": "new clients.Whole(nobody).predict",
    "kinds": "new clients.Kinds(nobody).predict",
    "places": "new clients.Places(nobody).predict",
    "counter": "new clients.Counter(nobody).sequence().predict",
    "slow": "new clients.SlowModel(nobody).predictBatch",
}


@pytest.fixture(scope="module")
def refusals(odd):
    """What each wrong call is answered with, where no server is that could say anything."""
    lines = [
        f"await call(async (nobody) => {CALLS[model]}({values} as any));\n"
        for model, values, *_ in (WRONG | BATCHES).values()
    ]
    told = odd.run(
        "const call = async (make: (nobody: clients.Client) => Promise<unknown>): Promise<void> => {\n"
        '  const error = await caught(() => make(new clients.Client("http://localhost:9")));\n'
        "  tell([error.name, error.message, error instanceof clients.InputError]);\n"
        "};\n" + "".join(lines)
    )
    return dict(zip(WRONG | BATCHES, told, strict=True))


@pytest.mark.parametrize("case", WRONG | BATCHES)
def test_wrong_input_is_told_before_anything_is_sent(refusals, case):
    _, _, name, words = (WRONG | BATCHES)[case]
    assert refusals[case][0] == name
    assert words in refusals[case][1]
    assert refusals[case][2]
