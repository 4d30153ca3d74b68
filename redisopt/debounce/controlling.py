"""Looking at a debouncer and taking a hand in it, as plans: cancel, flush, peek, metrics, dead letters.

A key may have a window of payloads and one of functions beside it; what is done to the key is done to both.
"""

from __future__ import annotations

from redisopt.background import now
from redisopt.codec import PayloadError, decode
from redisopt.commands import Plan, call
from redisopt.dead import DeadLetter
from redisopt.debounce.agreeing import Agreeing
from redisopt.debounce.asking import Asking
from redisopt.debounce.outcome import DebounceMetrics, DebounceResult, Pending
from redisopt.debounce.replies import Letter
from redisopt.debounce.submitting import Submitting, check_timeout
from redisopt.monitor.watching import Watch

MAX_LETTERS = 10_000


class Controlling:
    """The plans of those who look and interfere."""

    def __init__(self, asking: Asking, agreeing: Agreeing, submitting: Submitting, watch: Watch) -> None:
        self._asking = asking
        self._agreeing = agreeing
        self._submitting = submitting
        self._watch = watch

    def cancel(self, key: str) -> Plan[int]:
        """Drop what has not been started; how many calls that were."""
        layout = self._asking.layout
        dropped = 0
        for place in (layout.place(key), layout.closures(key)):
            dropped += yield from call(self._asking.cancel(place))
        return dropped

    def flush(self, key: str, timeout: float | None) -> Plan[DebounceResult | None]:
        """Have what is pending run now, and wait for its outcome."""
        check_timeout(timeout)
        layout = self._asking.layout
        result = None
        flushed = []
        for place in (layout.place(key), layout.closures(key)):
            found = yield from call(self._asking.flush(place))
            if found is not None:
                flushed.append((place, *found))
        for place, window, calls in flushed:
            result = yield from self._submitting.result(place, window, calls, timeout, now())
        return result

    def peek(self, key: str) -> Plan[Pending]:
        """How a key stands."""
        layout = self._asking.layout
        payloads = yield from call(self._asking.peek(layout.place(key)))
        functions = yield from call(self._asking.peek(layout.closures(key)))
        if not functions.window and not functions.running:
            return payloads
        if not payloads.window and not payloads.running:
            return functions
        waits = [pending.due_after for pending in (payloads, functions) if pending.window]
        return Pending(
            payloads.calls + functions.calls,
            payloads.window or functions.window,
            min(waits, default=0.0),
            payloads.running or functions.running,
            max(payloads.attempt, functions.attempt),
        )

    def metrics(self) -> Plan[DebounceMetrics]:
        """How all partitions stand."""
        last_call = last_run = 0
        sums = [0] * 8
        for tag in self._asking.layout.tags:
            for kind in ("", "call:"):
                called, ran, *counts = yield from call(self._asking.metrics(f"{tag}{kind}"))
                last_call, last_run = max(last_call, called), max(last_run, ran)
                sums = [total + count for total, count in zip(sums, counts, strict=True)]
        pending, running, calls, runs, done, retried, dead, letters = sums
        performance = yield from self._watch.report()
        standing = DebounceMetrics(
            last_call / 1000 or None,
            last_run / 1000 or None,
            pending > 0,
            pending,
            *(running, calls, runs, done, retried, dead, letters),
            performance,
        )
        return standing._replace(conflicts=len(self._agreeing.conflicts))

    def dead(self) -> Plan[list[DeadLetter]]:
        """The dead letters."""
        letters: list[DeadLetter] = []
        for partition in range(self._asking.layout.partitions):
            start = 0
            while len(letters) < MAX_LETTERS:
                some = yield from call(self._asking.dead(partition, start))
                if not some:
                    break
                start += len(some)
                for letter in some:
                    if letter.died_at:  # else it was forgotten meanwhile
                        read = yield from self._read(letter)
                        letters.append(read)
        return letters

    def _read(self, letter: Letter) -> Plan[DeadLetter]:
        config = self._asking.config
        payloads = [letter.payload]
        if letter.collect == "all":
            payloads = []
            while len(payloads) < letter.collected:
                some = yield from call(self._asking.letter_items(letter, len(payloads)))
                if not some:
                    break
                payloads += some
        try:
            values = [decode(each, config.codec, config.max_payload_bytes) for each in payloads]
            payload = values if letter.collect == "all" else values[0]
        except PayloadError:
            payload = None
        return DeadLetter(letter.window, letter.key, payload, letter.attempts, letter.error, letter.died_at)

    def replay(self, window: str | None) -> Plan[int]:
        """Have one dead letter run again, or all; how many."""
        if window is not None and not isinstance(window, str):
            raise ValueError(f"window must be the id of a dead letter, or None for all, not {window!r}")
        replayed = 0
        for partition in range(self._asking.layout.partitions):
            windows = [window]
            if window is None:
                windows = []
                while len(windows) < MAX_LETTERS:
                    some = yield from call(self._asking.dead(partition, len(windows)))
                    if not some:
                        break
                    windows += [letter.window for letter in some]
            for each in windows:
                if each is not None:
                    replayed += (yield from call(self._asking.replay(partition, each))) == 1
        return replayed
