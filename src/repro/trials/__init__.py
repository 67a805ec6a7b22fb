"""One trial: from a config to a record."""
