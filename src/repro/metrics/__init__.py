"""Metrics: numpy only; each file names the reference scorer, version and mode that it equals."""
