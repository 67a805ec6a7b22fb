"""Searches of hyperparameters: what is tried, by whose proposal, and what it came to on the validation split."""
