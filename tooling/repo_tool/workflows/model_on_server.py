# SPDX-License-Identifier: Apache-2.0
"""One model of a running server: what it serves, loading and unloading it, and what a refusal leaves behind."""

__all__ = ["ModelOnServer", "WrongVersionsError", "words_of"]

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import repo_client
from repo_client import Client
from repo_tool.config.document import with_versions
from repo_tool.errors import LoadRefusedError, LoadTimeoutError
from repo_tool.repository.stamps import is_stamp
from repo_tool.triton.refusals import cleaned
from repo_tool.triton.stub_processes import memory_kills

Document = Mapping[str, Any]

_POLL_S = 0.01
_UNLOADED_S = 3.0  # for a version to be gone before it is loaded again: requests under way may hold it for longer
_STAND_IN_S = 20.0  # for what loads in a second, on a machine that has much else to do
_ABANDONED_S = 5.0  # for Triton to see that what it was loading has ended
# Triton loads these in place of a refused version and of one that serves. The second refuses, so that the load fails
# as a whole: the version that serves stays, and the refused one is then one that was loaded and unloaded.
_LOADS = b"""class TritonPythonModel:
    def execute(self, requests):
        raise RuntimeError("this version is not served")
"""
_REFUSES = b"""class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("a refused version is forgotten")

    def execute(self, requests):
        return []
"""
_TWICE = "in two or more repositories"  # Triton's words in its index
_ENDED = "Stub process"  # Triton's words of one that is no more, or does not answer
_OUT_OF_MEMORY = "the machine or its container has run out of memory"
_ANY_INTERFACE = {
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
}
_OF_THE_INTERFACE = ("name", "max_batch_size", "input", "output")  # ensembles over the model are held against it


