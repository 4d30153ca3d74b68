"""Dead letters: what was tried as often as it may be, kept for a person to look at and to try again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Work that failed for good.

    Attributes:
        id: of the work: of a window, or an item.
        key: that it was for.
        payload: that the handler would get again; None where it cannot be read by this process's codec.
        attempts: how often it was started.
        error: of the last one, as ``"ValueError: ..."``.
        died_at: by the server's clock, in seconds since 1970.
    """

    id: str
    key: str
    payload: Any
    attempts: int
    error: str
    died_at: float
