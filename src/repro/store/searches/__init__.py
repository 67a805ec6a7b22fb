"""A hyperparameter search as a file beside the records: its space, proposals and outcomes."""
