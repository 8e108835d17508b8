# SPDX-License-Identifier: Apache-2.0
"""Which versions a policy serves, of those that are there or as far as it can be told without. Pure.

What a policy loads is model_lifecycle.cc's ``VersionsToLoad``; without one Triton takes the newest, and an empty one
means all.
"""

__all__ = ["served_versions", "version_changes"]

from collections import Counter
from collections.abc import Iterator, Sequence

from repo_tool.config.changes import Change, Effect, breaking, compatible
from repo_tool.config.model import VersionPolicy

_ALL = VersionPolicy(all_versions=True)


def served_versions(policy: VersionPolicy | None, there: Sequence[int]) -> tuple[int, ...]:
    """The versions that are loaded of those that are ``there``, ascending."""
    if policy is None:
        return tuple(there[-1:])
    if policy.latest is not None:
        return tuple(there[-policy.latest :]) if policy.latest > 0 else ()
    if policy.specific is None:  # all of them, or no choice at all, which Triton takes for the same
        return tuple(there)
    named = Counter(policy.specific)
    # Named twice, a version counts as there, whether it is or not.
    return tuple(sorted(version for version in named if version in there or named[version] > 1))


def version_changes(old: VersionPolicy | None, new: VersionPolicy | None) -> Iterator[Change]:
    """One change where the policies differ: breaking unless whatever versions there are, none that was served goes."""
    if old == new:
        return
    before, after = _meant(old), _meant(new)
    shown = (_shown(old), _shown(new))
    if before == after:
        words = "the same versions are served"
        yield Change(effect=Effect.SERVER, path="version_policy", words=words, before=shown[0], after=shown[1])
    elif _only_grows(before, after):
        words = "more versions may be served, and requests without a version go to the newest of them"
        yield compatible("version_policy", words, *shown)
    else:
        yield breaking("version_policy", f"{_lost(before, after)} refused", *shown)


def _meant(policy: VersionPolicy | None) -> VersionPolicy:
    """The policy with one choice made."""
    if policy is None:
        return VersionPolicy(latest=1)
    if policy.specific is not None:
        return VersionPolicy(specific=tuple(sorted(set(policy.specific))))
    return VersionPolicy(latest=policy.latest) if policy.latest is not None else _ALL


def _only_grows(old: VersionPolicy, new: VersionPolicy) -> bool:
    if new == _ALL or not (old.specific or old.latest or old == _ALL):  # all now, or none before
        return True
    if old.specific is not None and new.specific is not None:
        return set(old.specific) <= set(new.specific)
    return old.latest is not None and new.latest is not None and old.latest <= new.latest


def _lost(old: VersionPolicy, new: VersionPolicy) -> str:
    if old.specific is None or new.specific is None:
        return "versions that were served may be left out: requests for them are"
    gone = sorted(set(old.specific) - set(new.specific))
    return f"requests for version{'s' if len(gone) > 1 else ''} {', '.join(map(str, gone))} are"


def _shown(policy: VersionPolicy | None) -> str:
    if policy is None:
        return ""
    meant = _meant(policy)
    if meant.specific is not None:
        return f"specific [{', '.join(map(str, meant.specific))}]"
    return "all" if meant.latest is None else f"latest {meant.latest}"
