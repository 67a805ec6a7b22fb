"""The bench measures what it says: one work in every variant, FLOPs as counted, a page as the results have it."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import flops, joint, largest, measure, profiling
from benchmarks.ours import Ours
from benchmarks.padding import SETTINGS, shares
from benchmarks.page import page
from benchmarks.timing import SHAPES, interleaved, product, product_flops, saved_bytes, summary
from benchmarks.workloads import CPU, GPU, LARGEST, SUITES, TINY, Lengths

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "bench"
DEVICE = torch.device("cpu")
pytest.importorskip("peft")
each = pytest.mark.parametrize("workload", TINY, ids=lambda workload: workload.name)


@each
def test_every_variant_does_the_same_work(workload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = Ours(workload, "float32", True, DEVICE)
    before = ours.losses()
    assert len(set(before)) == workload.batches
    for variant in measure.VARIANTS:
        way = measure.made(workload, variant, DEVICE, ours)
        assert way.losses() == pytest.approx(before, rel=2e-2 if "bfloat16" in variant else 1e-5), variant
        way.one_pass()  # a step on every batch
        assert all(abs(new - old) > 1e-7 for new, old in zip(way.losses(), before, strict=True)), variant


@each
def test_useful_flops_are_nearly_what_the_packed_step_computes(workload, monkeypatch):
    """torch's counter sees the matrix products, and not the fused attention of a CPU, which is left out on both sides.

    A step computes a little more than it must: all queries of GPT-2's last layer, T5's attention without keys.
    """
    monkeypatch.setattr(flops, "ATTENTION", 0.0)
    ours = Ours(workload, "float32", True, DEVICE)
    with FlopCounterMode(display=False) as counter:
        for index in range(workload.batches):
            ours.forward_backward(index)
    assert 0.8 < flops.useful(workload) / counter.get_total_flops() <= 1.0


def test_useful_flops_of_a_layer_by_hand():
    """One encoder of two layers: 2 a weight forward, 2 back where something below is trained, [CLS] at the end."""
    [workload] = [replace(shape, batches=1, batch_size=1) for shape in TINY if shape.name == "bert"]
    t, p, d, f = len(workload.examples()[0].ids), workload.prompt, 32, 64
    first = 2 * t * 3 * d * d + 4 * t * (d * d + 2 * d * f)
    last = 4 * t * 2 * d * d + 4 * (d * d + d * d + 2 * d * f)
    attention = 3.5 * 4 * d * (t * (t + p) + (t + p))
    assert flops.useful(workload) == pytest.approx(first + last + attention + 4 * d * d)


def test_lengths_are_those_of_the_papers_tasks():
    drawn = Lengths(60, 0.55, 12, 256).draw(4000, torch.Generator().manual_seed(0))
    assert min(drawn) >= 12 and max(drawn) <= 256
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


def test_the_bare_product_is_as_large_as_it_says():
    for kind in ("cpu", "cuda"):
        assert 2 * SHAPES[kind][0] * SHAPES[kind][1] * SHAPES[kind][2] <= product_flops(torch.device(kind))
    with FlopCounterMode(display=False) as counter:
        product(torch.float32, DEVICE)()
    assert counter.get_total_flops() == product_flops(DEVICE)


FACTS = {
    "t5-base": "t5-base-lm-adapt",
    "t5-large": "t5-large-lm-adapt",
    "t5-xxl": "t5-xxl-lm-adapt",
    "bert-8": "bert-large-uncased",
    "gpt2": "gpt2-medium",
}


@pytest.mark.parametrize("name", FACTS)
def test_shapes_of_the_papers_are_those_of_conf(name):
    [workload] = [shape for shape in (*GPU, LARGEST["cuda"]) if shape.name == name]
    facts = yaml.safe_load((ROOT / "conf" / "model" / f"{FACTS[name]}.yaml").read_text())
    for fact in ("family", "kind", "layers", "width", "heads", "head_dim", "feed_forward", "vocabulary", "tied_head"):
        assert getattr(workload.model, fact) == facts[fact], fact


def test_suites_have_the_three_shapes_and_the_largest_has_512_positions():
    assert all({"t5", "gpt2", "bert"} <= {shape.name for shape in workloads} for workloads in SUITES.values())
    examples = LARGEST["cuda"].examples()
    assert {len(example.ids) + LARGEST["cuda"].prompt for example in examples} == {512} and len(examples) == 32


def test_passes_go_on_over_the_same_batches_in_one_trial_batch():
    """The prepared step and recordings are used only if one trial batch makes all passes."""
    ours = Ours(TINY[0], "float32", True, DEVICE)
    batches, share, trial_batch = TINY[0].batches, ours.run.share, ours.trial_batch
    for _ in range(2):
        ours.one_pass()
    assert ours.trial_batch is trial_batch and ours.progress.step == 2 * batches
    ids = [[example.ids for [example] in share(step).examples] for step in range(2 * batches)]
    assert ids[:batches] == ids[batches:]


# Joint training ------------------------------------------------------------------------------------------------------


@each
def test_sets_of_trials_do_not_touch_each_other(workload):
    """Timed in turn, joint training and trials alone each go on as if the others were not there."""
    adapter = joint.loaded(workload, "float32", True, DEVICE)
    alone = [joint.Trials(workload, [seed], adapter) for seed in range(3)]
    three, two = joint.Trials(workload, range(3), adapter), joint.Trials(workload, range(2), adapter)
    for _ in range(2):
        joint.in_turn([*alone, three, two])
    assert [progress.step for progress in three.progresses] == [2 * workload.batches] * 3
    for seed, trials in enumerate(alone):
        assert three.progresses[seed].losses == pytest.approx(trials.progresses[0].losses, rel=1e-5)
    assert len({progress.losses[0] for progress in three.progresses}) == 3
    assert two.progresses[1].losses == pytest.approx(alone[1].progresses[0].losses, rel=1e-5)


def test_rates_of_joint_training_and_peft_in_one_run(small_product):
    row = joint.rates(TINY[0], "bfloat16", joint.Settings(DEVICE, rounds=2, sizes=(2, 8), peft=True))
    speed = {name: values["median"] for name, values in row["tokens_per_second"].items()}
    assert list(speed) == ["alone", "2", "8", "peft"]
    assert row["over_peft"]["8"] == pytest.approx(speed["8"] / speed["peft"])
    assert list(row["ratio"]) == ["alone", "2", "8"]
    assert "memory" not in row, "on a CPU it is measured in processes"
    for name, count in {"alone": 4, "2": 2, "8": 8, "peft": 4}.items():
        trials = [replace(TINY[0], batches=1, seed=seed) for seed in range(count)]
        needed, real = (sum(map(of, trials)) for of in (flops.useful, flops.tokens))
        assert row["utilisation"][name] == pytest.approx(needed / real * speed[name] / (row["matmul_gflops"] * 1e9))


def test_peft_runs_the_batches_of_the_trials_alone():
    sides = joint.Sides(TINY[0], "float32", joint.Settings(DEVICE, 1, sizes=(2,), peft=True))
    expected = [example.ids for seed in range(joint.ALONE) for example in replace(TINY[0], seed=seed).examples()]
    assert [example.ids for batch in sides.theirs.examples for example in batch] == expected


@pytest.fixture
def small_product(monkeypatch):
    """The bare product in a moment: in bfloat16 its rate takes a CPU seconds that these tests say nothing of."""
    monkeypatch.setitem(SHAPES, "cpu", (256, 128, 512))


# Commands ------------------------------------------------------------------------------------------------------------


def test_a_suite_writes_its_file_and_figure(tmp_path):
    measure.run("tiny", DEVICE, 1, "bert", tmp_path, peak=False)
    variants = json.loads((tmp_path / "tiny.json").read_text())["workloads"]["bert"]["variants"]
    assert variants.keys() == set(measure.VARIANTS) and (tmp_path / "tiny.svg").stat().st_size > 1000


def test_peaks_are_those_of_fresh_processes(monkeypatch):
    assert measure.peak_megabytes("tiny", "bert", "packed") > 0
    asked = []

    def fresh(command, **_):
        asked.append(command)
        return SimpleNamespace(returncode=0, stdout=f"{joint.peak(*command[3:])}\n")

    monkeypatch.setattr(joint.subprocess, "run", fresh)
    settings = joint.Settings(DEVICE, 1, sizes=(2,))
    assert joint.memory("tiny", "bert", "float32", settings)["bytes"].keys() == {"1", "2"} and len(asked) == 2


@pytest.mark.parametrize(
    ("module", "option", "fix"), [("run_bench", "--largest", "--suite tiny"), ("run_joint", "--suite=cuda", "GPU")]
)
def test_what_needs_a_gpu_says_so(module, option, fix, monkeypatch, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", [module, option])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{module}", run_name="__main__")
    assert ended.value.code == 2 and fix in capsys.readouterr().out


def test_the_largest_shape_on_a_tiny_model(tmp_path, capsys, small_product):
    largest.run("tiny", DEVICE, tmp_path)
    facts = json.loads((tmp_path / "largest-cpu.json").read_text())
    assert len(facts["seconds"]) == len(facts["losses"]) == largest.STEPS
    assert facts["weights_bytes"] == 2 * facts["parameters"], "every weight is bfloat16"
    assert facts["peak_bytes"] > facts["weights_bytes"]
    assert (facts["times_as_many_passes"], facts["activations_computed_twice"]) == (1, False)
    assert facts["losses"][0] != facts["losses"][-1]
    assert "fitted as it is" in capsys.readouterr().out


def test_memory_that_does_not_suffice_is_told_of_the_largest(monkeypatch, small_product):
    from repro.training.passes import StepWork

    original, calls = StepWork.backward, []

    def short(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("none left")
        return original(*args, **kwargs)

    monkeypatch.setattr(StepWork, "backward", short)
    facts = largest.measured(LARGEST["tiny"], DEVICE, steps=2)
    assert facts["times_as_many_passes"] == 2
    assert "cut into 2 times as many passes" in largest.line(facts | {"parameters": 11e9, "weights_bytes": 22e9})


def test_random_weights_are_drawn_on_the_device_itself():
    """No weight is on the host first: on torch's `meta` device all of them are there from the start."""
    from repro.models.families.family import family
    from repro.models.untrained.random_model import random_model

    meta = torch.device("meta")
    model, _ = random_model(LARGEST["cuda"].model, family("t5"), torch.bfloat16, {}, device=meta)
    assert {(weight.device.type, weight.dtype) for weight in model.parameters()} == {("meta", torch.bfloat16)}
    facts = yaml.safe_load((ROOT / "conf" / "model" / "t5-xxl-lm-adapt.yaml").read_text())
    assert sum(weight.numel() for weight in model.parameters()) == facts["parameters"]


