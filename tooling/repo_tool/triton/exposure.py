# SPDX-License-Identifier: Apache-2.0
"""Who may reach the embedded server, and what of it is locked to whom."""

__all__ = ["EMBEDDED_RELEASE", "check_exposure", "locked_apis", "open_to_others"]

from ipaddress import ip_address

from repo_tool.errors import UserMistakeError
from repo_tool.releases import first_release_with_all_fixes, release
from repo_tool.triton.options import ServerOptions
from repo_tool.triton.ports import is_loopback

EMBEDDED_RELEASE = "24.10"  # of nvidia-pytriton 0.5.13 to 0.7.0
_WHOLE_SERVER = 9.0  # CVSS 3.1: critical


def open_to_others(options: ServerOptions) -> str:
    """What is to be said of a server that other machines reach; empty where none do."""
    if is_loopback(options.host):
        return ""
    known = release(EMBEDDED_RELEASE).vulnerabilities
    critical = sum((found.score or 0.0) >= _WHOLE_SERVER for found in known)
    return (
        f"Triton {release(EMBEDDED_RELEASE).triton_version} has {len(known)} published vulnerabilities that its wheel "
        f"cannot be patched against, {critical} of them critical"
    )


def check_exposure(options: ServerOptions) -> None:
    """Refuse to listen where other machines reach a Triton with published vulnerabilities.

    Raises:
        UserMistakeError: ``host`` is no address, or others would reach the server and nobody has accepted that.
    """
    try:
        ip_address(options.host)
    except ValueError as error:
        raise UserMistakeError(
            f"'{options.host}' is no address to listen on",
            cause=str(error),
            next_step="name the address of one of this machine's interfaces, 0.0.0.0 for all of them",
        ) from error
    if (known := open_to_others(options)) and not options.accept_known_cves:
        raise UserMistakeError(
            f"the server is not opened to other machines on {options.host}",
            cause=known,
            next_step=f"leave it on this machine behind a gateway of yours, serve the repository with the image of "
            f"release {first_release_with_all_fixes()} (docs/serve.md), or take the risk with --accept-known-cves",
        )


def locked_apis(options: ServerOptions) -> list[str]:
    """The protocols that only the key opens, by Triton's names for them.

    Nobody needs these on this machine unless told otherwise; in 2.51 they can be turned against the server. Other
    machines are not told either who asks for what.
    """
    is_ours = is_loopback(options.host)
    return [
        *(() if options.shared_memory and is_ours else ("shared-memory",)),
        *(() if options.open_model_control and is_ours else ("model-repository",)),
        *(() if is_ours else ("statistics",)),
        "trace",
        "logging",
    ]
