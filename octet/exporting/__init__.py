"""Makes a `.pt2` of a model in the user's own code: `torch.export` with the batch left open."""

from octet.exporting.capture import export

__all__ = ["export"]
