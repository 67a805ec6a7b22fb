"""Trials as jobs of a Slurm cluster: what is submitted, what runs there, and how each trial is doing.

No result passes through here: a job runs trials as `repro run` would, and what counts is the record in the store. All
that lies on disk is JSON and shell: nothing is pickled, so nothing that a job left can run code here.
"""
