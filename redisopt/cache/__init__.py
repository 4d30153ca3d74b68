"""Caching: one process of a fleet computes a value, all use it.

Read in this order: `config` says what can be set, `layout` where things stand, `asking` which script decides what, `replies` what they
say. Of the plans, `question` asks, `getting` decides what a caller gets, `computing` computes and keeps a value under a `key_lease`,
`refreshing` has it done in the background, `checking` says whether a value may be served, `flights` lets the
callers of one process share what one of them does, `copies` keeps values in this process, `counting` counts, `controlling` is
the rest. `terms` finds the key of a function's call, `outcome` is what users are shown, `cache` and `async_cache` are the two faces.
"""
