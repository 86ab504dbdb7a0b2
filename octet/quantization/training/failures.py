"""How a training can fail."""

from __future__ import annotations


class UntrainableError(Exception):
    """No gradient reaches a weight: there is nothing to learn, or no way to. The text says why, without a full stop."""


class DivergedError(Exception):
    """A number that training depends on is no number any more. The text says which, and what it became."""
