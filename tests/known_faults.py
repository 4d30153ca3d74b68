"""Tests that do not hold yet, each with its reason: expected to fail, and shown as such at the end of every run.

A fault that is mended leaves this list. Some entries are faults understood, others failures not yet diagnosed; each says which.
"""

from __future__ import annotations

KNOWN_FAULTS = {
    "test_the_scripts_do_what_the_model_does": (
        "disagrees on undo after another config registered: the script gives back since then, the model has yet to follow; "
        "whether that explains every disagreement is not known"
    ),
}
