"""Monitoring: how long operations take, measured in each process and merged in Redis, for a fleet of processes.

Read in this order: `config` says what can be set, `sketch` is what is known of many durations and `packing` how little room it takes;
`names`, `slots` and `history` say of what and of when, `series` and `tracking` count in this process, `asking` is which script is asked
for what, `thresholds` and `plans` decide, `report` is what comes out, `measuring` measures, `monitor` and `async_monitor` are
the two faces. `watching` is for the other primitives, which have their work measured.
"""
