# SPDX-License-Identifier: Apache-2.0
"""How calls of a generated client run: many at once, streams, sequences, deadlines, retries, what stands in between."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.certificates import Authority

# Passes connections on to the server, but for the first `n`, which it ends.
RELAY = """
import net from "node:net";
async function relay(broken: number): Promise<{ url: string; connections: () => number; close: () => void }> {
  const { hostname, port } = new URL(url);
  let connections = 0;
  const server = net.createServer((socket) => {
    socket.on("error", () => undefined);
    if (connections++ < broken) { socket.once("data", () => socket.destroy()); return; }
    const onward = net.connect(Number(port), hostname);
    onward.on("error", () => socket.destroy());
    socket.pipe(onward).pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const own = (server.address() as net.AddressInfo).port;
  return { url: `http://127.0.0.1:${own}`, connections: () => connections, close: () => server.close() };
}
"""


class TestMany:
    def test_answers_come_in_order_and_no_more_is_read_than_is_in_flight(self, odd):
        told = odd.run(
            "let read = 0, most = 0, answers = 0;\n"
            "function* endless() { for (;;) { read++; yield { matrix: [[read]] }; } }\n"
            "const whole = new clients.Whole(new clients.Client(url));\n"
            "const options = { maxInFlight: 3, onProgress: (count: number) => { answers = count; } };\n"
            "for await (const answer of whole.predictMany(endless(), options)) {\n"
            "  most = Math.max(most, read - answers);\n"
            "  tell(answer.sums[0]);\n"
            "  if (answers === 5) break;\n"
            "}\n"
            "tell([read <= 8, most <= 3]);"
        )
        assert told == [1, 2, 3, 4, 5, [True, True]]

    def test_an_answer_does_not_wait_for_a_source_that_waits(self, odd):
        told = odd.run(
            "let go!: () => void;\n"
            "const answered = new Promise<void>((resolve) => { go = resolve; });\n"
            "async function* live() { yield { matrix: [[1]] }; await answered; yield { matrix: [[2]] }; }\n"
            "for await (const { sums } of new clients.Whole(new clients.Client(url)).predictMany(live())) {\n"
            "  tell(sums[0]); go();\n"
            "}"
        )
        assert told == [1, 2]

    def test_a_failure_is_thrown_or_stands_in_its_place(self, odd):
        told = odd.run(
            "const whole = new clients.Whole(new clients.Client(url));\n"
            "const inputs = [{ matrix: [[1]] }, { matrix: [[-1]] }, { matrix: [[3]] }];\n"
            'for await (const each of whole.predictMany(inputs, { errors: "return" })) {\n'
            "  tell(each instanceof clients.RepoClientError ? each.name : each.sums[0]);\n"
            "}\n"
            "const error = await caught(async () => {\n"
            "  for await (const { sums } of whole.predictMany(inputs)) tell(sums[0]);\n"
            "});\n"
            "tell(error.name);"
        )
        assert told == [1, "UnexpectedAnswerError", 3, 1, "UnexpectedAnswerError"]

    def test_who_stops_reading_ends_the_calls_and_the_source(self, odd):
        told = odd.run(
            "const signals: AbortSignal[] = [];\n"
            "const client = new clients.Client(url, { fetch: (to, options) => {\n"
            "  if (String(to).endsWith('/infer')) signals.push(options!.signal!);\n"
            "  return fetch(to, options);\n"
            "} });\n"
            "function* rows() { try { yield { seconds: 0 }; yield { seconds: 0.4 }; yield { seconds: 0 }; }\n"
            "  finally { tell('closed'); } }\n"
            "for await (const _ of new clients.SlowModel(client).predictMany(rows(), { maxInFlight: 2 })) break;\n"
            "await new Promise((resolve) => setTimeout(resolve));\n"
            "tell(signals.at(-1)!.aborted);"
        )
        assert told == ["closed", True]


class TestArraysThatChange:
    def test_a_call_sends_what_its_arrays_held_when_it_was_made(self, odd):
        told = odd.run(
            "const client = new clients.Client(url);\n"
            "const whole = new clients.Whole(client), tokens = new clients.Tokens(client);\n"
            "const first = async (answers: AsyncGenerator<clients.TokensResult>): Promise<unknown> => {\n"
            "  for await (const { text, weights } of answers) return [text, ...weights];\n"
            "};\n"
            "const numbers = Float32Array.of(1, 2), word = Buffer.from('abc'), list = [{ matrix: [[1]] }];\n"
            "for (let row = 0; row < 8; row++) list.push({ matrix: [[row]] });\n"
            "const calls = [\n"
            "  whole.predict({ matrix: new clients.Tensor(numbers, [1, 2]) }).then(({ sums }) => sums[0]),\n"
            "  whole.predictBatch(list).then((answers) => answers.map(({ sums }) => sums[0])),\n"
            "  first(tokens.predict({ prompt: word, count: 1, weights: numbers })),\n"
            "];\n"
            "numbers.fill(0); word.fill(0); list.forEach((each) => { each.matrix[0]![0] = 9; }); list.length = 1;\n"
            "tell(await Promise.all(calls));"
        )
        assert told == [3, [1, *range(8)], ["abc 0", 1, 2]]

    def test_one_buffer_can_hold_every_row(self, odd):
        told = odd.run(
            "const matrix = Float32Array.of(0);\n"
            "function* rows() { for (let row = 0; row < 20; row++) {\n"
            "  matrix.fill(row); yield { matrix: new clients.Tensor(matrix, [1, 1]) };\n"
            "} }\n"
            "const sums: number[] = [];\n"
            "const whole = new clients.Whole(new clients.Client(url));\n"
            "for await (const answer of whole.predictMany(rows())) sums.push(answer.sums[0]!);\n"
            "tell(sums);"
        )
        assert told == list(range(20))


class TestStreams:
    def test_the_answers_come_one_by_one(self, odd):
        told = odd.run(
            "const tokens = new clients.Tokens(new clients.Client(url));\n"
            'const input = { prompt: "gr\u00f6\u00dfer", count: 2, weights: [1, 2.5] };\n'
            "for await (const each of tokens.predict(input)) tell(each);"
        )
        assert told == [
            {
                "text": f"gr\u00f6\u00dfer {n}",
                "index": f"{n}n",
                "weights": ["Float32Array", 1, 2.5],
                "square": {"shape": [2, 2], "data": ["Float32Array", 0, 0, 0, 0]},
            }
            for n in range(2)
        ]

    def test_a_stream_can_be_left(self, odd):
        told = odd.run(
            "const tokens = new clients.Tokens(new clients.Client(url));\n"
            'for await (const { index } of tokens.predict({ prompt: "p", count: 1000, weights: [1] })) {\n'
            "  tell(index); if (index === 2n) break;\n}"
        )
        assert told == ["0n", "1n", "2n"]

    def test_a_failure_in_the_middle_is_thrown_after_what_came_before(self, odd):
        told = odd.run(
            "const tokens = new clients.Tokens(new clients.Client(url));\n"
            "const error = await caught(async () => {\n"
            '  for await (const each of tokens.predict({ prompt: "p", count: -2, weights: [1] })) tell(each.index);\n'
            "});\ntell([error instanceof clients.ServerError, error.serverWords.includes('the words ran out')]);"
        )
        assert told == ["0n", "1n", [True, True]]

    def test_a_server_that_goes_in_the_middle_is_told(self, odd):
        told = odd.run(
            'import net from "node:net";\n'
            "const { hostname, port } = new URL(url);\n"
            "const sockets = new Set<net.Socket>();\n"
            "const server = net.createServer((socket) => {\n"
            "  sockets.add(socket.on('error', () => undefined));\n"
            "  socket.pipe(net.connect(Number(port), hostname)).pipe(socket);\n"
            "});\n"
            "await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));\n"
            "const { port: own } = server.address() as net.AddressInfo;\n"
            "const tokens = new clients.Tokens(new clients.Client(`http://127.0.0.1:${own}`));\n"
            "const error = await caught(async () => {\n"
            '  for await (const each of tokens.predict({ prompt: "p", count: 100000, weights: [1] })) {\n'
            "    if (each.index === 1n) sockets.forEach((socket) => socket.destroy());\n"
            "  }\n"
            "});\n"
            "tell([error.name, error instanceof clients.NetworkError]);\nprocess.exit(0);"
        )
        assert told == ["ConnectionLostError", True]

    def test_an_event_that_is_not_whole_is_no_end(self, odd):
        told = odd.run(
            "const client = new clients.Client(url, { fetch: async (to, options) => {\n"
            "  const response = await fetch(to, options);\n"
            "  return String(to).endsWith('_stream') ? new Response((await response.text()).slice(0, -9)) : response;\n"
            "} });\n"
            "const error = await caught(async () => {\n"
            '  const answers = new clients.Tokens(client).predict({ prompt: "p", count: 2, weights: [1] });\n'
            "  for await (const { index } of answers) tell(index);\n"
            "});\ntell(error.name);"
        )
        assert told == ["0n", "ConnectionLostError"]

    def test_an_answer_of_another_shape_is_told(self, odd):
        told = odd.run(
            "const tokens = new clients.Tokens(new clients.Client(url));\n"
            'const error = await caught(() => tokens.predict({ prompt: "short", count: 1, weights: [1] }).next());\n'
            "tell([error.name, error.tensor, error.received, error.expected]);"
        )
        assert told == ["UnexpectedAnswerError", "square", "FP32 [3]", "FP32 [2, 2]"]

    def test_what_text_cannot_carry_is_refused_here(self, odd):
        told = odd.run(
            "const tokens = new clients.Tokens(new clients.Client(url));\n"
            "const first = (input: clients.TokensInput) => tokens.predict(input).next();\n"
            "tell((await caught(() => first({ prompt: new Uint8Array([255]), count: 1, weights: [1] }))).name);\n"
            'tell((await caught(() => first({ prompt: "p", count: 1, weights: [NaN] }))).message);\n'
            'const urgent = { prompt: "p", count: 1, weights: [1] };\n'
            "tell((await caught(async () => tokens.predict(urgent, { priority: 1 }))).message);\n"
        )
        assert told[0] == "UnsupportedCallError"
        assert "no priority" in told[2]
        assert "holds NaN" in told[1]
        assert "gRPC" in told[1]


class TestSequences:
    def test_calls_of_a_sequence_run_in_their_order(self, odd):
        told = odd.run(
            "const counter = new clients.Counter(new clients.Client(url));\n"
            "const one = counter.sequence(), other = counter.sequence();\n"
            "tell(one.id !== other.id);\n"
            "const calls = [one.predict({ amount: 1 }), one.predict({ amount: 2 }), other.predict({ amount: 10 }),\n"
            "  one.predict({ amount: 3 }, { last: true })];\n"
            "tell((await Promise.all(calls)).map((answer) => answer.total));\n"
            "tell((await caught(() => one.predict({ amount: 4 }))).message);\n"
            "tell((await other.predict({ amount: 5 }, { last: true })).total);"
        )
        assert told[:2] == [True, [1, 3, 6, 10]] or told[:2] == [True, [1, 3, 10, 6]]
        assert "has ended" in told[2]
        assert told[3] == 15

    def test_a_call_that_failed_neither_starts_nor_ends_a_sequence(self, odd):
        told = odd.run(
            "let isThere = false;\n"
            "const client = new clients.Client(url, { fetch: (to, options) => fetch(\n"
            "  isThere || !String(to).endsWith('/infer') ? to : 'http://127.0.0.1:19999', options) });\n"
            "const sequence = new clients.Counter(client).sequence();\n"
            "tell((await caught(() => sequence.predict({ amount: 1 }))).name);\n"
            "isThere = true; tell((await sequence.predict({ amount: 2 })).total);\n"
            "isThere = false; tell((await caught(() => sequence.predict({ amount: 4 }, { last: true }))).name);\n"
            "isThere = true; tell((await sequence.predict({ amount: 8 }, { last: true })).total);"
        )
        assert told == ["ServerUnreachableError", 2, "ServerUnreachableError", 10]

    def test_ids_that_are_none_are_refused(self, odd):
        told = odd.run(
            "const counter = new clients.Counter(new clients.Client(url));\n"
            "for (const id of [0, -5, 1.5, NaN, 2 ** 60, '', '\\ud800', 'x'.repeat(129)]) {\n"
            "  tell((await caught(async () => counter.sequence(id))).name);\n"
            "}\n"
            "tell((await counter.sequence('gr\u00f6\u00dfer').predict({ amount: 3 }, { last: true })).total);"
        )
        assert told == ["InputError"] * 8 + [3]

    def test_a_lost_call_of_a_sequence_is_not_repeated(self, odd):
        told = odd.run(
            RELAY + "const steady = new clients.Counter(new clients.Client(url));\nawait steady.checkSignature();\n"
            "const between = await relay(1);\n"
            "const counter = new clients.Counter(new clients.Client(between.url));\n"
            "counter.ensureChecked = async () => undefined;\n"
            "const error = await caught(() => counter.sequence().predict({ amount: 1 }));\n"
            "tell([error.name, error.attempts, between.connections()]); between.close();"
        )
        assert told == ["ConnectionLostError", 1, 1]


class TestDeadlines:
    def test_a_slow_answer_ends_at_the_deadline_of_the_call(self, odd):
        told = odd.run(
            "const slow = new clients.SlowModel(new clients.Client(url));\n"
            "await slow.predict({ seconds: 0 });\n"
            "const error = await caught(() => slow.predict({ seconds: 0.5 }, { timeoutMs: 50, requestId: 'r7' }));\n"
            "tell([error.name, error.message.split('\\n')[0], error.requestId]);\n"
            "tell((await caught(() => slow.predict({ seconds: 0 }, { timeoutMs: 0 }))).name);\n"
            "tell((await slow.predict({ seconds: 0 }, { timeoutMs: 1e12 })).slept);\n"
            "const batch = await caught(() => slow.predictBatch({ seconds: [0.2, 0.2, 0.2] }, { timeoutMs: 100 }));\n"
            "tell([batch.name, batch.message.split('\\n')[0]]);"
        )
        fact = "model 'slow-model': no answer within {} ms"
        assert told[0] == ["DeadlineExceededError", fact.format(50), "r7"]
        assert told[1:3] == ["InputError", 0]
        assert told[3] == ["DeadlineExceededError", fact.format(100)]

    def test_a_signal_ends_a_call_with_its_reason(self, odd):
        told = odd.run(
            "const slow = new clients.SlowModel(new clients.Client(url));\n"
            "const controller = new AbortController();\n"
            "const call = slow.predict({ seconds: 0.3 }, { signal: controller.signal });\n"
            "setTimeout(() => controller.abort(new Error('no longer wanted')), 30);\n"
            "tell((await caught(() => call)).message);\n"
            "tell((await caught(() => slow.predict({ seconds: 0 }, { signal: controller.signal }))).message);"
        )
        assert told == ["no longer wanted", "no longer wanted"]


class TestRetries:
    def test_a_lost_connection_is_made_anew(self, odd):
        told = odd.run(
            RELAY + "const between = await relay(2);\n"
            "const client = new clients.Client(between.url);\n"
            "tell((await new clients.Whole(client).predict({ matrix: [[2]] })).sums[0]);\n"
            "tell(between.connections() >= 3); between.close();\nprocess.exit(0);"
        )
        assert told == [2, True]

    def test_nobody_there_is_tried_as_often_as_asked(self, odd):
        told = odd.run(
            "const failure = async (options: clients.ClientOptions): Promise<void> => {\n"
            '  const model = new clients.Whole(new clients.Client("http://127.0.0.1:9", options));\n'
            "  const error = await caught(() => model.predict({ matrix: [[2]] }));\n"
            "  tell([error.name, error.attempts, error.message.includes('8000')]);\n"
            "};\n"
            "await failure({ fetch: (to, options) => fetch(String(to).replace(':9/', ':19999/'), options) });\n"
            "await failure({ retries: { attempts: 1 }, fetch: (to, options) => "
            "fetch(String(to).replace(':9/', ':19999/'), options) });"
        )
        assert told == [["ServerUnreachableError", 3, True], ["ServerUnreachableError", 1, True]]

    def test_a_full_queue_is_told_or_waited_for(self, odd):
        told = odd.run(
            "const names = async (calls: number, options: clients.ClientOptions): Promise<string[]> => {\n"
            "  const slow = new clients.SlowModel(new clients.Client(url, options));\n"
            "  await slow.checkSignature();\n"
            "  const made = Array.from({ length: calls }, () => slow.predict({ seconds: 0.02 }));\n"
            "  const found = await Promise.allSettled(made);\n"
            "  return [...new Set(found.map((each) => each.status === 'rejected' ? each.reason.name : 'ok'))].sort();\n"
            "};\n"
            "tell(await names(7, { retries: { attempts: 1 } }));\n"
            "tell(await names(5, { retries: { attempts: 9, firstWaitMs: 300, longestWaitMs: 600 } }));"
        )
        assert told == [["ServerBusyError", "ok"], ["ok"]]

    def test_the_budget_ends_retries_that_help_nobody(self, odd):
        told = odd.run(
            "let asked = 0;\n"
            "const retries = { attempts: 100, firstWaitMs: 0 };\n"
            'const client = new clients.Client("http://127.0.0.1:19999", {\n'
            "  retries, fetch: (to, options) => { asked++; return fetch(to, options); },\n"
            "});\n"
            "await caught(() => new clients.Whole(client).predict({ matrix: [[2]] }));\n"
            "tell(asked);"
        )
        # Metadata and configuration are asked for at once, ten retries between them.
        assert 11 <= told <= 13


class TestWays:
    @pytest.mark.parametrize("compression", ["gzip", "deflate"])
    def test_both_ways_can_be_compressed(self, odd, compression):
        told = odd.run(
            "const sent: (string | null)[] = [];\n"
            f'const client = new clients.Client(url, {{ compression: "{compression}",\n'
            "  fetch: async (to, options) => {\n"
            "  const response = await fetch(to, options);\n"
            "  if (String(to).endsWith('/infer')) sent.push(new Headers(options!.headers).get('content-encoding'),\n"
            "    response.headers.get('content-encoding'), String((options!.body as ArrayBuffer).byteLength < 1000));\n"
            "  return response;\n"
            "} });\n"
            "const matrix = [new Array(2000).fill(1)];\n"
            "tell((await new clients.Whole(client).predict({ matrix })).sums[0]); tell(sent);"
        )
        assert told == [2000, [compression, compression, "true"]]

    def test_headers_and_a_token_that_renews_itself_travel_along(self, odd):
        told = odd.run(
            "let asked = 0; const seen: unknown[] = [];\n"
            "const client = new clients.Client(url, { headers: { 'x-team': 'a' }, token: async () => `t${++asked}`,\n"
            "  fetch: (to, options) => { const headers = new Headers(options!.headers);\n"
            "    seen.push([headers.get('authorization') !== null, headers.get('x-team')]);\n"
            "    return fetch(to, options); } });\n"
            "await new clients.Whole(client).predict({ matrix: [[1]] }, { headers: { 'x-team': 'b' } });\n"
            "tell(seen.at(-1)); tell(asked);"
        )
        assert told == [[True, "b"], 3]

    def test_addresses_that_cannot_be_are_refused(self, odd):
        told = odd.run(
            "for (const [address, options] of [['grpc://localhost:8001', {}], ['nowhere', {}],\n"
            "  ['http://triton.example:8000', { token: 't' }], ['http://bob:secret@triton.example', {}],\n"
            "  ['http://bob:secret@triton.example:99999', {}], ['http://triton.example/p?key=secret', {}],\n"
            "  ['http://triton.example/p#secret', {}]] as const) {\n"
            "  const error = await caught(async () => new clients.Client(address, options));\n"
            "  tell([error.name, error.hint, error.message.includes('secret')]);\n"
            "}\n"
            "tell(new clients.Client('https://triton.example/models/', { token: 't' }).url);"
        )
        assert told[:7] == [
            ["UrlError", hint, False]
            for hint in (
                "use http:// or https://",
                "e.g. http://localhost:8000",
                "use https://",
                "pass headers: { authorization: ... }",
                "e.g. http://localhost:8000",
                "pass the address without them",
                "pass the address without them",
            )
        ]
        assert told[7] == "https://triton.example/models"

    def test_a_page_can_call_its_own_origin(self, odd):
        told = odd.run(
            "Object.assign(globalThis, { location: { href: `${url}/shop/index.html` } });\n"
            "const client = new clients.Client('/');\n"
            "tell(client.url === url);\n"
            "tell((await new clients.Whole(client).predict({ matrix: [[1, 2]] })).sums[0]);"
        )
        assert told == [True, 3]

    def test_ready_is_told_and_waited_for(self, odd):
        told = odd.run(
            "tell(await new clients.Client(url).isReady());\n"
            "await new clients.Client(url).waitUntilReady({ timeoutMs: 5000 });\n"
            'const nobody = new clients.Client("http://127.0.0.1:19999");\n'
            "tell(await nobody.isReady());\n"
            "tell((await caught(() => nobody.waitUntilReady({ timeoutMs: 150 }))).name);"
        )
        assert told == [True, False, "DeadlineExceededError"]


class _Page(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<html>a page of somebody else</html>"
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def page():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


class TestTls:
    @pytest.mark.parametrize(
        ("subject", "trusted", "told"),
        [
            ("IP:127.0.0.1", True, 3),
            ("IP:127.0.0.1", False, "TlsError"),
            ("DNS:triton.example", True, "TlsError"),
        ],
    )
    def test_only_a_certificate_that_fits_is_trusted(self, odd, authority, subject, trusted, told):
        own = authority.issue(subject[-3:], subject=subject)
        answer = odd.run(
            'import net from "node:net"; import tls from "node:tls"; import { readFileSync } from "node:fs";\n'
            f"const options = {{ cert: readFileSync('{own.certificate}'), key: readFileSync('{own.key}') }};\n"
            "const { hostname, port } = new URL(url);\n"
            "const server = tls.createServer(options, (socket) => {\n"
            "  socket.on('error', () => undefined).pipe(net.connect(Number(port), hostname)).pipe(socket);\n"
            "});\n"
            "await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));\n"
            "const { port: secure } = server.address() as net.AddressInfo;\n"
            "const client = new clients.Client(`https://127.0.0.1:${secure}`, { token: 'secret' });\n"
            "const call = new clients.Whole(client).predict({ matrix: [[1, 2]] });\n"
            "tell(await call.then((answer) => answer.sums[0], (error) => error.name));\nprocess.exit(0);",
            **({"NODE_EXTRA_CA_CERTS": str(authority.certificate)} if trusted else {}),
        )
        assert answer == told

    def test_a_server_without_tls_is_told(self, odd):
        told = odd.run(
            "const client = new clients.Client(url.replace('http:', 'https:'));\n"
            "const error = await caught(() => new clients.Whole(client).predict({ matrix: [[1]] }));\n"
            "tell([error.name, error.hint.includes('TLS')]);"
        )
        assert told == ["ConnectionLostError", True]


class TestOtherServers:
    @pytest.mark.parametrize("path", ["", "/missing"])
    def test_a_page_is_no_answer(self, odd, page, path):
        told = odd.run(
            f"const whole = new clients.Whole(new clients.Client('{page}{path}'));\n"
            "const error = await caught(() => whole.predict({ matrix: [[1]] }));\n"
            "tell([error.name, error.message, error instanceof clients.ServerError]);"
        )
        assert told[0] == "UnexpectedAnswerError"
        assert "a page of somebody" in told[1]
        assert told[2]

    def test_a_version_that_is_not_there_is_told(self, odd):
        told = odd.run(
            "const client = new clients.Client(url);\n"
            "const error = await caught(() => new clients.Whole(client, { version: 9 }).predict({ matrix: [[1]] }));\n"
            "tell([error.name, error.version, error.serverWords.includes('whole')]);\n"
            "tell((await caught(async () => new clients.Whole(client, { version: 'latest' }))).name);\n"
            "tell((await new clients.Whole(client, { version: 1 }).predict({ matrix: [[1]] })).sums[0]);"
        )
        assert told == [["ModelNotFoundError", "9", True], "InputError", 1]

    def test_a_model_that_fails_is_told(self, odd):
        told = odd.run(
            "const slow = new clients.SlowModel(new clients.Client(url));\n"
            "const error = await caught(() => slow.predict({ seconds: -1 }));\n"
            "tell([error.name, error instanceof clients.ModelError, error.serverWords.includes('time runs forward')]);"
        )
        assert told == ["ExecutionError", True, True]
