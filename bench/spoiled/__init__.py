"""Uploads that are none: bodies that are no file, and requests that break off or lie about them."""

from spoiled.bodies import BODIES, Kind, Sample
from spoiled.requests import WAYS, Outcome, Service

__all__ = ["BODIES", "WAYS", "Kind", "Outcome", "Sample", "Service"]
