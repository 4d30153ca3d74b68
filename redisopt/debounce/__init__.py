"""Debouncing: many calls in a short time become one run, for a fleet of processes.

Read in this order: `config` says what can be set, `asking` which script decides what, `replies` what they say, `agreeing`,
`submitting`, `executing`, `closures` and `controlling` are the plans, `outcome` and `ticket` what they give, `debouncer` and
`async_debouncer` the two faces.
"""
