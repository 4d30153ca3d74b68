"""What all policies are: something that goes on around a call, whatever the call is.

A policy wraps an inner plan and knows no other policy; which ones are there, and in what order, is decided by whoever folds them
(see `optimizer`). The inner plan is handed over as a function that makes it, since a policy may perform it several times, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from redisopt.commands import Plan


class Policy(Protocol):
    """One policy, for one kind of call; made by `Throttler.policy` and its like. Safe to use by any number of calls at once."""

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """The plan of a call: what goes before `inner`, `inner` itself, and what goes after it."""
