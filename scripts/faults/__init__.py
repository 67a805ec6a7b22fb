"""Faults on purpose: what is killed, filled up, damaged and cut off here must end as if nothing had been.

    python -m scripts.faults --out results/faults.json     (make faults)

Each module injects faults of one kind into real processes on tiny models and made-up data, lets the same command run
again, and compares the result with that of an undisturbed run.
"""
