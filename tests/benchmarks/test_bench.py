"""The bench measures what it says: one work in every variant, FLOPs as counted, a page as the results have it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import flops, gangs, largest, profiling
from benchmarks.measure import VARIANTS, made, own_peak
from benchmarks.ours import Ours
from benchmarks.padding import SETTINGS, shares
from benchmarks.page import page
from benchmarks.timing import SHAPES, interleaved, product, product_flops, saved_bytes, summary
from benchmarks.workloads import CPU, GPU, LARGEST, SUITES, TINY, Lengths

ROOT = Path(__file__).parents[2]
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


def test_padding_that_cannot_be_measured_is_said(tmp_path):
    shutil.copytree(ROOT / "results" / "bench", tmp_path / "bench")
    file = tmp_path / "bench" / "cpu.json"
    found = json.loads(file.read_text()) | {"padding": shares(tmp_path)}
    assert found["padding"].keys() == SETTINGS.keys() and all(row["missing"] for row in found["padding"].values())
    file.write_text(json.dumps(found))
    shown = page(tmp_path / "bench")
    assert all(f"| {name} | not here |" in shown for name in SETTINGS)


def test_the_page_is_that_of_the_results():
    assert (ROOT / "docs" / "performance.md").read_text() == page(ROOT / "results" / "bench"), (
        "run: python -m benchmarks.run_bench --page"
    )


def test_results_name_no_machine():
    for path in (ROOT / "results" / "bench").glob("*.json"):
        found = json.loads(path.read_text())
        assert set(found["machine"]) <= {"cpu", "cores", "threads", "torch", "transformers", "load", "gpu"}


def test_every_suite_has_the_three_shapes():
    for workloads in SUITES.values():
        assert {"t5", "gpt2", "bert"} <= {one.name for one in workloads}


FACTS = {
    "t5-base": "t5-base-lm-adapt",
    "t5-large": "t5-large-lm-adapt",
    "t5-xxl": "t5-xxl-lm-adapt",
    "bert-8": "bert-large-uncased",
    "gpt2": "gpt2-medium",
}


@pytest.mark.parametrize("name", FACTS)
def test_shapes_of_the_papers_are_those_of_conf(name):
    [workload] = [one for one in (*GPU, LARGEST["cuda"]) if one.name == name]
    facts = yaml.safe_load((ROOT / "conf" / "model" / f"{FACTS[name]}.yaml").read_text())
    for fact in ("family", "kind", "layers", "width", "heads", "head_dim", "feed_forward", "vocabulary", "tied_head"):
        assert workload.model[fact] == facts[fact], fact


def test_the_largest_passes_have_512_places():
    workload = LARGEST["cuda"]
    assert {len(one.ids) + workload.prompt for one in workload.examples()} == {512}
    assert len(workload.examples()) == 32


def test_passes_go_on_over_the_same_batches_in_one_company():
    """Steps are made ready ahead and recordings are kept only if every pass is the same company's."""
    ours = Ours(TINY[0], "float32", True, DEVICE)
    seen = []
    share = ours.run.share
    ours.run.share = lambda step: seen.append(step) or share(step)
    ours.trial_batch._looks_ahead = True
    ours.one_pass()
    company, ahead = ours.trial_batch, ours.trial_batch.ahead
    assert ahead is not None and ahead.steps == [TINY[0].batches]
    ours.one_pass()
    assert ours.trial_batch is company
    assert seen == list(range(2 * TINY[0].batches + 1)), "every step was made once: the ones ahead were used"
    first = [[one.ids for [one] in share(step).examples] for step in range(2 * TINY[0].batches)]
    assert first[: TINY[0].batches] == first[TINY[0].batches :]


