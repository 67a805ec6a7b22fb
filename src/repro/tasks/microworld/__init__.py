"""A small written world: text to pre-train on, and labelled tasks of each family in the papers. No torch.

Everything follows from a seed and `VERSION`: the same two give the same bytes on every machine. People, places, firms
and things are pairs of words; which pairs may stand in running text and which only in tasks is fixed by a hash
(`world.held_out`), so that a task's entities were never read while pre-training, though each of their words was.
"""

VERSION = 1
"""Raised whenever any text changes: weights and data sets of two versions do not belong together."""
