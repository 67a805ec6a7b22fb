"""Offline before anything imports transformers, and the marker of tests that read installed checkpoints."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_configure(config):
    config.addinivalue_line("markers", "real: reads a checkpoint from an installed Python package")
