# SPDX-License-Identifier: Apache-2.0
"""Text that comes from files and is shown to people: a terminal obeys what it is sent, so nothing of that passes."""

__all__ = ["printable", "printable_lines"]


def printable(text: str) -> str:
    """``text`` with every control character spelt out, as one line."""
    return _spelt_out(text, keep="")


def printable_lines(text: str) -> str:
    """``text`` with every control character but newlines and tabs spelt out."""
    return _spelt_out(text, keep="\n\t")


def _spelt_out(text: str, *, keep: str) -> str:
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else ascii(sign)[1:-1] for sign in text)
