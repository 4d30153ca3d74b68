"""How long to wait before the next try: exponential backoff with full jitter.

Full jitter (M. Brooker, AWS Architecture Blog, 2015): a random time from 0 up to the exponential bound spreads the tries of
many that failed at one moment better than a bound with a little noise.
"""

from __future__ import annotations

import random

_MOST_DOUBLINGS = 64  # beyond it every cap is reached


def full_jitter(attempt: int, base: float, cap: float, luck: float | None = None) -> float:
    """Seconds to wait after the `attempt`-th try has failed: random, from 0 up to ``min(cap, base * 2**(attempt - 1))``.

    With `luck`, from 0 to 1, that share of the bound: for what failed together and is to be tried together.
    """
    share = random.random() if luck is None else luck  # noqa: S311 - no secret
    return share * min(cap, base * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
