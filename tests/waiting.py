"""Wait for a fact, not for a time."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(predicate: Callable[[], object], timeout: float = 5.0, message: str = "") -> None:
    """Return as soon as `predicate` is true; fail with `message` when it is not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(message or f"not so within {timeout} s: {predicate}")
        time.sleep(0.005)
