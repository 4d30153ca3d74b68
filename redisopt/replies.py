"""Replies as text or bytes, whether or not the client decodes them."""

from __future__ import annotations

from typing import Any


def text(reply: Any) -> str:
    """A reply as text."""
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def as_bytes(reply: Any) -> bytes:
    """A reply as bytes."""
    return reply if isinstance(reply, bytes) else str(reply).encode()
