# SPDX-License-Identifier: Apache-2.0
"""Stamps: parameters of a configuration that tell which bytes it is meant for, so that a server can be asked.

``parameters { key: "provenance.3" value { string_value: "sha256:…" } }`` holds the digest of ``3/provenance.json``,
which in turn lists the digest of every file of version 3. One stamp for each version that the configuration loads.
"""

__all__ = [
    "due_stamps",
    "is_stamp",
    "provenance_digest",
    "restamped",
    "stamped",
    "stamped_anew",
    "stamps_of",
    "unstamped",
    "without_stamps",
]

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace

from repo_tool.config import pbtxt
from repo_tool.config.edit import remove_field
from repo_tool.config.model import ModelConfig
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError
from repo_tool.repository.layout import ModelDirectory

_KEY = re.compile(r"provenance\.([1-9][0-9]*)")
_REMARK = "# Which bytes each version is made of: the digest of its provenance.json, which lists every file.\n"
_LINE = r'parameters \{ key: "provenance\.[1-9][0-9]*" value \{ string_value: "[^"\n]*" \} \}\n'
_BLOCK = re.compile(rf"\n?^{re.escape(_REMARK)}(?:{_LINE})*", re.MULTILINE)
_LOOSE = re.compile(rf"^{_LINE}", re.MULTILINE)


def is_stamp(key: str) -> bool:
    """Whether a parameter is a stamp."""
    return _KEY.fullmatch(key) is not None


def stamps_of(config: ModelConfig) -> dict[int, str]:
    """The digests that a configuration is stamped with, by version."""
    found = ((_KEY.fullmatch(key), value) for key, value in config.parameters.items())
    return dict(sorted((int(key[1]), value) for key, value in found if key))


def without_stamps(config: ModelConfig) -> ModelConfig:
    """The same, as it was before it was stamped."""
    kept = {key: value for key, value in config.parameters.items() if not is_stamp(key)}
    return config if len(kept) == len(config.parameters) else replace(config, parameters=kept)


def stamped(text: str, digests: Mapping[int, str]) -> str:
    """The text of a configuration with these stamps, by version, and no other ones."""
    bare = unstamped(text)
    if not digests:
        return bare
    end = "" if bare.endswith("\n") or not bare else "\n"
    lines = (
        f'parameters {{ key: "provenance.{version}" value {{ string_value: "{digest}" }} }}\n'
        for version, digest in sorted(digests.items())
    )
    return f"{bare}{end}\n{_REMARK}{''.join(lines)}"


def unstamped(text: str) -> str:
    """The text of a configuration without stamps, also where a person or a formatter has moved them.

    A text that does not parse loses those that are where ``stamped`` puts them.
    """
    bare = _LOOSE.sub("", _BLOCK.sub("", text))
    if "provenance." not in bare:
        return bare
    try:
        for version in stamps_of(pbtxt.parse(bare)):
            bare = remove_field(bare, f'parameters["provenance.{version}"]')
    except ConfigError:  # for the rules to judge
        pass
    return bare


def provenance_digest(directory: ModelDirectory, version: int) -> str | None:
    """``sha256:`` and the digest of a version's ``provenance.json``; None where it has none."""
    path = directory.provenance_path(version)
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else None


def due_stamps(directory: ModelDirectory, config: ModelConfig) -> dict[int, str]:
    """The stamps that a configuration of the model should have: of each version that it loads and that has any."""
    loaded = served_versions(config.version_policy, directory.versions())
    digests = {version: provenance_digest(directory, version) for version in loaded}
    return {version: digest for version, digest in digests.items() if digest}


def restamped(text: str, directory: ModelDirectory) -> str:
    """The text of a configuration of the model, with the stamps that it should have.

    Raises:
        ConfigError: it does not parse.
    """
    due = due_stamps(directory, pbtxt.parse(text))
    return text if due == stamps_of(pbtxt.parse(text)) else stamped(text, due)


def stamped_anew(old: str, new: str, directory: ModelDirectory) -> str:
    """What a configuration of the model is to say from now on, with the stamps that are due, if it had or has any."""
    try:
        if not old or any(stamps_of(pbtxt.parse(text)) for text in (old, new)):
            return restamped(new, directory)
    except ConfigError:  # for the rules to judge
        pass
    return new