@pytest.mark.parametrize("workload", TINY, ids=lambda one: one.name)
def test_sets_of_trials_do_not_touch_each_other(workload):
    """Timed in turn, a gang and trials alone each go on as if the others were not there."""
    adapter = gangs.loaded(workload, "float32", True, DEVICE)
    alone = [gangs.Trials(workload, [seed], adapter) for seed in range(3)]
    gang, other = gangs.Trials(workload, range(3), adapter), gangs.Trials(workload, range(2), adapter)
    for _ in range(2):
        gangs.in_turn(alone)
        gang.one_pass()
        other.one_pass()
    assert [one.step for one in gang.progresses] == [2 * workload.batches] * 3
    for seed, one in enumerate(alone):
        assert gang.progresses[seed].losses == pytest.approx(one.progresses[0].losses, rel=1e-5)
    assert len({one.losses[0] for one in gang.progresses}) == 3
    assert other.progresses[1].losses == pytest.approx(alone[1].progresses[0].losses, rel=1e-5)


def test_rates_of_gangs_and_peft_in_one_run():
    row = gangs.rates(TINY[0], "bfloat16", True, DEVICE, rounds=2, sizes=(2, 8), peft=True)
    speed = {name: one["median"] for name, one in row["tokens_per_second"].items()}
    assert list(speed) == ["alone", "gang of 2", "gang of 8", "peft"]
    assert row["over_peft"]["gang of 8"] == pytest.approx(speed["gang of 8"] / speed["peft"])
    assert list(row["ratio"]) == ["alone", "gang of 2", "gang of 8"]
    assert "memory" not in row, "on a CPU it is measured in processes"
    for name, utilisation in row["utilisation"].items():
        count = {"alone": 4, "gang of 2": 2, "gang of 8": 8, "peft": 4}[name]
        trials = [replace(TINY[0], batches=1, seed=seed) for seed in range(count)]
        needed, real = (sum(map(of, trials)) for of in (flops.useful, flops.tokens))
        assert utilisation == pytest.approx(needed / real * speed[name] / (row["matmul_gflops"] * 1e9))


def test_peft_runs_the_batches_of_the_trials_alone():
    sides = gangs.Sides(TINY[0], "float32", True, DEVICE, (2,), True)
    theirs = sides.work["peft"].__self__
    wanted = [one.ids for seed in range(gangs.ALONE) for one in replace(TINY[0], seed=seed).examples()]
    assert [one.ids for batch in theirs.examples for one in batch] == wanted


def test_the_bare_product_is_as_large_as_it_says():
    for kind in ("cpu", "cuda"):
        assert 2 * SHAPES[kind][0] * SHAPES[kind][1] * SHAPES[kind][2] <= product_flops(torch.device(kind))
    with FlopCounterMode(display=False) as counter:
        product(torch.float32, DEVICE)()
    assert counter.get_total_flops() == product_flops(DEVICE)


def bench(*words):
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_largest_shape_on_a_tiny_model(tmp_path):
    done = bench("--largest", "--suite", "tiny", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "largest-cpu.json").read_text())
    assert len(found["seconds"]) == len(found["losses"]) == largest.STEPS
    assert found["weights_bytes"] == 2 * found["parameters"], "every weight is bfloat16"
    assert found["peak_bytes"] > found["weights_bytes"]
    assert (found["times_as_many_passes"], found["activations_computed_twice"]) == (1, False)
    assert found["losses"][0] != found["losses"][-1]
    assert "fitted as it is" in done.stdout


