# SPDX-License-Identifier: Apache-2.0
"""A repository in an S3-compatible object store, laid out as Triton itself reads it from there."""

__all__ = ["S3Remote"]

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from repo_tool.errors import RepositoryError, needs_extra
from repo_tool.remotes.base import PlaceTakenError, Stored
from repo_tool.repository.layout import ModelRepository

_ADDRESS = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<folder>[A-Za-z0-9!_.*'()/-]*[A-Za-z0-9])/?"
)
_DIGEST_NAME = "sha256"  # of our metadata; what is uploaded in parts has no checksum of the whole
_WHOLE_BYTES = 64 << 20  # what is larger goes in parts, of which those that arrived need not be sent again
_MOST_PARTS = 9_000  # S3 takes 10,000
_DELETED_AT_ONCE = 1_000
_MOVED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_UPLOAD_ENDED = ("NoSuchUpload", "InvalidPart")
_AMAZON = ".amazonaws.com"
_ABSENT = ("404", "NoSuchKey", "NotFound")
_REFUSALS = {
    "NoSuchBucket": ("there is no such bucket", "create it, or check its name and the endpoint"),
    "AccessDenied": ("the store does not allow it", "check the credentials and the bucket's policy"),
    "403": ("the store does not allow it", "check the credentials and the bucket's policy"),
    "InvalidAccessKeyId": ("the store does not know this access key", "check AWS_ACCESS_KEY_ID or the profile"),
    "SignatureDoesNotMatch": ("the secret key is wrong", "check AWS_SECRET_ACCESS_KEY or the profile"),
    "BadDigest": ("what arrived is not what was sent", "run the command again: a file was changed while it was sent"),
    "NotImplemented": (
        "the store has no conditional writes",
        "use one that has If-Match, so that pushers cannot collide",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Remote:
    """Objects appear whole; the store checks each against the checksum that it is sent with."""

    url: str
    bucket: str
    folder: str  # with the name of the repository as its last part
    client: Any
    whole_bytes: int = _WHOLE_BYTES
    at_once: int = 8

    @classmethod
    def at(cls, address: str, *, endpoint_url: str | None) -> "S3Remote":
        """The one at ``s3://BUCKET/FOLDER``, with the credentials that boto3 finds.

        Raises:
            RepositoryError: another address, or none that credentials or a region are found for.
            MissingExtraError: boto3 is not installed.
        """
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise RepositoryError(
                f"'{address}' is no address of a repository",
                cause="it is s3://BUCKET/FOLDER: Triton takes each folder in it for a model, so what repo-tool keeps "
                "for itself lies beside it",
                next_step="name a folder in the bucket, e.g. s3://BUCKET/models",
            )
        return cls(url=address, bucket=found["bucket"], folder=found["folder"], client=_new_client(endpoint_url))

    @property
    def name(self) -> str:
        """The folder's last part."""
        return self.folder.rpartition("/")[2]

    @property
    def identity(self) -> str:
        """The address, and of which store where it is not Amazon's."""
        endpoint = str(self.client.meta.endpoint_url)
        return f"s3://{self.bucket}/{self.folder}" + ("" if endpoint.endswith(_AMAZON) else f" at {endpoint}")

    def require_apart(self, repository: ModelRepository) -> None:
        """Nobody publishes to an object store."""

    def read(self, place: str) -> Stored | None:
        """A small object whole; None where there is none."""
        with self._translating():
            try:
                reply = self.client.get_object(Bucket=self.bucket, Key=self._key(place))
            except self.client.exceptions.NoSuchKey:
                return None
            return Stored(content=reply["Body"].read(), tag=reply["ETag"])

    def replace(self, place: str, content: bytes, *, tag: str) -> None:
        """Write a small object if what is stored has this ``tag``, by the store's conditional writes.

        Raises:
            PlaceTakenError: it has another one, or is gone.
            RepositoryError: the store takes no notice of conditions, which is tried when a first one is written.
        """
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        with self._translating():
            try:
                self._put(place, content, _hex_of(content), condition)
            except self.client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    raise PlaceTakenError(place) from error
                raise
        if not tag:
            self._require_conditions(place, content)

    def _require_conditions(self, place: str, content: bytes) -> None:
        """See that the store refuses to write again what must not be there."""
        try:
            with self._translating():
                self._put(place, content, _hex_of(content), {"IfNoneMatch": "*"})
        except PlaceTakenError:
            return
        self.remove([place])
        fact, next_step = _REFUSALS["NotImplemented"]
        raise RepositoryError(
            f"'{self.url}': {fact}", cause="it wrote what it was told not to write again", next_step=next_step
        )

    def write(self, place: str, content: bytes) -> None:
        """Write a small object at once, whatever is there."""
        with self._translating():
            self._put(place, content, _hex_of(content), {})

    def digest(self, place: str) -> str | None:
        """What its metadata tells, which was written with a checksum of the same bytes; "" for one of others."""
        with self._translating():
            try:
                reply = self.client.head_object(Bucket=self.bucket, Key=self._key(place))
            except self.client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            found = reply["Metadata"].get(_DIGEST_NAME)
            return f"sha256:{found}" if found else ""

    def upload(self, place: str, source: Path, digest: str, sent: Callable[[int], None]) -> None:
        """Send a file, one that is large in parts; of an upload that was cut off only what is missing.

        Raises:
            RepositoryError: somebody stores other bytes there meanwhile.
        """
        hex_digest = digest.removeprefix("sha256:")
        size = source.stat().st_size
        with self._translating(), source.open("rb") as stream:
            if size <= self.whole_bytes:
                self._put(place, stream, hex_digest, {})
                sent(size)
                return
            for anew in (False, True):  # it may have gone on with an upload that others end, or of other bytes
                with self._outlasting_others():
                    self._send_in_parts(place, stream, hex_digest, (lambda _: None) if anew else sent, anew=anew)
                if self.digest(place) == digest:
                    return
        raise RepositoryError(
            f"'{place}' at '{self.url}' is changed by others meanwhile",
            cause="it was sent twice, and is not what was sent",
            next_step="run the command again",
        )

    def download(self, place: str, target: Path, received: Callable[[int], None]) -> None:
        """Fetch an object, one that is large in parts at once.

        Raises:
            RepositoryError: there is none.
        """
        with self._translating():
            try:
                self.client.download_file(self.bucket, self._key(place), str(target), Callback=received)
            except self.client.exceptions.ClientError as error:
                if _code(error) not in _ABSENT:
                    raise
                raise RepositoryError(
                    f"'s3://{self.bucket}/{self._key(place)}' is gone",
                    cause="it was there when the repository was read",
                    next_step="run the command again; should it still be missing, push the model again",
                ) from error

    def places(self, folder: str) -> Iterator[str]:
        """Every object below a folder."""
        before = len(self._key(""))
        pages = self.client.get_paginator("list_objects_v2")
        with self._translating():
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._key(folder) + "/"):
                yield from (found["Key"][before:] for found in page.get("Contents", ()))

    def remove(self, places: Iterable[str]) -> None:
        """Remove objects, in the order given as far as one request holds them."""
        keys = [{"Key": self._key(place)} for place in places]
        with self._translating():
            for start in range(0, len(keys), _DELETED_AT_ONCE):
                some = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
                failed = self.client.delete_objects(Bucket=self.bucket, Delete=some).get("Errors")
                if failed:
                    raise RepositoryError(
                        f"'{failed[0]['Key']}' cannot be removed from '{self.url}'",
                        cause=str(failed[0].get("Message", failed[0].get("Code"))),
                        next_step="check whether the credentials allow to delete objects",
                    )

    def _key(self, place: str) -> str:
        beside = self.folder.rpartition("/")[0]
        return f"{beside}/{place}" if beside else place

    def _put(self, place: str, body: bytes | BinaryIO, hex_digest: str, condition: Mapping[str, str]) -> None:
        self.client.put_object(
            Bucket=self.bucket,
            Key=self._key(place),
            Body=body,
            ChecksumSHA256=_base64(bytes.fromhex(hex_digest)),
            Metadata={_DIGEST_NAME: hex_digest},
            **condition,
        )

    def _send_in_parts(
        self, place: str, stream: BinaryIO, hex_digest: str, sent: Callable[[int], None], *, anew: bool = False
    ) -> None:
        target = {"Bucket": self.bucket, "Key": self._key(place)}
        begun = None if anew else self._begun(target)
        upload = begun or self.client.create_multipart_upload(
            **target, ChecksumAlgorithm="SHA256", Metadata={_DIGEST_NAME: hex_digest}
        )
        target["UploadId"] = upload["UploadId"]
        there = self._parts(target)
        part_bytes = max(self.whole_bytes // 4, stream.seek(0, 2) // _MOST_PARTS + 1)
        stream.seek(0)
        parts: list[dict[str, Any]] = []
        while content := stream.read(part_bytes):
            number, checksum = len(parts) + 1, _base64(hashlib.sha256(content).digest())
            tag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'  # what a part's ETag is
            if there.get(number) != tag:
                tag = self.client.upload_part(**target, PartNumber=number, Body=content, ChecksumSHA256=checksum)[
                    "ETag"
                ]
            parts.append({"PartNumber": number, "ETag": tag, "ChecksumSHA256": checksum})
            sent(len(content))
        self.client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})

    def _begun(self, target: Mapping[str, str]) -> Mapping[str, Any] | None:
        """The last upload of this object that was begun and not completed."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=target["Bucket"], Prefix=target["Key"]
        )
        listed = (upload for page in pages for upload in page.get("Uploads", ()))
        ours = [upload for upload in listed if upload["Key"] == target["Key"]]
        return max(ours, key=lambda upload: upload["Initiated"], default=None)

    def _parts(self, target: Mapping[str, str]) -> dict[int, str]:
        """The tags of the parts that have arrived, by number."""
        pages = self.client.get_paginator("list_parts").paginate(**target)
        return {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", ())}

    @contextmanager
    def _outlasting_others(self) -> Iterator[None]:
        """Let an upload end that another pusher of the same file has completed or given up: what is there is asked."""
        try:
            yield
        except self.client.exceptions.ClientError as error:
            if _code(error) not in _UPLOAD_ENDED:
                raise

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn botocore's errors into ours.

        Raises:
            PlaceTakenError: a condition of a write does not hold.
            RepositoryError: all else that the store, the network or the settings refuse.
        """
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            if _code(error) in _MOVED:
                raise PlaceTakenError(str(error)) from error
            fact, next_step = _REFUSALS.get(_code(error), (str(error), ""))
            raise RepositoryError(f"'{self.url}': {fact}", cause=str(error), next_step=next_step) from error
        except (BotoCoreError, Boto3Error) as error:
            raise RepositoryError(
                f"'{self.url}' cannot be reached",
                cause=str(error),
                next_step="check the endpoint and the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE …)",
            ) from error


def _new_client(endpoint_url: str | None) -> Any:
    with needs_extra("s3"):
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    settings = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=60)
    try:
        session = boto3.session.Session()
        region = session.region_name or "us-east-1"  # where there is an endpoint, any name will do
        return session.client("s3", endpoint_url=endpoint_url, region_name=region, config=settings)
    except (BotoCoreError, ValueError) as error:
        raise RepositoryError(
            "the object store cannot be asked", cause=str(error), next_step="check --endpoint-url and AWS_PROFILE"
        ) from error


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _hex_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
