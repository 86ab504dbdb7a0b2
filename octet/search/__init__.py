"""The strategy of `method: auto`: which models to try, in which order, and which to keep. Free of torch."""

from octet.search.candidates import Candidate
from octet.search.choice import Measured, better, on_pareto_front
from octet.search.strategy import SPENT, Explore, explore

__all__ = ["SPENT", "Candidate", "Explore", "Measured", "better", "explore", "on_pareto_front"]
