"""What a `.pt2` is made of, byte by byte: the zip archive, what else a file may be, and the JSON of the model."""
