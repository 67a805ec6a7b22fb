"""One thread: the matrices are tiny."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def in_one_thread(one_thread: None) -> None:
    """For every test here."""
