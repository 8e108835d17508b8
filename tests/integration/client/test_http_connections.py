# SPDX-License-Identifier: Apache-2.0
"""Connections over HTTP: kept and dropped, encrypted and compressed, through relays in front of a real server."""

import asyncio
import gc
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from repo_client import (
    AsyncClient,
    Client,
    ClosedClientError,
    ConnectionOptions,
    DeadlineExceededError,
    InputError,
    Retries,
    ServerUnreachableError,
    Tls,
    TlsError,
    UrlError,
)
from repo_client._task_connection import open_connection
from repo_client._thread_connection import Slot
from support.certificates import Authority
from support.http_relay import CannedServer, Relay, server_context

ONCE = Retries(attempts=1)
IMAGE = {"image": np.ones((1, 2, 3), np.float32)}


@pytest.fixture(params=["sync-http", "async-http"])
def variant(request):
    return request.param


@pytest.fixture
def http_client(opener, variant):
    """A client of either side at an address; it retries nothing, so that what happens to a call shows."""

    def open_at(address, **options):
        return opener.open(variant, grpc_url="", http_url=address, **{"retries": ONCE, "timeout_s": 20.0, **options})

    return open_at


def _total(client):
    return client.model("rows").infer(IMAGE)["total"].item()


# --- kept and dropped -------------------------------------------------------------------------------------------------


def test_calls_in_turn_share_one_connection(client_server, http_client):
    with Relay(client_server.http_url) as relay:
        model = http_client(relay.address).model("rows")
        for _ in range(10):
            model.infer(IMAGE)
        assert relay.connections == 1


def test_a_connection_that_the_server_closed_while_it_idled_is_no_error(client_server, http_client):
    with Relay(client_server.http_url) as relay:
        client = http_client(relay.address)
        assert _total(client) == 6.0
        relay.hang_up()
        assert _total(client) == 6.0
        assert relay.connections == 2


def _ask_by_threads(url, options):
    with Client(url, connection=options) as client, ThreadPoolExecutor(8) as pool:
        return [answer["total"].item() for answer in pool.map(client.model("rows").infer, [IMAGE] * 32)]


def _ask_by_tasks(url, options):
    async def ask():
        async with AsyncClient(url, connection=options) as client:
            model = await client.model("rows")
            return await asyncio.gather(*(model.infer(IMAGE) for _ in range(32)))

    return [answer["total"].item() for answer in asyncio.run(ask())]


@pytest.mark.parametrize("ask", [_ask_by_threads, _ask_by_tasks])
def test_no_more_connections_than_allowed(client_server, ask):
    with Relay(client_server.http_url) as relay:
        assert ask(f"http://{relay.address}", ConnectionOptions(connections=2)) == [6.0] * 32
        assert relay.connections <= 2


def test_a_connection_whose_deadline_passed_before_the_request_leaves_no_failure_behind(client_server, caplog):
    async def run():
        host, port = client_server.http_url.split(":")
        connection = await open_connection(host, int(port), deadline=time.monotonic() + 20)
        with pytest.raises(TimeoutError):
            await connection.exchange(b"GET / HTTP/1.1\r\n\r\n", (), deadline=time.monotonic() - 1)
        connection.close()
        await asyncio.sleep(0)  # the loop tells the connection that it is lost

    asyncio.run(run())
    gc.collect()
    assert not caplog.records


def test_waiting_for_a_connection_counts_against_the_deadline(client_server):
    async def ask():
        options = ConnectionOptions(connections=1)
        async with AsyncClient(f"http://{client_server.http_url}", connection=options, retries=ONCE) as client:
            model = await client.model("moody")
            slow = asyncio.create_task(model.infer({"seconds": 1.0}))
            await asyncio.sleep(0)
            with pytest.raises(DeadlineExceededError):
                await model.infer({"seconds": 0.0}, timeout_s=0.1)
            return (await slow)["slept"].item()

    assert asyncio.run(ask()) == 1.0


def test_a_call_that_was_cancelled_leaves_nothing_for_the_next(client_server, client_repository):
    begun = client_repository / "moody" / "1" / "http-cancelled.begun"

    async def ask():
        async with AsyncClient(f"http://{client_server.http_url}") as client:
            model = await client.model("moody")
            slow = asyncio.create_task(model.infer({"seconds": 0.5}, request_id=begun.stem))
            async with asyncio.timeout(20):
                while not begun.exists():
                    await asyncio.sleep(0.01)  # between two looks of a poll with a deadline
            slow.cancel()
            return (await model.infer({"seconds": 0.0}, request_id="after"))["slept"].item()

    assert asyncio.run(ask()) == 0.0


