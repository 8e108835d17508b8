# SPDX-License-Identifier: Apache-2.0
"""The estimators that an estimator is made of, and how each hands over what it computed."""

__all__ = ["handing_over_plainly", "parts_of"]

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from repo_tool.importers.guards.contents import everything_in

# Settings of which skl2onnx converts one value only, and both give the same numbers: flat or not, sparse or not.
_PLAINLY: Mapping[str, tuple[str, Any, Any]] = {
    "KBinsDiscretizer": ("encode", "onehot", "onehot-dense"),
    "RandomTreesEmbedding": ("sparse_output", True, False),
    "VotingClassifier": ("flatten_transform", True, False),
}


def parts_of(fitted: Any) -> Iterator[Any]:
    """The estimator itself, those that it holds, those that these hold, and so on; each once."""
    return (part for part in everything_in(fitted) if hasattr(part, "get_params") and not isinstance(part, type))


@contextmanager
def handing_over_plainly(estimator: Any) -> Iterator[None]:
    """Inside the block, nothing in the estimator is set to what skl2onnx refuses though it changes no number."""
    with ExitStack() as settings:
        for part in parts_of(estimator):
            name, refused, plain = _PLAINLY.get(type(part).__name__, ("", None, None))
            if name and getattr(part, name, None) == refused:
                settings.callback(setattr, part, name, refused)
                setattr(part, name, plain)
        yield
