"""Three ways to an int8 model, for `bench/coverage.py`.

When an architecture counts as taken, each in the form in which its models are run:

- Octet: `octet.export` writes it, the float model that is read back gives the source's outputs to 1e-4, and both the
  static and the dynamic int8 model script, save, load with torch alone and run at two batch sizes;
- FX graph mode on the source code: prepare_fx, calibration and convert_fx work, and the static int8 model scripts and
  runs at two batch sizes;
- torchao's PT2E with its x86 quantizer: torch.export, prepare_pt2e, calibration and convert_pt2e work, and what comes
  out runs at two batch sizes, in float: int8 kernels come with a compiler.

One batch size is enough where a model's code fixes it.
"""

TOOLKITS = {"octet": "toolkits.octet_reader", "fx": "toolkits.fx_graph_mode", "pt2e": "toolkits.pt2e"}
"""The module of each; its `take(architecture, say)` is what runs."""
