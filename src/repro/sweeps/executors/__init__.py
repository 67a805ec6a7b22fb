"""How many trials are run: jointly, in worker processes, on a Slurm cluster."""
