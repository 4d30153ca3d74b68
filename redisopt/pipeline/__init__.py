"""Policies around a call, in an order that its user chooses."""
