"""The circuit breaker: a fleet stops calling what fails, and tries it again with a few calls.

Read in this order: `config` says what can be set, `judging` which calls count as failures, `asking` which script decides what,
`state` what they say, `watching` who is told of it, `local_circuit` and `outage` what is done without Redis, `ticket` and `plans` how a
call is let through and recorded, `passage` what callers hold, `circuit_breaker` and `async_circuit_breaker` the two faces.
"""
