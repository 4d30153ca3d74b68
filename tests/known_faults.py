"""Tests that do not hold yet, each with its reason: expected to fail, and shown as such at the end of every run.

A fault that is mended leaves this list. Some entries are faults understood, others failures not yet diagnosed; each says which.
"""

from __future__ import annotations

_LOOPS = "connections of an event loop that is over cannot be closed in order; they are closed when collected, with a warning"
_UNKNOWN = (
    "a sync client whose connections we cannot make ourselves is bounded by its own timeouts, not by command_timeout"
)
_LOADED = (
    "failed in some runs beside other work on two cores; whether the load or a fault is the cause is not known yet"
)

_REFUSED = "a refusal is not remembered: a second copy that arrives later is decided anew, and may charge"
_LINE = "callers who wait when the clock jumps ahead keep their places, and newcomers are served beside them"
_SLOW = "each command on connecting (AUTH, SELECT) is bounded by itself"

KNOWN_FAULTS = {
    "test_an_async_throttler_can_be_used_in_one_loop_after_another": _LOOPS,
    "test_to_close_leaves_no_connection_open": _LOOPS,
    "test_a_server_that_stands_still_costs_a_call_its_command_timeout[valkey-9.1-sync-unknown]": _UNKNOWN,
    "test_a_server_that_stands_still_costs_a_call_its_command_timeout[redis-6.2-sync-unknown]": _UNKNOWN,
    "test_a_node_that_stands_still_costs_a_call_its_command_timeout[sync]": _UNKNOWN,
    "test_a_slow_server_costs_a_call_its_command_timeout_however_many_replies_it_owes[valkey-9.1-sync]": _SLOW,
    "test_a_slow_server_costs_a_call_its_command_timeout_however_many_replies_it_owes[redis-6.2-sync]": _SLOW,
    "test_a_copy_that_comes_after_its_call_was_refused_is_not_charged": _REFUSED,
    "test_a_clock_that_is_set_a_minute_off_costs_one_window_at_most[valkey-9.1-waiting-60]": _LINE,
    "test_a_clock_that_is_set_a_minute_off_costs_one_window_at_most[redis-6.2-waiting-60]": _LINE,
    "test_hungry_callers_use_all_that_the_limit_allows": _LOADED,
    "test_of_a_hundred_callers_at_once_exactly_the_limit_passes": _LOADED,
    "test_the_scripts_do_what_the_model_does": (
        "disagrees on undo after another config registered: the script gives back since then, the model has yet to follow; "
        "whether that explains every disagreement is not known"
    ),
}
