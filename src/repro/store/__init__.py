"""The result store: one directory a run key, atomic writes, no torch."""
