"""How fast training is, against peft with a plain loop and with transformers' Trainer: `benchmarks/run_bench.py`."""
