"""Trials as jobs of a Slurm cluster: what is submitted, what runs there, and how each trial is doing.

Results do not pass through here: a job runs trials as `repro run` does, and its results are the records in the store.
All files are JSON and shell; nothing is pickled.
"""
