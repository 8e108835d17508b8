# SPDX-License-Identifier: Apache-2.0
"""CFG4: what the server does around a model: cache, transactions, agents and metrics."""

from collections.abc import Iterator

from repo_tool.rules.diagnostics import Finding
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject


@rule("CFG401")
def uncacheable(model: ModelSubject) -> Iterator[Finding]:
    """The response cache is for models whose answer depends on the request alone and comes once.

    Wrong::

        response_cache { enable: true }
        model_transaction_policy { decoupled: true }

    Right::

        response_cache { enable: true }
    """
    config = model.config
    reasons = {
        "sequence_batching": config.sequence_batching is not None,
        "a decoupled transaction policy": config.decoupled,
    }
    for reason in (reason for reason, holds in reasons.items() if holds and config.response_cache):
        yield Finding(
            f"response_cache cannot be combined with {reason}",
            cause="its answers depend on more than the request, or come more than once",
            fix="remove response_cache",
            field="response_cache",
        )
