"""The mini models' weights: a folder a model of conf/model, found by `source: package` (docs/mini-models.md)."""
