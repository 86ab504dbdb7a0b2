"""A whole job as one function: a program and a recipe in, an int8 model and its report out."""

from octet.pipeline.result import Result
from octet.pipeline.run import quantize

__all__ = ["Result", "quantize"]
