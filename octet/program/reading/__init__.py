"""From the file's document to a `Graph`: what its inputs, calls and weights are, each checked. Needs no torch."""
