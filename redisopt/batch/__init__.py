"""Batching: items that many processes add are handed out together, and each adder gets its own result.

Whoever reads this first: `plans` puts together what the two faces, `batcher` and `async_batcher`, can do.
"""
