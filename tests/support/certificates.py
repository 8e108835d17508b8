# SPDX-License-Identifier: Apache-2.0
"""Authorities and certificates for servers and clients of a test, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """The PEM files of one certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; ``certificate`` is what those who trust it need."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl(
            "req", "-x509", *_new_key(self._key), "-out", self.certificate, "-days", "2", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE",
        )  # fmt: skip

    def issue(self, name: str, *, subject: str) -> Certificate:
        """A certificate for ``subject``, e.g. ``DNS:localhost`` or ``IP:127.0.0.1``."""
        base = self._folder / f"{self._name}-{name}"
        request, extensions = base.with_suffix(".csr"), base.with_suffix(".ext")
        certificate, key = base.with_suffix(".pem"), base.with_suffix(".key")
        extensions.write_text(f"subjectAltName={subject}\n")
        _openssl("req", *_new_key(key), "-out", request, "-subj", f"/CN={name}")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-out", certificate, "-days", "2", "-extfile", extensions,
        )  # fmt: skip
        return Certificate(certificate=certificate, key=key)


def _new_key(path: Path) -> tuple[object, ...]:
    return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path


def _openssl(*arguments: object) -> None:
    command = ["openssl", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)  # arguments of our own making
