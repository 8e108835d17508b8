# SPDX-License-Identifier: Apache-2.0
"""Trust over gRPC, against a real Triton with TLS: who is believed, who is not, and what each mismatch is called."""

import asyncio
import shutil
from pathlib import Path

import pytest

from repo_client import AsyncClient, Client, InputError, ServerUnreachableError, Tls, TlsError, UrlError
from support.certificates import Authority
from support.own_triton import own_triton

TOKEN = "-".join(("not", "really", "secret"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"), "another")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "repository"
    shutil.copytree(Path(__file__).parent / "repository" / "rows", path / "rows")
    return path


@pytest.fixture(scope="module")
def secure_server(repository, authority):
    own = authority.issue("server", subject="DNS:triton.example")
    with own_triton(repository, *_with_tls(own)) as (address, _):
        yield address


@pytest.fixture(scope="module")
def mutual_server(repository, authority):
    own = authority.issue("mutual", subject="IP:127.0.0.1")
    mutual = ("--grpc-use-ssl-mutual=true", f"--grpc-root-cert={authority.certificate}")
    with own_triton(repository, *_with_tls(own), *mutual) as (address, _):
        yield address


def _with_tls(own):
    return "--grpc-use-ssl=true", f"--grpc-server-cert={own.certificate}", f"--grpc-server-key={own.key}"


@pytest.fixture(params=["sync", "async"])
def total(request):
    """Loads the model and runs it once, by a client of either side."""
    return _total if request.param == "sync" else lambda *urls, **options: asyncio.run(_async_total(*urls, **options))


def _total(url, **options):
    with Client(url, timeout_s=20, **options) as client:
        client.admin.load("rows")
        return client.model("rows").infer({"image": [[[1, 1, 1], [1, 1, 1]]]})["total"].tolist()


async def _async_total(url, **options):
    async with AsyncClient(url, timeout_s=20, **options) as client:
        await client.admin.load("rows")
        model = await client.model("rows")
        return (await model.infer({"image": [[[1, 1, 1], [1, 1, 1]]]}))["total"].tolist()


def test_a_server_is_trusted_by_its_authority_and_name(secure_server, authority, total):
    tls = Tls(ca=authority.certificate, server_name="triton.example")
    assert total(f"grpcs://{secure_server}", tls=tls) == [[6.0]]


def test_a_token_travels_over_tls(secure_server, authority, total):
    tls = Tls(ca=authority.certificate, server_name="triton.example")
    asked = []
    token = lambda: asked.append(1) or TOKEN  # noqa: E731
    assert total(f"grpcs://{secure_server}", tls=tls, token=token) == [[6.0]]
    assert len(asked) >= 3, "a token that is a function is asked for before each call"


def test_a_certificate_for_another_name_is_no_trust(secure_server, authority, total):
    with pytest.raises(TlsError, match="Hostname Verification"):
        total(f"grpcs://{secure_server}", tls=Tls(ca=authority.certificate))


def test_a_certificate_of_another_authority_is_no_trust(secure_server, other_authority, total):
    tls = Tls(ca=other_authority.certificate, server_name="triton.example")
    with pytest.raises(TlsError, match="CERTIFICATE_VERIFY_FAILED"):
        total(f"grpcs://{secure_server}", tls=tls)


def test_the_systems_authorities_do_not_know_an_own_one(secure_server, total):
    with pytest.raises(TlsError, match="CERTIFICATE_VERIFY_FAILED"):
        total(f"grpcs://{secure_server}", tls=Tls(server_name="triton.example"))


def test_the_systems_authorities_are_trusted_without_being_named(secure_server, authority, total, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    assert total(f"grpcs://{secure_server}", tls=Tls(server_name="triton.example")) == [[6.0]]


def test_a_server_with_tls_hangs_up_on_a_client_without(secure_server, total):
    with pytest.raises(ServerUnreachableError) as caught:
        total(f"grpc://{secure_server}")
    assert f"grpcs://{secure_server}" in caught.value.hint


def test_a_client_shows_its_own_certificate(mutual_server, authority, total):
    own = authority.issue("client", subject="DNS:client.example")
    tls = Tls(ca=authority.certificate, certificate=own.certificate, key=own.key)
    assert total(f"grpcs://{mutual_server}", tls=tls) == [[6.0]]


@pytest.mark.parametrize("shown", ["none", "of another authority"])
def test_a_server_that_asks_for_a_certificate_refuses_others(mutual_server, authority, other_authority, total, shown):
    own = other_authority.issue("stranger", subject="DNS:client.example")
    files = {} if shown == "none" else {"certificate": own.certificate, "key": own.key}
    with pytest.raises(TlsError) as caught:
        total(f"grpcs://{mutual_server}", tls=Tls(ca=authority.certificate, **files))
    assert "certificate=" in caught.value.hint


def test_a_server_without_tls_is_no_trust(repository, authority, total):
    with own_triton(repository) as (address, _), pytest.raises(TlsError):
        total(f"grpcs://{address}", tls=Tls(ca=authority.certificate))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_files_that_cannot_be_used_are_refused_before_any_call(kind, authority, other_authority, tmp_path):
    own, strange = authority.issue("a", subject="DNS:a"), other_authority.issue("b", subject="DNS:b")
    broken = tmp_path / "broken.pem"
    broken.write_bytes(b"\x30\x82 no PEM")
    for tls in (
        Tls(ca=tmp_path / "missing.pem"),
        Tls(ca=broken),
        Tls(certificate=own.certificate, key=strange.key),
        Tls(certificate=own.certificate),
    ):
        with pytest.raises(InputError, match="cannot be used"):
            kind("grpcs://localhost:8001", tls=tls)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_token_does_not_leave_the_machine_unencrypted(kind, scheme):
    with pytest.raises(UrlError, match="unencrypted") as caught:
        kind(f"{scheme}://triton.example:8001", token=TOKEN)
    assert f"{scheme}s://triton.example:8001" in caught.value.hint
    assert TOKEN not in str(caught.value)
    for here in ("127.0.0.1", "localhost", "[::1]"):
        kind(f"{scheme}://{here}:8001", token=TOKEN)
    for there in ("127.0.0.1.example.com", "10.0.0.1"):
        with pytest.raises(UrlError):
            kind(f"{scheme}://{there}:8001", token=TOKEN)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_tls_for_an_address_without_is_refused(scheme):
    with pytest.raises(UrlError, match="without TLS"):
        Client(f"{scheme}://localhost:8001", tls=Tls())
