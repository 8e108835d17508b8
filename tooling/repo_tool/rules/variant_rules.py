# SPDX-License-Identifier: Apache-2.0
"""REP: what the configurations in ``configs/`` are to one another."""

__all__ = ["variant_with_another_contract"]

from collections.abc import Iterator

from repo_tool.config.changes import Effect
from repo_tool.config.contract import client_changes
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject


@rule("REP121", severity=Severity.WARNING)
def variant_with_another_contract(model: ModelSubject) -> Iterator[Finding]:
    """A variant takes and gives what config.pbtxt does.

    A file in configs/ takes the place of the whole config.pbtxt, nothing of which is added to it. One that was left
    behind when config.pbtxt changed refuses requests on the servers that read it, or answers them otherwise.

    Wrong::

        iris/config.pbtxt          max_batch_size: 32
        iris/configs/gpu.pbtxt     max_batch_size: 8

    Right::

        iris/config.pbtxt          max_batch_size: 32
        iris/configs/gpu.pbtxt     max_batch_size: 32
    """
    for variant in () if model.variant else model.variants():
        if variant.config_error is None:
            yield from _breaking(model, variant)


def _breaking(model: ModelSubject, variant: ModelSubject) -> Iterator[Finding]:
    for change in client_changes(model.config, variant.config):
        if change.effect is Effect.BREAKING:
            yield Finding(
                f"clients of config.pbtxt break here: {change.words}",
                cause=f"it is {change.after or 'absent'} here and {change.before or 'absent'} in config.pbtxt",
                fix="make both alike; repo-tool add-model renews configs/cpu.pbtxt and configs/gpu.pbtxt",
                file=variant.config_file,
                field=change.path,
            )
