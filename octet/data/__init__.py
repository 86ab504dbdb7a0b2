"""Data: files of arrays, whether they fit a model, and the batches that are made of them."""
