# SPDX-License-Identifier: Apache-2.0
"""A model whose served answers differ as ONNX is served by its framework's own backend, if nobody chose otherwise.

A conversion is held to the framework in process first. What only a real server finds, such as a batch size that the
graph answers otherwise or an ill-conditioned model, comes out when it is proven; the model itself is then still whole.
"""

__all__ = ["own_backend_instead", "what_differs"]

from repo_tool.importers.base import ImportedModel
from repo_tool.verification import Parity


def own_backend_instead(imported: ImportedModel, parity: Parity | None, *, chosen: str | None, refined: bool) -> str:
    """The backend to try; empty where the answers agree, a person chose, the graph was refined, or there is none.

    Args:
        imported: what was proven.
        parity: how that came out.
        chosen: the backend that a person asked for.
        refined: whether a person wanted the graph optimised or of another precision, which is for ONNX alone.
    """
    if parity is None or parity.equal or chosen or refined:
        return ""
    return imported.own_backend


def what_differs(parity: Parity) -> str:
    """In words, of the first output that differs; how it was run where none does."""
    worst = next((output for output in parity.outputs if not output.equal), None)
    if worst is None:
        return parity.summary
    if worst.complaint:
        return f"served answers differ: output '{worst.name}' {worst.complaint}"
    return f"served answers differ by up to {worst.largest_absolute:.3g} in output '{worst.name}'"
