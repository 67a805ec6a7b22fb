"""Threads that make passes over one frozen model at the same time, and state of a pass that each has for itself.

On a CPU an operation on the few hundred rows of a small batch is too short to be divided: two threads that share each
operation wait for each other, two that work on a pass each do not. A pass runs on its worker as it would run alone.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Generic, TypeVar

import torch
from torch import distributed

T = TypeVar("T")
R = TypeVar("R")

_this = threading.local()


def worker() -> int:
    """Number of the worker that this thread is, from 1; 0 of every other thread: on a GPU the backward pass has threads
    of autograd's own, which must find what the forward pass set."""
    return getattr(_this, "number", 0)


class Own(Generic[T]):
    """A value of each worker, made when it is first asked for."""

    __slots__ = ("_make", "_values")

    def __init__(self, make: Callable[[], T]):
        self._make, self._values = make, dict[int, T]()

    @property
    def here(self) -> T:
        """This worker's."""
        number = worker()
        if number not in self._values:
            self._values[number] = self._make()
        return self._values[number]


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    numbers = itertools.count(1)

    def begin() -> None:
        _this.number = next(numbers)

    return ThreadPoolExecutor(count, "repro-pass", begin)


def side_by_side(function: Callable[[T], R], items: Sequence[T], device: torch.device) -> Iterator[R]:
    """`function` of every item, in their order, on as many workers as the CPU's threads allow; one after another in
    this thread on a GPU, where there is one thread or one item, and where processes share a model (their collective
    operations must come in one order).

    A result is given as soon as it and all before it are there; at most two results a worker are waiting to be taken.
    The first error in the order of the items ends it, once the items that have begun have ended.
    """
    threads = torch.get_num_threads()
    count = min(threads, len(items))
    if device.type != "cpu" or count < 2 or worker() or (distributed.is_available() and distributed.is_initialized()):
        yield from map(function, items)
        return
    grad = torch.is_grad_enabled()

    def run(item: T) -> R:
        torch.set_num_threads(threads // count)
        with torch.set_grad_enabled(grad):
            return function(item)

    waiting = iter(items)
    begun = [_pool(count).submit(run, item) for item in itertools.islice(waiting, 2 * count)]
    try:
        while begun:
            yield begun.pop(0).result()
            begun += [_pool(count).submit(run, item) for item in itertools.islice(waiting, 1)]
    finally:
        for one in begun:
            one.cancel()
        for one in begun:
            if not one.cancelled():
                one.exception()
        torch.set_num_threads(threads)  # the workers' number is also that of libraries that keep one for all threads
