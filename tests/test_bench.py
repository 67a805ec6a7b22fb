"""The bench measures what it says: one work in every variant, FLOPs as counted, a page as the results have it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from repro.bench import flops
from repro.bench.measure import VARIANTS, made
from repro.bench.ours import Ours
from repro.bench.page import page
from repro.bench.timing import interleaved, saved_bytes, summary
from repro.bench.workloads import CPU, SUITES, TINY, Lengths

ROOT = Path(__file__).parents[1]
DEVICE = torch.device("cpu")
pytest.importorskip("peft")


@pytest.mark.parametrize("workload", TINY, ids=lambda one: one.name)
def test_every_variant_does_the_same_work(workload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = Ours(workload, "float32", True, DEVICE)
    wanted = ours.losses()
    assert len(set(wanted)) == workload.batches
    for variant in VARIANTS:
        run = made(workload, variant, DEVICE, ours)
        tolerance = 2e-2 if "bfloat16" in variant else 1e-5
        assert run.losses() == pytest.approx(wanted, rel=tolerance), variant
        run.one_pass()
        after = run.losses()  # a step was made, on all of them
        assert all(abs(new - old) > 1e-7 for new, old in zip(after, wanted, strict=True)), variant


@pytest.mark.parametrize("workload", TINY, ids=lambda one: one.name)
def test_useful_flops_are_nearly_what_the_packed_step_computes(workload, monkeypatch):
    """torch's counter sees the matrix products, and not the fused attention of a CPU, which is left out on both sides.

    A step computes a little more than it must: all queries of GPT-2's last layer, T5's attention without keys.
    """
    monkeypatch.setattr(flops, "ATTENTION", 0.0)
    ours = Ours(workload, "float32", True, DEVICE)
    with FlopCounterMode(display=False) as counter:
        for index in range(workload.batches):
            ours.forward_backward(index)
    share = flops.useful(workload) / counter.get_total_flops()
    assert 0.8 < share <= 1.0


def test_useful_flops_of_a_layer_by_hand():
    """One encoder of two layers: 2 a weight forward, 2 back where something below is trained, [CLS] at the end."""
    workload = next(one for one in TINY if one.name == "bert")
    example = workload.examples()[0]
    t, p, d, f = len(example.ids), workload.prompt, 32, 64
    first = 2 * t * 3 * d * d + 4 * t * (d * d + 2 * d * f)
    last = 4 * t * 2 * d * d + 4 * (d * d + d * d + 2 * d * f)
    attention = 3.5 * 4 * d * (t * (t + p) + (t + p))
    assert flops._encoder(workload.model, p, example) == pytest.approx(first + last + attention + 4 * d * d)


def test_lengths_are_those_of_the_papers_tasks():
    drawn = Lengths(60, 0.55, 12, 256).draw(4000, torch.Generator().manual_seed(0))
    assert min(drawn) >= 12
    assert max(drawn) <= 256
    assert sorted(drawn)[2000] == pytest.approx(60, rel=0.05)
    for workload in CPU:
        assert 0.4 < flops.padded_share(workload) < 0.85
        assert workload.examples() == workload.examples()


def test_interleaving_begins_each_round_with_another():
    calls: list[str] = []
    work = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    times = interleaved(work, 3, DEVICE)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert {len(seconds) for seconds in times.values()} == {3}
    assert summary([3.0, 1.0, 2.0, 5.0]) == {"median": 2.5, "low": 2.0, "high": 5.0}
    assert interleaved({"own": lambda: 7.0}, 1, DEVICE) == {"own": [7.0]}


def test_saved_bytes_are_those_of_the_graph():
    weight = torch.ones(4, 4, requires_grad=True)
    states = torch.randn(8, 4)
    assert saved_bytes(lambda: (states @ weight).exp().sum(), [weight]) == 2 * 8 * 4 * 4  # its input, and exp's result
    assert saved_bytes(lambda: states.exp(), [weight]) == 0


def test_the_page_is_that_of_the_results():
    assert (ROOT / "docs" / "performance.md").read_text() == page(ROOT / "results" / "bench"), (
        "run: python scripts/bench.py --page"
    )


def test_results_name_no_machine():
    for path in (ROOT / "results" / "bench").glob("*.json"):
        found = json.loads(path.read_text())
        assert set(found["machine"]) <= {"cpu", "cores", "threads", "torch", "transformers", "load", "gpu"}


def test_every_suite_has_the_three_shapes():
    for workloads in SUITES.values():
        assert {"t5", "gpt2", "bert"} <= {one.name for one in workloads}