def test_peaks_are_of_one_model(monkeypatch):
    """What peft needs is measured without a model of ours beside it."""
    made_of_ours = []
    monkeypatch.setattr("benchmarks.measure.Ours", lambda *args: made_of_ours.append(args))
    assert measure.own_peak("tiny", "bert", "peft") >= 0
    assert not made_of_ours


def test_a_profile_has_the_share_of_each_kind_of_operation(tmp_path):
    facts = profiling.run("tiny", "bert", tmp_path)
    assert json.loads((tmp_path / "profile-tiny.json").read_text())["rows"] == facts["rows"]
    assert [row["dtype"] for row in facts["rows"]] == list(profiling.DTYPES)
    for row in facts["rows"]:
        assert sum(row["share"].values()) == pytest.approx(1.0)
        assert all(row["share"][kind] > 0 for kind in ("matrix products", "attention", "copies and casts", "other"))
    kinds = {name: profiling.kind_of(f"aten::{name}") for name in ("mm", "bmm", "copy_", "gelu")}
    assert kinds == {"mm": "matrix products", "bmm": "batched products", "copy_": "copies and casts", "gelu": "other"}


# The page ------------------------------------------------------------------------------------------------------------


def test_the_page_is_that_of_the_results():
    assert (ROOT / "docs" / "performance.md").read_text() == page(RESULTS), "run python -m benchmarks.run_bench --page"
    for path in RESULTS.glob("*.json"):
        machine = json.loads(path.read_text())["machine"]
        assert set(machine) <= {"cpu", "cores", "threads", "torch", "transformers", "load", "gpu"}, (
            "a name of a machine"
        )


