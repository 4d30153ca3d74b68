"""Names that are too many: what is forgotten makes room, and what the fleet refuses is counted once."""

from __future__ import annotations

import pytest

from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.slots import MINUTE
from redisopt.monitor.tracking import FORGOTTEN, Tracking


def flush(tracking: Tracking, minute: int, refused: tuple[int, ...] = ()) -> None:
    """Have Redis take all but these of each part."""
    tracking.hand_out(minute)
    while (part := tracking.part()) is not None:
        tracking.done(part, refused)


def test_labelled_names_that_are_forgotten_make_room_for_no_more_than_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each name with label sets may have one more, its "other": those of long ago do not raise the bound for good."""
    minute = [1_000_000]
    monkeypatch.setattr("redisopt.monitor.tracking.now", lambda: float(minute[0] * MINUTE))
    tracking = Tracking(MonitorConfig(max_names=20, max_label_sets=2), lambda: True)
    for day in range(10):
        for job in range(8):
            for region in ("eu", "us"):
                tracking.track(f"job {day} {job}", 0.1, labels={"region": region})
        flush(tracking, minute[0])
        minute[0] += FORGOTTEN + 1
        flush(tracking, minute[0])
    assert not tracking._members
    assert not tracking._sets
    for number in range(100):
        tracking.track(f"op {number}", 0.1)
    assert len(tracking._members) == 20
    assert tracking.dropped == 80
