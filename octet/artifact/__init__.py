"""The saved artifact: what is written, and the check that it can be used.

| file | holds |
|---|---|
| `model.pt` | the int8 model as TorchScript; torch alone loads it |
| `report.json` | what was done, and what it did |
| `manifest.json` | what the artifact holds and needs: hashes, versions, engine, CPU features, shapes, recipe |
| `sample.safetensors` | `input_0`, …, and the int8 model's `output_0`, … for them |
| `load.py` | how to use it |
"""

from octet.artifact.check import Check, Reload, in_new_process, verify
from octet.artifact.files import (
    Sample,
    check_destination,
    run_sample,
    save_sample,
    write_manifest,
    write_model,
    write_report,
    written_whole,
)
from octet.manifest import FileFacts, Manifest

__all__ = [
    "Check",
    "FileFacts",
    "Manifest",
    "Reload",
    "Sample",
    "check_destination",
    "in_new_process",
    "run_sample",
    "save_sample",
    "verify",
    "write_manifest",
    "write_model",
    "write_report",
    "written_whole",
]