def _close_under_threads(url, until_begun):
    client = Client(url, connection=ConnectionOptions(connections=1), retries=ONCE)
    model = client.model("moody")
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(model.infer, {"seconds": 2.0}, request_id="http-closed-under-threads")]
        while not until_begun("http-closed-under-threads"):
            time.sleep(0.01)
        calls.append(pool.submit(model.infer, {"seconds": 0.0}))  # waits for the connection
        time.sleep(0.05)
        client.close()
        began = time.monotonic()
        return [call.exception() for call in calls], time.monotonic() - began


def _close_under_tasks(url, until_begun):
    async def close():
        client = AsyncClient(url, connection=ConnectionOptions(connections=1), retries=ONCE)
        model = await client.model("moody")
        calls = [asyncio.create_task(model.infer({"seconds": 2.0}, request_id="http-closed-under-tasks"))]
        while not until_begun("http-closed-under-tasks"):
            await asyncio.sleep(0.01)
        calls.append(asyncio.create_task(model.infer({"seconds": 0.0})))
        await asyncio.sleep(0.05)
        await client.close()
        began = time.monotonic()
        return await asyncio.gather(*calls, return_exceptions=True), time.monotonic() - began

    return asyncio.run(close())


@pytest.mark.parametrize("close", [_close_under_threads, _close_under_tasks])
def test_closing_ends_the_calls_under_way(client_server, client_repository, close):
    until_begun = lambda name: (client_repository / "moody" / "1" / f"{name}.begun").exists()  # noqa: E731
    outcomes, took_s = close(f"http://{client_server.http_url}", until_begun)
    assert [type(outcome) for outcome in outcomes] == [ClosedClientError] * 2
    assert took_s < 1.0


