# SPDX-License-Identifier: Apache-2.0
"""The one place where an exception of somebody else's library becomes an error of ours."""

__all__ = ["refusing"]

import re
from collections.abc import Iterator
from contextlib import contextmanager

from repo_tool.errors import RepoToolError, SourceError

_LONGEST_CAUSE = 400
_STACK = "Stack trace:"  # of C++, which tells its authors where
_NOISE = re.compile(
    r"\x1b\[[0-9;]*m"  # colours
    r"|\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|\[\d\d:\d\d:\d\d\] \S+:\d+: "  # when, and where in XGBoost's
    r"|(?:\w+/)+\w+\.(?:cpp|cc|h):\d+: "  # where in CatBoost's
    r"|/onnxruntime_src/\S+ [^)]*\)(?:::<lambda[^>]*>)?(?: const)?(?: \[with [^\]]*\])? "  # where in its C++ code
)


@contextmanager
def refusing(fact: str, *, next_step: str, kind: type[RepoToolError] = SourceError) -> Iterator[None]:
    """Say ``fact`` and ``next_step`` when the block fails, with the foreign exception's own words as the cause.

    Raises:
        RepoToolError: of ``kind``; one that the block raised itself passes unchanged.
    """
    try:
        yield
    except (RepoToolError, MemoryError):
        raise
    except Exception as error:  # unpickling and converting run foreign code, which raises anything
        raise kind(fact, cause=_cause(error), next_step=next_step) from error


def _cause(error: Exception) -> str:
    text = _NOISE.sub("", str(error).partition(_STACK)[0])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = f"{type(error).__name__}: {' '.join(lines)}" if lines else type(error).__name__
    return words if len(words) <= _LONGEST_CAUSE else words[:_LONGEST_CAUSE] + " ..."
