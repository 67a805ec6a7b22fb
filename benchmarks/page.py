"""docs/performance.md and its figure, from the files in results/bench."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.largest import line as largest
from benchmarks.profiling import table as shares
from benchmarks.timing import SHAPES

ON_GPU = ("cuda", "gangs-cuda", "largest-cuda")
GANG_PEAK = {False: "a process's peak, libraries included", True: "the most that the GPU's allocator gives out"}
"""By whether it was a GPU."""
HEAD = """# Performance

Written by `python -m benchmarks.run_bench --page` from `results/bench/*.json`; a test compares them.

## What is fast, and why

- **No padding.** `trainer.packing=auto` lays the sequences of a batch end to end, one row of real tokens through every
  matrix, norm and activation; attention takes them apart again, each with its trial's prefix, sequences of one length
  in one call. Batches are those of the data order: no sampling by length, which would change the gradient's noise.
  Loss and gradients equal the padded batch's (`tests/parity/test_packing.py`; float64: 1e-10, float32: 3e-5 of the
  largest). Dropout is drawn in another order, so a trial with dropout is another draw of the same distribution.
  `false` never packs; `true` packs wherever it can be done. It cannot, and the batch stays padded to its longest: with
  an infix, on DeBERTa and GLM (their attention is their own), behind a sliding window, with bottleneck adapters of
  several trials, and while generating. `auto` also leaves models so small that cutting costs more than padding.
- **Frozen means frozen.** No gradient of a weight, no input kept for one, nothing below the lowest prompt
  (`tests/training/test_frozen.py`). GPT-2's GELU is one kernel, T5's and Llama's norm keeps one copy, where sequences
  are packed. What makes a prompt (an MLP, an LSTM) runs once a step, however many micro-batches there are.
- **Only what is read.** The language-model head runs on label positions; BERT's and RoBERTa's last layer on the
  positions that a classifier or a cloze looks at.
- **T5's cross-attention** compares a label's queries with the encoder's output itself while targets are shorter than a
  head, instead of projecting every input token to keys and values; the same numbers.
- **`trainer.dtype=bfloat16`** stores the frozen weights in bfloat16 (autocast would cast them at every use and keep the
  copies); prompts, heads and the optimiser stay float32.
- **`task.decoding.labels=score`** decodes a class task as text by its labels, the source read once for all of them,
  instead of generating. The papers generated, so `generate` is the default.
- **bfloat16 attention on a CPU** is computed in float32 and kept in bfloat16 where sequences are packed: torch's
  bfloat16 kernel is several times slower on short sequences, and less exact.
- **Passes side by side.** On a CPU a step is cut into passes, and an evaluation into batches, that run one on each
  thread (`trainer.threads`); threads that share every operation wait for each other. The result depends on their number
  no more than on the order of sums, and not on thread timing (`tests/training/test_joint_training.py`). With joint
  training a pass on a CPU holds as many tokens as run well, not the whole step (`training/step.py`, `STATES_A_PASS`).
- **Attention of unlike lengths on a GPU** takes packed sequences end to end in one kernel, without cutting them into
  calls of about one length, where torch has it for the precision (`models/varlen.py`; bfloat16, no bias, no dropout).
  Each process compares the kernel with plain attention once and says so if it is not used.
- **CUDA graphs** (`trainer.graphs`). A pass is recorded once its shape was seen often enough, and replayed: the host
  launches one graph in place of every kernel. Examples that only fill up bring batches to few shapes
  (`training/filling.py`); their loss is left out. A recording is compared with the pass it was made of before it is
  trusted (`training/graphs.py`).
- **The next step is made ready** while a GPU works on the present one: batches, how they are packed, and their copies
  to the device from pinned memory, for which nobody waits (`training/step.py`, `models/moving.py`).
- **Memory that does not suffice** cuts a step into shorter passes, and where they are one example each, activations are
  computed twice (`trainer.gradient_checkpointing`, which may also be asked for); it says so and goes on.

