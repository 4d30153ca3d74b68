"""What composing costs: a call through an optimizer or a pipeline, against the part by itself, in turns in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import redis

import redisopt
from redisopt.server import EmbeddedServer

ROUNDS = 20_000


def nothing() -> None:
    """The operation."""


def p50s(*ways: Callable[[], object]) -> list[float]:
    """The median time of each way in us, taken in turns."""
    times: list[list[int]] = [[] for _ in ways]
    for number in range(ROUNDS + 1000):
        for way, taken in zip(ways, times, strict=True):
            began = time.perf_counter_ns()
            way()
            if number >= 1000:  # the first ones warm up
                taken.append(time.perf_counter_ns() - began)
    return [statistics.median(taken) / 1000 for taken in times]


def main() -> None:
    """Print the figures."""
    with EmbeddedServer() as server, redis.from_url(server.url) as client:
        rates = {"rates": ["1000000/s"]}
        throttler = redisopt.Throttler(client, "alone", **rates)  # type: ignore[arg-type]
        optimizer = redisopt.Optimizer(client, "optimizer", throttling=rates)
        measured = redisopt.Optimizer(client, "measured", throttling=rates, monitoring={})
        guarded = redisopt.Optimizer(client, "guarded", throttling=rates, retrying={}, monitoring={})
        pipeline = redisopt.Pipeline(client, [throttler])
        alone, *others = p50s(
            lambda: throttler.execute(nothing),
            lambda: optimizer.optimize(nothing, throttle=True),
            lambda: measured.optimize(nothing, throttle=True),
            lambda: guarded.optimize(nothing, throttle=True, fallback=None),
            lambda: pipeline.execute(nothing),
        )
        names = (
            "optimize(throttle=True)",
            "the same, with a monitor",
            "the same, with a monitor, retries and a fallback",
            "a pipeline of the throttler",
        )
        print(f"throttler.execute: {alone:.1f} us")
        for name, took in zip(names, others, strict=True):
            print(f"{name}: {took:.1f} us, {took / alone:.2f} x")
        for each in (throttler, optimizer, measured, guarded, pipeline):
            each.close()


if __name__ == "__main__":
    main()
