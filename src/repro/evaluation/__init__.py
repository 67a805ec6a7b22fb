"""Decode a split, score it, and add values that a record lacks."""