class WrongVersionsError(Exception):
    """The server took a load, and does not serve what it was to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOnServer:
    """A model on the server of ``client``, which may load models there.

    Every method raises what the client does, see ``repo_client.RepoClientError``.
    """

    client: Client
    name: str
    timeout_s: float  # for Triton to come to an end with a load
    abandon: Callable[[str, int], None] | None = None  # ends what is being loaded for a version
    explain: Callable[[str], str] | None = None  # why Triton "failed to poll" a model, which its log alone tells

    def versions(self) -> tuple[int, ...]:
        """Those that answer requests, ascending."""
        return self._in_state("READY")

    def require_unique(self) -> None:
        """See that no two repositories of the server have a model of this name.

        Triton hides such a model, serves on what is loaded of it, and loads nothing any more: what it says of it is
        no reason to restore or to unload anything.

        Raises:
            WrongVersionsError: they do.
        """
        if any(_TWICE in entry.reason for entry in self.client.admin.repository_index() if entry.name == self.name):
            raise WrongVersionsError(f"two of the server's repositories have a model '{self.name}': rename one of them")

    def document(self) -> Document:
        """The configuration that it runs with, loading what it serves: Triton's own names other versions by then."""
        return with_versions(self.client.admin.config(self.name).document, self.versions())

    def is_held(self) -> bool:
        """Whether it was told by number what it serves, so that it goes on with that whatever comes into its folder."""
        policy = self.client.admin.config(self.name).version_policy
        return policy.kind == "specific" and {int(version) for version in policy.versions} == set(self.versions())

    def stamps(self, version: int) -> dict[str, str]:
        """The stamps of the configuration that a version was loaded with, by parameter."""
        parameters = self.client.admin.config(self.name, version=version).parameters
        return {key: value for key, value in parameters.items() if is_stamp(key)}

    def load(self, document: Document, versions: Collection[int], *, files: Mapping[str, bytes] | None = None) -> None:
        """Load these versions and no others with that configuration; what serves does so until they are ready.

        With ``files``, by path, these are loaded instead of what lies in the server's repository.

        Raises:
            WrongVersionsError: the server does not know one of the versions.
        """
        self._until_none("UNLOADING", of=versions, within_s=min(_UNLOADED_S, self.timeout_s))
        self._load(with_versions(document, versions))
        missing = sorted(set(versions) - set(self.versions()))
        if missing:
            raise WrongVersionsError(
                f"the server has no version {', '.join(map(str, missing))} of '{self.name}': "
                "its repository is another one, or a copy that is older"
            )

    def load_sent(self, document: Document, versions: Collection[int], files: Mapping[str, bytes]) -> None:
        """Load files, by their paths in the model's folder, that the server's repository need not have.

        The server's index does not tell of such a model. An ensemble is nothing but its configuration.
        """
        folders = {f"{version}/.sent": b"" for version in versions}
        self._load(with_versions(document, versions), files={**folders, **files})

    def unload(self) -> None:
        """Unload all versions; requests under way are finished first."""
        self.client.admin.unload(self.name, timeout_s=self.timeout_s)

    def is_loading(self) -> bool:
        """Whether the server has not come to an end with a version."""
        return bool(self._in_state("LOADING"))

    def refused(self) -> tuple[int, ...]:
        """The versions whose refusal the server remembers; while it does, its readiness says no."""
        entries = self._entries()
        return tuple(sorted(int(each.version) for each in entries if each.state == "UNAVAILABLE" and _failed(each)))

    def forget_refused(self, document: Document) -> None:
        """Let the server be as if it had not refused what it has; versions that serve go on.

        Triton counts a version as not ready until it was loaded once, whatever became of its folder. A stand-in
        without a file of the model is loaded in its place and let go: beside versions that serve, within a load that
        fails as a whole, so that no request ever reaches it; alone, it is unloaded at once.
        """
        if refused := self.refused():
            interface = {key: document[key] for key in _OF_THE_INTERFACE if key in document}
            self._stand_in(interface, refused, beside=self.versions()[-1:])

    def forget(self, versions: Collection[int]) -> None:
        """The same for versions of a model of which nothing serves, and that the server's index need not know."""
        self._stand_in({"name": self.name, **_ANY_INTERFACE}, versions)

    def _stand_in(self, interface: Document, refused: Collection[int], *, beside: Collection[int] = ()) -> None:
        config = {**interface, "backend": "python", "instance_group": [{"kind": "KIND_CPU", "count": 1}]}
        files = {f"{version}/model.py": _LOADS for version in refused}
        files |= {f"{version}/model.py": _REFUSES for version in beside}
        # Triton 2.51 has ended with SIGSEGV where a load met versions that were still on their way out.
        self._until_none("UNLOADING", of=self._in_state("UNLOADING"), within_s=_UNLOADED_S)
        with suppress(repo_client.LoadRefusedError):  # which it must, where a version serves
            timeout_s = max(self.timeout_s, _STAND_IN_S)
            document = with_versions(config, {*refused, *beside})
            self.client.admin.load(self.name, config=document, files=files, timeout_s=timeout_s)
        if not beside:
            self.unload()

    def require_stamps(self, version: int, stamps: Mapping[str, str]) -> None:
        """See that a version was loaded with the configuration that is meant for these bytes.

        Raises:
            WrongVersionsError: it was not.
        """
        found = self.stamps(version)
        if found != stamps:
            raise WrongVersionsError(
                f"version {version} of '{self.name}' is served with a configuration for other bytes: it is stamped "
                f"{_told(found)}, and {_told(stamps)} was published"
            )

    def _load(self, document: Document, *, files: Mapping[str, bytes] | None = None) -> None:
        kills = memory_kills()
        try:
            self.client.admin.load(self.name, config=document, files=files, timeout_s=self.timeout_s)
        except repo_client.DeadlineExceededError as error:
            self._abandon()
            raise LoadTimeoutError(
                f"Triton has not come to an end with '{self.name}' within {self.timeout_s:g} s",
                next_step="look what its code waits for",
            ) from error
        except repo_client.LoadRefusedError as error:
            words = error.server_words or ""
            if "failed to poll" in words:
                raise self._poll_failure(is_sent=files is not None) from error
            if self.explain and _ENDED in words and memory_kills() > kills:  # it is a server of this machine
                raise LoadRefusedError(cleaned(words).rstrip("."), cause=_OUT_OF_MEMORY) from error
            raise

    def _poll_failure(self, *, is_sent: bool) -> Exception:
        """What Triton means by it: it takes neither a folder that is not there nor a configuration that is wrong."""
        if not is_sent and all(each.name != self.name for each in self.client.admin.repository_index()):
            return WrongVersionsError(f"the server's repository has no model '{self.name}': it is another one")
        why = self.explain(self.name) if self.explain else "the server's log says what is wrong with its configuration"
        return LoadRefusedError(f"Triton does not take '{self.name}'", cause=why)

    def _abandon(self) -> None:
        loading = self._in_state("LOADING")
        if self.abandon is None or not loading:
            return
        for version in loading:
            self.abandon(self.name, version)
        self._until_none("LOADING", of=loading, within_s=_ABANDONED_S)

    def _until_none(self, state: str, *, of: Collection[int], within_s: float) -> None:
        """Wait for those of the versions that are in that state to leave it, as before they can be loaded again."""
        deadline = time.monotonic() + within_s
        while not set(of).isdisjoint(self._in_state(state)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _in_state(self, state: str) -> tuple[int, ...]:
        return tuple(sorted(int(each.version) for each in self._entries() if each.state == state))

    def _entries(self) -> list[repo_client.IndexEntry]:
        index = self.client.admin.repository_index()
        return [each for each in index if each.name == self.name and each.version]


def _told(stamps: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(stamps.items())) or "with nothing"


def _failed(entry: repo_client.IndexEntry) -> bool:
    return entry.reason != "unloaded"


def words_of(error: Exception) -> str:
    """What went wrong, as the server itself said it where it did."""
    if isinstance(error, repo_client.RepoClientError):
        return cleaned(error.server_words) if error.server_words else error.fact
    return str(error)
