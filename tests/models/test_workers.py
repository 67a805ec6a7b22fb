"""Passes side by side: results in order, state of each worker's own, errors and thread counts as they were."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from repro.models.threads import Own, side_by_side, worker

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items_from_two_threads() -> None:
    barrier, seen = threading.Barrier(2, timeout=20), set()

    def work(item: int) -> int:
        if item < 2:
            barrier.wait()  # passes only if the first two run at the same time
        time.sleep(0.02 if item % 2 == 0 else 0.0)
        seen.add(worker())
        assert torch.get_num_threads() == 1 and not torch.is_grad_enabled()
        return item * item

    with torch.no_grad():
        assert list(side_by_side(work, range(7), CPU)) == [item * item for item in range(7)]
    assert len(seen) == 2 and 0 not in seen and worker() == 0
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("count", [1, 5])
def test_one_thread_works_in_the_callers(count: int) -> None:
    torch.set_num_threads(1 if count > 1 else 2)
    assert list(side_by_side(lambda item: worker(), range(count), CPU)) == [0] * count


def test_a_state_is_each_workers_own_and_this_threads_is_another() -> None:
    own: Own[list[int]] = Own(list)
    own.here.append(-1)

    def work(item: int) -> list[int]:
        own.here.append(item)
        time.sleep(0.005)
        return own.here

    found = list(side_by_side(work, range(8), CPU))
    lists = {id(one): one for one in found}
    assert len(lists) == 2 and sorted(item for one in lists.values() for item in one) == list(range(8))
    assert own.here == [-1]


def test_an_error_ends_it_after_what_has_begun_and_the_next_call_works() -> None:
    ended = []

    def work(item: int) -> int:
        if item == 1:
            raise torch.OutOfMemoryError("no room")
        time.sleep(0.05)
        ended.append(item)
        return item

    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        list(side_by_side(work, range(40), CPU))
    before = len(ended)
    time.sleep(0.2)
    assert len(ended) == before < 10, "nothing goes on behind the caller's back"
    assert torch.get_num_threads() == 2
    assert list(side_by_side(lambda item: item, range(3), CPU)) == [0, 1, 2]
