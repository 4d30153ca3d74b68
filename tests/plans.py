"""The plans of a throttle without a runner: whose permits can only be looked at."""

from __future__ import annotations

from functools import partial

from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.grant import Grant
from redisopt.throttle.plans import ThrottlePlans


def bare_plans(config: ThrottleConfig, name: str = "test") -> ThrottlePlans[Grant]:
    plans: ThrottlePlans[Grant] = ThrottlePlans(name, config)
    plans.deciding.make_permit = plans.outage_policy.make_permit = partial(Grant, None)
    return plans
