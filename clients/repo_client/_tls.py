# SPDX-License-Identifier: Apache-2.0
"""TLS as Python's own library sets it up."""

import ssl

from repo_client._errors import InputError
from repo_client._options import Tls


def tls_context(tls: Tls | None) -> ssl.SSLContext:
    """Whom to trust and who to be; without ``tls`` the system's authorities, and nobody.

    Raises:
        InputError: a file that is not there, or holds none of it.
    """
    chosen = tls or Tls()
    authorities, certificate = chosen.read("ca"), chosen.read("certificate")
    chosen.read("key")
    try:
        context = ssl.create_default_context(cadata=authorities.decode() if authorities else None)
        if certificate is not None and chosen.certificate is not None:
            context.load_cert_chain(chosen.certificate, chosen.key)
    except (OSError, UnicodeDecodeError) as error:  # SSLError is an OSError
        raise InputError(f"{chosen} cannot be used: {error}", hint="does the key belong to the certificate?") from error
    return context
