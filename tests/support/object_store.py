# SPDX-License-Identifier: Apache-2.0
"""An S3-compatible object store on this machine, with a bucket of its own for each test."""

import secrets
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def object_store():
    """The URL of its endpoint."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def new_bucket(endpoint_url):
    """The name of a bucket that nobody has used, and a client of the store."""
    client = boto3.client("s3", endpoint_url=endpoint_url)
    name = f"models-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=name)
    return name, client
