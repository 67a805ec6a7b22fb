"""Offline before anything imports transformers."""

import os
from collections.abc import Iterator

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices of 32 columns gain nothing from threads, and on a busy machine threads that wait for each other lose."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_warn_always(True)  # else a warning that torch gives once a process fails only the test that comes first
    yield
    torch.set_warn_always(False)
    torch.set_num_threads(before)


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Passes run side by side, however short they are."""
    import torch

    from repro.training import passes

    monkeypatch.setattr(passes, "TOKENS_A_WORKER", 1)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