def test_a_call_that_is_interrupted_gives_its_place_back(client_server, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    with Client(f"http://{client_server.http_url}", connection=ConnectionOptions(connections=1)) as client:
        model = client.model("rows")
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(Slot, "give", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    model.infer(IMAGE)
            assert model.infer(IMAGE, timeout_s=5.0)["total"].item() == 6.0


def test_a_thread_that_connects_while_the_client_is_closed_goes_no_further(client_server, monkeypatch):
    asked = socket.getaddrinfo

    def close_first(*arguments, **options):
        client.close()
        return asked(*arguments, **options)

    with Relay(client_server.http_url) as relay:
        client = Client(f"http://{relay.address}", retries=ONCE)
        monkeypatch.setattr(socket, "getaddrinfo", close_first)
        with pytest.raises(ClosedClientError):
            client.model("rows")
        assert relay.asked == b""


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_client_may_move_to_another_event_loop(client_server):
    client = AsyncClient(f"http://{client_server.http_url}")

    async def ask():
        model = await client.model("rows")
        return (await model.infer(IMAGE))["total"].item()

    assert [asyncio.run(ask()), asyncio.run(ask())] == [6.0, 6.0]
    asyncio.run(client.close())
    gc.collect()  # now, where the warning about the transport that its loop left open is expected


FORKING = """
import os, sys
import numpy as np
from repo_client import Client

model = Client(sys.argv[1]).model("rows")

def ask():
    return model.infer({"image": np.ones((1, 2, 3), np.float32)})["total"].item() == 6

child = os.fork()
if not child:
    os._exit(0 if ask() and ask() else 1)
failed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(failed or not ask())
"""


def test_a_forked_process_has_connections_of_its_own(client_server):
    with Relay(client_server.http_url) as relay:
        command = [sys.executable, "-c", FORKING, f"http://{relay.address}"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr
        assert relay.connections == 2  # the parent's, and one of the child's


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_the_deadline_ends_an_answer_that_drips(client_server, http_client):
    with Relay(client_server.http_url, drip=0.05) as relay, pytest.raises(DeadlineExceededError):
        http_client(relay.address).model("rows", timeout_s=0.5)


def test_the_deadline_ends_a_request_that_nobody_reads(http_client, client_server):
    with Relay(client_server.http_url) as relay:
        model = http_client(relay.address).model("echo")
        relay.stop_reading()
        with pytest.raises(DeadlineExceededError):
            model.infer({"in_FP64": np.zeros((1000, 5000))}, timeout_s=0.5)


def test_the_deadline_ends_a_name_server_that_does_not_answer(http_client, monkeypatch):
    asked, answered = socket.getaddrinfo, threading.Event()

    def hang(host, *arguments, **options):
        if "flags" not in options:  # only asked whether it is a number
            answered.wait(20)
        return asked(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(DeadlineExceededError):
        http_client("triton.example:8000").model("rows", timeout_s=0.3)
    answered.set()


def test_a_deadline_beyond_every_clock_is_fine(client_server, http_client):
    client = http_client(client_server.http_url, timeout_s=1e12)
    assert client.model("rows").infer(IMAGE, timeout_s=1e300)["total"].item() == 6.0


# --- headers ----------------------------------------------------------------------------------------------------------


def test_headers_and_token_go_with_every_call(client_server, http_client):
    tokens = iter(range(100))
    with Relay(client_server.http_url) as relay:
        client = http_client(relay.address, headers={"X-Team": "blue"}, token=lambda: f"number-{next(tokens)}")
        model = client.model("rows")
        model.infer(IMAGE, headers={"x-team": "red", "x-run": "7"})
        asked = relay.headers("authorization")
        assert asked == [f"Bearer number-{number}" for number in range(len(asked))]
        assert relay.headers("x-team") == ["blue"] * (len(asked) - 1) + ["red"]
        assert relay.headers("x-run") == ["7"]


def test_the_host_may_be_another(client_server, http_client):
    with Relay(client_server.http_url) as relay:
        http_client(relay.address, headers={"Host": "models.example"}).admin.is_live()
        assert relay.headers("host") == ["models.example"]


def test_one_call_may_name_another_host(client_server, http_client):
    with Relay(client_server.http_url) as relay:
        http_client(relay.address).model("rows").infer(IMAGE, headers={"Host": "models.example"})
        assert relay.headers("host") == [relay.address, relay.address, "models.example"]


def test_an_address_of_the_sixth_version(client_server, http_client):
    try:
        relay = Relay(client_server.http_url, at="::1")
    except OSError:
        pytest.skip("this machine has no ::1")
    with relay:
        assert _total(http_client(relay.address)) == 6.0
        assert set(relay.headers("host")) == {relay.address}


def test_a_path_in_front_of_the_protocol_is_kept(client_server, http_client):
    with Relay(client_server.http_url) as relay:
        assert not http_client(f"{relay.address}/behindä/proxy").admin.is_live()
        assert relay.asked.startswith(b"GET /behind%C3%A4/proxy/v2/health/live HTTP/1.1\r\n")


@pytest.mark.parametrize("host", ["a..b", "x" * 64, ".example"])
def test_a_name_that_no_host_has_is_no_address(http_client, host):
    with pytest.raises(UrlError, match="names no host"):
        http_client(f"{host}:8000")


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_headers_of_the_protocol_are_left_to_it(client_server, http_client, name):
    with pytest.raises(InputError, match=name.lower()):
        http_client(client_server.http_url, headers={name: "5"})
    with pytest.raises(InputError, match=name.lower()):
        http_client(client_server.http_url).model("rows").infer(IMAGE, headers={name: "5"})


# --- compression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_tensors_are_compressed_both_ways(client_server, http_client, compression):
    sent = np.zeros((100, 1000))
    with Relay(client_server.http_url) as relay:
        client = http_client(relay.address, connection=ConnectionOptions(compression=compression))
        back = client.model("echo").infer({"in_FP64": sent}, outputs=["out_FP64"])["out_FP64"]
        assert relay.headers("content-encoding") == relay.headers("accept-encoding") == [compression]
        assert f"content-encoding: {compression}".encode() in bytes(relay.answered).lower()
        assert len(relay.asked) + len(relay.answered) < sent.nbytes / 10
    np.testing.assert_array_equal(back, sent)


def test_nothing_is_compressed_unasked(client_server, http_client):
    with Relay(client_server.http_url) as relay:
        http_client(relay.address).model("echo").infer({"in_FP64": np.zeros((10, 10))})
        assert relay.headers("accept-encoding") == relay.headers("content-encoding") == []
        assert b"ontent-Encoding" not in relay.answered


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def server_certificate(authority):
    return authority.issue("server", subject="IP:127.0.0.1")


@pytest.fixture
def secure(client_server, server_certificate):
    with Relay(client_server.http_url, tls=server_context(server_certificate)) as relay:
        yield relay


def test_a_server_whose_authority_is_trusted_is_believed(secure, http_client, authority):
    client = http_client(secure.address, secure=True, tls=Tls(ca=authority.certificate))
    picture = np.random.default_rng(1).random((40, 1000))
    np.testing.assert_array_equal(client.model("echo").infer({"in_FP64": picture})["out_FP64"], picture)
    assert secure.connections == 1


@pytest.mark.parametrize("tls", [None, "another"])
def test_a_server_that_nobody_vouches_for_is_not_believed(secure, http_client, tmp_path, tls):
    trust = tls and Tls(ca=Authority(tmp_path, tls).certificate)
    with pytest.raises(TlsError, match="certificate verify failed"):
        http_client(secure.address, secure=True, tls=trust).model("rows")
    assert secure.asked == b""


def test_a_certificate_for_another_name_needs_that_name(client_server, http_client, authority):
    named = authority.issue("named", subject="DNS:triton.example")
    with Relay(client_server.http_url, tls=server_context(named)) as relay:
        with pytest.raises(TlsError, match=r"127\.0\.0\.1"):
            http_client(relay.address, secure=True, tls=Tls(ca=authority.certificate)).model("rows")
        tls = Tls(ca=authority.certificate, server_name="triton.example")
        assert _total(http_client(relay.address, secure=True, tls=tls)) == 6.0


def test_a_server_that_asks_for_a_certificate_gets_the_clients(
    client_server, http_client, authority, server_certificate
):
    own = authority.issue("client", subject="DNS:client")
    with Relay(client_server.http_url, tls=server_context(server_certificate, clients=authority)) as relay:
        tls = Tls(ca=authority.certificate, certificate=own.certificate, key=own.key)
        assert _total(http_client(relay.address, secure=True, tls=tls)) == 6.0
        with pytest.raises(TlsError):
            http_client(relay.address, secure=True, tls=Tls(ca=authority.certificate)).model("rows")


def test_tls_and_tokens_need_an_address_that_is_encrypted(http_client, authority):
    with pytest.raises(UrlError, match="without TLS"):
        http_client("127.0.0.1:1", tls=Tls(ca=authority.certificate))
    with pytest.raises(UrlError, match=r"https://triton\.example:8000"):
        http_client("triton.example:8000", token="-".join(("not", "secret")))


# --- proxies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(monkeypatch):
    """Names a proxy in the environment; there may be others outside."""
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    return lambda scheme, url: monkeypatch.setenv(f"{scheme}_proxy", url)


def test_no_proxy_is_asked_for_this_machine(client_server, http_client, proxied):
    proxied("http", "http://127.0.0.1:1")
    assert _total(http_client(client_server.http_url)) == 6.0


def test_a_proxy_is_asked_for_other_machines(client_server, http_client, proxied):
    with Relay(client_server.http_url, is_proxy=True) as relay:
        proxied("http", f"http://me:let%20me@{relay.address}")
        assert http_client("triton.example:8000").admin.is_live()
        assert relay.asked.startswith(b"GET http://triton.example:8000/v2/health/live HTTP/1.1\r\n")
        assert relay.headers("proxy-authorization") == ["Basic bWU6bGV0IG1l"]
        proxied("no", ".example")
        with pytest.raises(ServerUnreachableError):
            http_client("triton.example:8000").model("rows")


def test_a_proxy_sees_nothing_of_what_is_encrypted(client_server, http_client, proxied, authority):
    named = authority.issue("proxied", subject="DNS:triton.example")
    with Relay(client_server.http_url, is_proxy=True, tls=server_context(named)) as relay:
        proxied("https", relay.address)
        client = http_client(
            "triton.example:8000", secure=True, tls=Tls(ca=authority.certificate), token=lambda: "none"
        )
        assert _total(client) == 6.0
        assert relay.asked.startswith(b"CONNECT triton.example:8000 HTTP/1.1\r\n")


def test_a_proxy_that_does_not_answer_is_named(http_client, proxied):
    proxied("http", "127.0.0.1:1")
    with pytest.raises(ServerUnreachableError, match=r"through the proxy http://127\.0\.0\.1:1"):
        http_client("triton.example:8000").model("rows")


def test_a_proxy_that_refuses_says_how(http_client, proxied):
    with CannedServer(lambda _: b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as proxy:
        proxied("https", proxy.address)
        with pytest.raises(ServerUnreachableError, match=f"answered 407 .through the proxy http://{proxy.address}"):
            http_client("triton.example:8000", secure=True).model("rows")


def test_a_proxy_that_cannot_be_used_says_so(http_client, proxied):
    proxied("http", "socks5://me:hidden@127.0.0.1:1")
    with pytest.raises(UrlError, match="socks5://127") as caught:
        http_client("triton.example:8000")
    assert "hidden" not in str(caught.value)