`make bench` measures what a CPU does on this machine (an idle one, please). `make bench-gpu` measures the papers' own
shapes, gangs of them and the largest model on a CUDA device.
"""
NEVER_RUN = """
`make bench-gpu` has never been run, as no GPU was at hand: nothing here is a claim about GPUs. CUDA graphs and the
attention kernel are built, and tested on stand-ins only (`tests/training/test_graphs.py`,
`tests/models/test_varlen.py`); `tests/test_on_gpu.py` compares both with plain computation on a real one, and waits for
one too.
"""
METHOD = """
## How it is measured

{machine}

One process, all variants after one another in every round, each round beginning with another; a unit is one pass of
training steps over the same {batches} batches. Numbers are medians of {rounds} rounds; a ratio is one of medians, with
quartiles of the rounds' own ratios in brackets. Weights are random and ids drawn: only shapes and lengths matter, and
all variants start from the same weights and the same prompt (their losses agree to {agreement:.0e}). `peft` is peft in
a plain loop: AdamW, sdpa, batches padded to their longest, no dropout.

- *utilisation*: FLOPs that the mathematics needs (`src/repro/bench/flops.py`) over the time and over the rate of a bare
  {product} product of the same type in the same run.
- *kept*: bytes that autograd keeps for the backward pass, a step.
- *peak*: {peak}, weights included.

"""
PEAK = {
    "cpu": "what a process of its own needs beyond loaded libraries",
    "cuda": "the most that the GPU's allocator gives out for the variant, recordings with it",
}


def page(folder: Path) -> str:
    """The whole page."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    cpu = found.get("cpu")
    parts = [HEAD] if any(name in found for name in ON_GPU) else [HEAD + NEVER_RUN]
    if cpu is None:
        return parts[0] + "\nNothing was measured yet: `make bench`.\n"
    parts += _timings(cpu, "cpu")
    parts.append(_profile(found.get("profile-cpu")))
    parts.append(_padding(cpu.get("padding", {})))
    parts.append(_gangs(found.get("gangs-cpu")))
    parts.append(_sweeps([one for name, one in found.items() if name.startswith("gang-")]))
    parts.append(_stored(found.get("report")))
    parts += _on_gpu(found)
    return "\n".join(part for part in parts if part)


def _on_gpu(found: Mapping[str, Any]) -> list[str]:
    """Everything that was measured on a GPU, under a heading that names it."""
    files = [found[name] for name in ON_GPU if name in found]
    if not files:
        return []
    parts = [f"# On a GPU: {', '.join(sorted({one['machine']['gpu'] for one in files}))}\n"]
    if "cuda" in found:
        parts += _timings(found["cuda"], "cuda")
    parts.append(_gangs(found.get("gangs-cuda"), "--suite cuda"))
    if "largest-cuda" in found:
        parts.append(f"## The largest model\n\n{_facts(found['largest-cuda'])}\n\n{largest(found['largest-cuda'])}\n")
    return [re.sub("^#", "##", part, flags=re.MULTILINE) for part in parts]


def _timings(one: Mapping[str, Any], device: str) -> list[str]:
    """How it was measured, and every workload against peft."""
    workloads = one["workloads"]
    figure = f"![speed against peft](../results/bench/{device}.svg)\n"
    return [_method(one, device), *(_workload(name, row) for name, row in workloads.items()), figure]


def _facts(one: Mapping[str, Any]) -> str:
    """The machine of a file."""
    machine = one["machine"]
    facts = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads; torch {machine['torch']}, "
    facts += f"transformers {machine['transformers']}"
    load = "" if "load_after" not in one else f"; load before and after: {machine['load']}, {one['load_after']}"
    return facts + load + "."


def _method(one: Mapping[str, Any], device: str) -> str:
    workloads = list(one["workloads"].values())
    rounds, batches = workloads[0]["rounds"], workloads[0]["batches"]
    return METHOD.format(
        machine=_facts(one),
        rounds=rounds,
        batches=batches,
        agreement=max(_disagreement(row) for row in workloads),
        product=" x ".join(map(str, SHAPES[device])),
        peak=PEAK[device],
    )


