"""Throttling: limits on what a fleet of processes does in a time.

Read in this order: `rate` and `config` say what can be limited, `plans` decides, `throttler` and `async_throttler` are
the two faces, `decision` and `permit` what they give. `headers` reads what the far side says of its own limits.
"""
