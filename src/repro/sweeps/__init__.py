"""Exhibits as grids of trials: what a file of `conf/experiment` asks for, what the store has, what is still to run."""