def test_memory_that_does_not_suffice_is_told_of_the_largest(monkeypatch):
    from repro.training import step

    original, calls = step.backward, []

    def short(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("none left")
        return original(*args, **kwargs)

    monkeypatch.setattr(step, "backward", short)
    found = largest.measured(LARGEST["tiny"], DEVICE, steps=2)
    assert found["times_as_many_passes"] == 2
    found |= {"parameters": 11e9, "weights_bytes": 22e9}
    assert "cut into 2 times as many passes" in largest.line(found)


def test_the_largest_shape_needs_a_gpu():
    done = bench("--largest")
    assert done.returncode == 2 and "--suite tiny" in done.stdout


def test_random_weights_are_drawn_on_the_device_itself():
    """No weight is on the host first: on torch's `meta` device all of them are there from the start."""
    from repro.models.families.family import family
    from repro.models.untrained.random_model import random_model

    meta = torch.device("meta")
    made, _ = random_model(LARGEST["cuda"].model, family("t5"), torch.bfloat16, {}, device=meta)
    counted = {name: one.numel() for name, one in made.named_parameters()}
    assert {(one.device.type, one.dtype) for one in made.parameters()} == {("meta", torch.bfloat16)}
    facts = yaml.safe_load((ROOT / "conf" / "model" / "t5-xxl-lm-adapt.yaml").read_text())
    assert sum(counted.values()) == facts["parameters"]


def test_where_the_time_goes(tmp_path):
    found = profiling.run("tiny", "t5", tmp_path)
    assert json.loads((tmp_path / "profile-tiny.json").read_text())["rows"] == found["rows"]
    assert [row["dtype"] for row in found["rows"]] == list(profiling.DTYPES)
    for row in found["rows"]:
        assert sum(row["share"].values()) == pytest.approx(1.0)
        assert all(row["share"][kind] > 0 for kind in ("matrix products", "attention", "copies and casts", "other"))
    kinds = {name: profiling.kind_of(f"aten::{name}") for name in ("mm", "bmm", "copy_", "gelu")}
    assert kinds == {"mm": "matrix products", "bmm": "batched products", "copy_": "copies and casts", "gelu": "other"}


def test_the_page_shows_a_gpu_and_a_profile_where_they_were_measured(tmp_path):
    """The files of a CPU stand for those of a GPU: what is shown is theirs, under a heading that names the device."""
    shutil.copytree(ROOT / "results" / "bench", tmp_path / "bench")
    folder = tmp_path / "bench"
    plain = page(folder)
    assert "nothing here is a claim about GPUs" in plain and "On a GPU:" not in plain
    for name in ("cpu", "gangs-cpu"):
        found = json.loads((folder / f"{name}.json").read_text())
        found["machine"]["gpu"] = "Made-up 100"
        (folder / f"{name.replace('cpu', 'cuda')}.json").write_text(json.dumps(found))
    gangs_file = json.loads((folder / "gangs-cuda.json").read_text())
    for row in gangs_file["rows"]:
        row["tokens_per_second"]["peft"] = {"median": 321.0}
        row["over_peft"] = {name: 2.0 * ratio for name, ratio in row["ratio"].items()}
        row["utilisation"] = dict.fromkeys((*row["ratio"], "peft"), 0.37)
    (folder / "gangs-cuda.json").write_text(json.dumps(gangs_file))
    measured = largest.measured(LARGEST["tiny"], DEVICE, steps=2)
    machine = gangs_file["machine"]
    (folder / "largest-cuda.json").write_text(json.dumps({"machine": machine, "load_after": [0], **measured}))
    profiling.run("tiny", "bert", tmp_path)
    shutil.move(tmp_path / "profile-tiny.json", folder / "profile-cpu.json")
    shown = page(folder)
    assert "## On a GPU: Made-up 100\n" in shown and "nothing here is a claim about GPUs" not in shown
    assert "## Where the time goes\n" in shown and "| tiny bert, for tests, bfloat16 |" in shown
    of_gpu = shown.partition("## On a GPU")[2]
    assert "### The largest model\n" in of_gpu and largest.line(measured) in of_gpu
    assert "8192 x 4096 x 4096" in of_gpu and "2048 x 1024 x 4096" not in of_gpu
    assert "| 321, 37% | 2.00, 37% |" in of_gpu and "bench_gang.py --suite cuda" in of_gpu
    assert plain.count("\n| packed |") == of_gpu.count("\n| packed |") == 3


def test_peaks_are_of_one_model(monkeypatch):
    """What peft needs is measured without a model of ours beside it."""
    made_of_ours = []
    monkeypatch.setattr("benchmarks.measure.Ours", lambda *args: made_of_ours.append(args))
    assert own_peak("tiny", "bert", "peft") >= 0
    assert not made_of_ours
