"""Loads a saved artifact as its user will: with torch alone, in a process that has not seen the model before.

Run by path, it prints the largest absolute difference between the outputs in sample.safetensors and those of the model
as loaded.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file


def largest_difference(folder: Path, engine: str, threads: int) -> float:
    """Between the sample's outputs and those of the model in `folder`; infinite where they cannot be compared."""
    torch.backends.quantized.engine = engine
    torch.set_num_threads(threads)
    sample = load_file(folder / "sample.safetensors")
    wanted = [sample[f"output_{position}"] for position in range(sum(name.startswith("output_") for name in sample))]
    inputs = [sample[f"input_{position}"] for position in range(len(sample) - len(wanted))]
    model = torch.jit.load(str(folder / "model.pt"))  # type: ignore[no-untyped-call]  # torch does not annotate it
    with torch.no_grad():
        outputs = model(*inputs)
    got = outputs if isinstance(outputs, tuple) else (outputs,)
    return max(_difference(*pair) for pair in zip(wanted, got, strict=True))


def _difference(wanted: torch.Tensor, got: torch.Tensor) -> float:
    """The largest difference; infinite where the shapes differ or only one of the two is not a number."""
    if wanted.shape != got.shape or not torch.equal(wanted.isnan(), got.isnan()):
        return float("inf")
    return (wanted.double() - got.double()).nan_to_num().abs().max().item() if wanted.numel() else 0.0


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # TorchScript's notice of deprecation
    difference = largest_difference(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print(json.dumps({"max_abs_difference": difference}))  # noqa: T201 -- the answer
