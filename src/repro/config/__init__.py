"""The config of a trial: schema, composition, rules, and the run key. No torch."""