def _profile(found: Mapping[str, Any] | None) -> str:
    """Shares of a packed pass by kind of operation."""
    if found is None:
        return ""
    return (
        "## Where the time goes\n\n"
        "`python -m benchmarks.run_bench --profile`: "
        "shares of a packed pass's operations on one thread, by torch's profiler, "
        f"whose own cost falls on short operations; {found['rows'][0]['passes']} passes after a first one. Load before "
        f"and after: {found['machine']['load']}, {found['load_after']}.\n\n{shares(found)}\n"
    )


def _disagreement(workload: Mapping[str, Any]) -> float:
    """Largest relative difference of a float32 variant's loss from peft's."""
    variants = workload["variants"]
    exact = [row["loss"] for name, row in variants.items() if "bfloat16" not in name and "fixed" not in name]
    pairs = [(a, b) for losses in exact for a, b in zip(losses, variants["peft"]["loss"], strict=True)]
    return max(abs(a - b) / abs(b) for a, b in pairs)


def _workload(name: str, one: Mapping[str, Any]) -> str:
    lines = [
        f"### {one['workload']}\n",
        f"{one['real_share']:.0%} of a padded batch are real tokens. A pass needs {one['useful_gflop']:.0f} GFLOP; "
        f"bare products run at {one['matmul_gflops']['float32']:.0f} GFLOP/s (float32) and "
        f"{one['matmul_gflops']['bfloat16']:.0f} (bfloat16).\n",
        "| | seconds a pass | speed, peft = 1 | tokens/s | utilisation | kept, MB | peak, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, row in one["variants"].items():
        seconds, speed, peak = row["seconds"], row["speed"], row.get("peak_mb")
        lines.append(
            f"| {variant} | {seconds['median']:.2f} [{seconds['low']:.2f}, {seconds['high']:.2f}] "
            f"| {speed['median']:.2f} [{speed['low']:.2f}, {speed['high']:.2f}] | {row['tokens_per_second']:.0f} "
            f"| {row['utilisation']:.0%} | {row['saved_mb']:.0f} | {'-' if peak is None else f'{peak:.0f}'} |"
        )
    return "\n".join(lines) + "\n"


def _padding(found: Mapping[str, Any]) -> str:
    lines = [
        "## Padding on real data\n",
        "Real tokens over positions of an epoch's batches, each padded to its longest (with targets in a decoder).\n",
        "| task, tokenizer | training sequences | batch | real | real, all padded to the longest of the split |",
        "|---|---|---|---|---|",
    ]
    for name, row in found.items():
        if "missing" in row:
            lines.append(f"| {name} | not here | | | |")
        else:
            lines.append(
                f"| {name} | {row['examples']:,} | {row['batch_size']} | {row['real']:.0%} "
                f"| {row['real_at_fixed_length']:.0%} ({row['longest']}) |"
            )
    return "\n".join(lines) + "\n" if found else ""


def _gangs(found: Mapping[str, Any] | None, options: str = "") -> str:
    """Several trials in one pass, against one after another, and against peft where it was in the run."""
    if found is None:
        return ""
    lines = [
        "## Gangs\n",
        f"`{' '.join(('python -m benchmarks.run_joint', options)).strip()}`: K trials over one frozen model, a step of "
        f"all of them, against the same engine a trial at a time; medians of {found['rows'][0]['rounds']} rounds in "
        f"turn, batches packed. Speed is tokens a second; memory is {GANG_PEAK['gpu' in found['machine']]}, over one "
        f"trial's. Load before and after: {found['machine']['load']}, {found['load_after']}.\n",
    ]
    sizes = [name.removeprefix("gang of ") for name in found["rows"][0]["ratio"] if name != "alone"]
    lines.append("| | alone, tokens/s | " + " | ".join(f"K = {size}: speed, memory" for size in sizes) + " |")
    lines.append("|---" * (len(sizes) + 2) + "|")
    for row in found["rows"]:
        cells = [f"{row['ratio'][f'gang of {size}']:.2f}, {row['memory']['ratio'][size]:.2f}" for size in sizes]
        alone = row["tokens_per_second"]["alone"]["median"]
        lines.append(f"| {row['what']}, {row['dtype']} | {alone:.0f} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_over_peft([row for row in found["rows"] if "over_peft" in row])]).rstrip() + "\n"


def _over_peft(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tokens a second over peft's in the same run, and utilisation, of every size."""
    if not rows:
        return []
    names = list(rows[0]["over_peft"])
    lines = [
        "Tokens a second over those of peft with a plain loop in the same run (autocast where the type is bfloat16), "
        "and utilisation:\n",
        "| | peft, tokens/s | " + " | ".join(name.replace("gang of ", "K = ") for name in names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in rows:
        theirs = f"{row['tokens_per_second']['peft']['median']:.0f}, {row['utilisation']['peft']:.0%}"
        cells = [f"{row['over_peft'][name]:.2f}, {row['utilisation'][name]:.0%}" for name in names]
        lines.append(f"| {row['what']}, {row['dtype']} | {theirs} | " + " | ".join(cells) + " |")
    return lines


def _sweeps(found: Sequence[Mapping[str, Any]]) -> str:
    """Whole sweeps on real data."""
    if not found:
        return ""
    lines = [
        "### Sweeps on real data\n",
        "Seeds by learning rates, whole trials with loading, training, evaluation and records, in turn: "
        "`python -m benchmarks.run_joint --real conll04` and `--real e2e`. Speed is the ratio of median seconds; "
        "loss is "
        "the largest relative difference of a training loss.\n",
        "| sweep | trials | one by one, seconds | gang, seconds | speed | loss | scores |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        name = ", ".join(word.partition("=")[2] for word in one["sweep"][:3])
        alone, gang = (", ".join(f"{s:.1f}" for s in one["seconds"][way]) for way in ("alone", "gang"))
        difference, same = one["largest_difference_of_a_training_loss"], "equal" if one["equal_scores"] else "differ"
        scores = [value for trial in one["scores_gang"] for split in trial.values() for value in split.values()]
        same += "" if any(scores) else ", all 0 (too short a training)"
        lines.append(
            f"| {name} | {one['trials']} | {alone} | {gang} | {one['ratio']:.2f} | {difference:.0e} | {same} |"
        )
    return "\n".join(lines) + "\n"


def _stored(found: Mapping[str, Any] | None) -> str:
    """What costs no training."""
    if found is None:
        return ""
    parts = "; ".join(f"{label.partition(', ')[2]} {seconds:.1f} s" for label, seconds in found["seconds"].items())
    trial = statistics.median(found["stored_trial"])
    return (
        "## Reports and stored trials\n\n"
        f"`python benchmarks/run_report.py`: the report of {found['records']:,} records: {parts}. A trial that is in "
        f"the store already: {trial:.2f} s, the whole process (median of {len(found['stored_trial'])}).\n"
    )


def figure(cpu: Mapping[str, Any], path: Path) -> None:
    """Bars of speed against peft, quartiles as whiskers."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "repro"  # else ids in the file are drawn anew
    workloads = cpu["workloads"]
    names = list(next(iter(workloads.values()))["variants"])
    drawn, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    for place, variant in enumerate(names):
        rows = [one["variants"][variant]["speed"] for one in workloads.values()]
        at = [index + (place - (len(names) - 1) / 2) * 0.8 / len(names) for index in range(len(rows))]
        heights = [row["median"] for row in rows]
        below = [max(0.0, row["median"] - row["low"]) for row in rows]
        above = [max(0.0, row["high"] - row["median"]) for row in rows]
        axes.bar(at, heights, 0.8 / len(names), label=variant)
        axes.errorbar(at, heights, [below, above], fmt="none", ecolor="black", elinewidth=0.7)
    axes.axhline(1.0, color="grey", linewidth=0.7)
    axes.set_xticks(range(len(workloads)), [one["workload"].split(",")[0] for one in workloads.values()])
    axes.set_ylabel("training speed, peft = 1")
    axes.legend(fontsize=7, ncols=2)
    drawn.savefig(path, metadata={"Date": None})
    pyplot.close(drawn)
