# SPDX-License-Identifier: Apache-2.0
"""What only object stores have: Triton reads them itself, large files go in parts, and errors that are theirs."""

from dataclasses import replace

import numpy as np
import pytest
from botocore.exceptions import ClientError

from repo_client import Client
from repo_tool.errors import RepositoryError
from repo_tool.remotes.base import PlaceTakenError, open_remote
from repo_tool.repository.provenance import digest_of
from support.object_store import CREDENTIALS
from support.open_loop import publish_versioned
from support.own_triton import own_triton

MIB = 1 << 20


@pytest.mark.slow
def test_triton_serves_what_was_pushed_and_half_a_push_changes_nothing(bucket, repository, push_until_cut_off):
    publish_versioned(repository, "m", 1)
    bucket.push(repository.path)
    address = f"--model-repository={bucket.url.replace('s3://', f's3://{bucket.endpoint_url}/')}"
    rows = np.zeros((2, 4), dtype=np.float32)
    with (
        own_triton(repository.path, address, without=("--model-repository",), environment=CREDENTIALS) as (grpc, _),
        Client(f"grpc://{grpc}") as client,
    ):

        def answer():
            client.admin.load("m")
            return client.model("m").infer({"x": rows})["y"]

        assert set(answer().ravel()) == {1.0}
        publish_versioned(repository, "m", 2)
        push_until_cut_off(bucket, repository, 2)
        assert set(answer().ravel()) == {1.0}
        bucket.push(repository.path)
        assert set(answer().ravel()) == {2.0}


def test_a_large_file_that_was_cut_off_goes_on_with_the_parts_that_are_there(bucket, tmp_path):
    source = tmp_path / "large.bin"
    source.write_bytes(np.random.default_rng(1).bytes(24 * MIB))
    remote = replace(bucket.remote, whole_bytes=20 * MIB)  # parts of 5 MiB, which are the smallest that S3 takes
    sent = []

    def cut_off(count):
        sent.append(count)
        if len(sent) == 3:
            raise ConnectionError("cut off")

    with pytest.raises(ConnectionError):
        remote.upload("models/m/1/large.bin", source, digest_of(source), cut_off)
    assert remote.digest("models/m/1/large.bin") is None
    requests = []
    remote.client.meta.events.register("before-call.s3.UploadPart", lambda **_: requests.append("part"))
    remote.upload("models/m/1/large.bin", source, digest_of(source), lambda _: None)
    assert len(requests) == 2
    assert remote.digest("models/m/1/large.bin") == digest_of(source)
    remote.download("models/m/1/large.bin", tmp_path / "back.bin", lambda _: None)
    assert digest_of(tmp_path / "back.bin") == digest_of(source)


@pytest.mark.parametrize("completed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_upload_that_another_pusher_of_the_file_ends_is_no_failure(bucket, tmp_path, completed):
    source = tmp_path / "large.bin"
    source.write_bytes(np.random.default_rng(1).bytes(21 * MIB))
    remote, place = replace(bucket.remote, whole_bytes=20 * MIB), "models/m/1/large.bin"
    ended = []

    def overtaken(**_):
        if not ended:
            ended.append(True)
            if completed:
                bucket.remote.upload(place, source, digest_of(source), lambda _: None)  # small enough there to go whole
            answer = {"Error": {"Code": "NoSuchUpload"}}  # Amazon's; the store of the tests breaks down instead
            raise ClientError(answer, "CompleteMultipartUpload")

    remote.client.meta.events.register("before-call.s3.CompleteMultipartUpload", overtaken)
    remote.upload(place, source, digest_of(source), lambda _: None)
    assert ended
    assert remote.digest(place) == digest_of(source)
    remote.download(place, tmp_path / "back.bin", lambda _: None)
    assert digest_of(tmp_path / "back.bin") == digest_of(source)


@pytest.mark.slow
def test_the_upload_of_another_file_that_begins_alike_is_not_taken_for_this_one(bucket, tmp_path):
    start = np.random.default_rng(1).bytes(6 * MIB)
    remote = replace(bucket.remote, whole_bytes=20 * MIB)
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(start + name.encode() * 6 * MIB)

    def cut_off(_):
        raise ConnectionError("cut off")

    with pytest.raises(ConnectionError):
        remote.upload("models/m/1/f", tmp_path / "one", digest_of(tmp_path / "one"), cut_off)
    remote.upload("models/m/1/f", tmp_path / "other", digest_of(tmp_path / "other"), lambda _: None)
    assert remote.digest("models/m/1/f") == digest_of(tmp_path / "other")
    remote.download("models/m/1/f", tmp_path / "back", lambda _: None)
    assert digest_of(tmp_path / "back") == digest_of(tmp_path / "other")


def test_a_pointer_is_replaced_only_by_who_has_seen_it(bucket):
    remote = bucket.remote
    remote.replace("p", b"1", tag="")
    with pytest.raises(PlaceTakenError):
        remote.replace("p", b"2", tag="")
    seen = remote.read("p")
    remote.replace("p", b"2", tag=seen.tag)
    with pytest.raises(PlaceTakenError):
        remote.replace("p", b"3", tag=seen.tag)
    assert remote.read("p").content == b"2"


def test_a_pointer_that_is_gone_is_not_written_anew_by_who_has_seen_it(bucket):
    remote = bucket.remote
    remote.replace("p", b"1", tag="")
    seen = remote.read("p")
    remote.remove(["p"])
    with pytest.raises(PlaceTakenError):
        remote.replace("p", b"2", tag=seen.tag)
    assert remote.read("p") is None


def test_a_store_that_takes_no_notice_of_conditions_is_refused_at_once(bucket):
    remote = bucket.remote

    def without_conditions(params, **_):
        params["headers"].pop("If-None-Match", None)

    remote.client.meta.events.register("before-call.s3.PutObject", without_conditions)
    with pytest.raises(RepositoryError, match="has no conditional writes"):
        remote.replace("p", b"1", tag="")
    assert remote.read("p") is None


def test_what_the_store_refuses_is_told(bucket, endpoint_url):
    absent = open_remote("s3://no-such-bucket/models", endpoint_url=endpoint_url)
    with pytest.raises(RepositoryError, match="there is no such bucket"):
        absent.write("p", b"")
    nobody = open_remote(bucket.url, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(RepositoryError, match="cannot be reached"):
        nobody.read("p")