def test_padding_that_cannot_be_measured_is_said(tmp_path):
    folder = Path(shutil.copytree(RESULTS, tmp_path / "bench"))
    settings = shares(tmp_path)
    assert settings.keys() == SETTINGS.keys() and all(row["missing"] for row in settings.values())
    cpu = json.loads((folder / "cpu.json").read_text()) | {"padding": settings}
    (folder / "cpu.json").write_text(json.dumps(cpu))
    assert all(f"| {name} | not here |" in page(folder) for name in SETTINGS)


STAND_INS = {"cuda": "cpu", "joint-cuda": "joint-cpu"}


def test_the_page_shows_a_gpu_where_it_was_measured(tmp_path, small_product):
    """The files of a CPU stand for those of a GPU: what is shown is theirs, under a heading that names the device."""
    folder = Path(shutil.copytree(RESULTS, tmp_path / "bench"))
    plain = page(folder)
    assert "## On a GPU" not in plain and "has never been run" in plain
    files = {name: json.loads((folder / f"{stem}.json").read_text()) for name, stem in STAND_INS.items()}
    for row in files["joint-cuda"]["rows"]:
        row["tokens_per_second"]["peft"] = {"median": 321.0}
        row["over_peft"] = {name: 2.0 * ratio for name, ratio in row["ratio"].items()}
        row["utilisation"] = dict.fromkeys((*row["ratio"], "peft"), 0.37)
    measured = largest.measured(LARGEST["tiny"], DEVICE, steps=2)
    files["largest-cuda"] = {"machine": dict(files["cuda"]["machine"]), "load_after": [0], **measured}
    for name, facts in files.items():
        facts["machine"]["gpu"] = "Made-up 100"
        (folder / f"{name}.json").write_text(json.dumps(facts))
    before, heading, of_gpu = page(folder).partition("## On a GPU: Made-up 100\n")
    assert heading and "has never been run" not in before
    assert "### The largest model\n" in of_gpu and largest.line(measured) in of_gpu
    assert "8192 x 4096 x 4096" in of_gpu and "256 x 128 x 512" not in of_gpu
    assert "| 321, 37% | 2.00, 37% |" in of_gpu and "benchmarks.run_joint --suite cuda" in of_gpu
    assert before.count("\n| packed |") == of_gpu.count("\n| packed |") == 1
