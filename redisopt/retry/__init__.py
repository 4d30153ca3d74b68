"""Retries: try again what failed, as long as the whole fleet does not do so too much."""
