"""One module per model family: what is particular to its architecture."""
