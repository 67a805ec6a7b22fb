"""docs/performance.md and its figure, from the files in results/bench."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.largest import line as largest
from benchmarks.profiling import DTYPES
from benchmarks.profiling import table as shares
from benchmarks.timing import SHAPES, Facts

ON_GPU = ("cuda", "joint-cuda", "largest-cuda")
HEAD = """# Performance

Written by `python -m benchmarks.run_bench --page` from `results/bench/*.json`.

## What makes training fast

- **Packing** (`trainer.packing`): the sequences of a batch lie end to end, without padding; attention separates them.
  Batches, loss and gradients are those of the padded batch (`tests/parity/test_packing.py`); only dropout masks
  differ. Not packed: infixes, DeBERTa, GLM, sliding windows, adapters trained jointly, generation.
- **Frozen weights** get no gradient and keep no input for one (`tests/training/test_frozen.py`).
- **Only what is read**: the language-model head runs on label positions, an encoder's last layer on what a classifier
  reads. T5's cross-attention does not project inputs while targets are short.
- **bfloat16** (`trainer.dtype`) stores frozen weights in bfloat16; prompts, heads and the optimiser stay float32.
- **Classes by score** (`task.decoding.labels=score`) read the source once for all labels; the papers generated, the
  default.
- **CPU threads** (`trainer.threads`) each run whole passes side by side. Results do not depend on timing.
- **On a GPU**: one attention kernel for sequences of unlike length, CUDA graphs (`trainer.graphs`), and the next step
  prepared during the present one. Kernel and graphs are compared with plain computation before they are used.
- **Too little memory** cuts a step into more passes, then computes activations twice, and says so.

`make bench` measures this CPU, `make bench-gpu` the papers' shapes on a CUDA device.
"""
NEVER_RUN = """
`make bench-gpu` has never been run: nothing here is a claim about GPUs. `tests/training/test_on_gpu.py` compares graphs
and kernels with plain computation where there is a GPU.
"""
METHOD = """
## Against peft

{machine}

All variants run in turn in one process over the same {batches} batches, from the same random weights and prompt (losses
agree to {agreement:.0e}); medians of {rounds} rounds. `peft` is a plain loop: AdamW, sdpa, batches padded to their
longest, no dropout. *Speed* is a ratio of medians, with quartiles of the rounds' ratios; *utilisation* the FLOPs that
the mathematics needs (`benchmarks/flops.py`) over the time, relative to a bare {product} product; *peak* is {peak}, in
MB with weights.
"""
PEAK = {
    "cpu": "a process's memory beyond loaded libraries",
    "cuda": "what the GPU's allocator gives out at most",
}
JOINT_PEAK = {False: "a process's peak, libraries included", True: "the peak of the GPU's allocator"}
"""By whether it was a GPU."""


def page(folder: Path) -> str:
    """The whole page."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    head = HEAD if any(name in files for name in ON_GPU) else HEAD + NEVER_RUN
    if "cpu" not in files:
        return head + "\nNothing was measured yet: `make bench`.\n"
    parts = [head, *_against_peft(files["cpu"], "cpu")]
    if "profile-cpu" in files:
        parts.append(_profile(files["profile-cpu"]))
    parts.append(_padding(files["cpu"].get("padding", {})))
    if "joint-cpu" in files:
        parts.append(_joint(files["joint-cpu"]))
    parts.append(_sweeps([file for name, file in files.items() if name.startswith("sweep-")]))
    if "report" in files:
        parts.append(_report(files["report"]))
    return "\n".join(part for part in [*parts, *_on_gpu(files)] if part)


def _on_gpu(files: Mapping[str, Facts]) -> list[str]:
    """Everything that was measured on a GPU, under a heading that names it."""
    measured = [files[name] for name in ON_GPU if name in files]
    if not measured:
        return []
    parts = [f"# On a GPU: {', '.join(sorted({file['machine']['gpu'] for file in measured}))}\n"]
    if "cuda" in files:
        parts += _against_peft(files["cuda"], "cuda")
    if "joint-cuda" in files:
        parts.append(_joint(files["joint-cuda"], "--suite cuda"))
    if "largest-cuda" in files:
        file = files["largest-cuda"]
        parts.append(f"## The largest model\n\n{_machine(file)}\n\n{largest(file)}\n")
    return [re.sub("^#", "##", part, flags=re.MULTILINE) for part in parts]


def _machine(file: Facts) -> str:
    machine = file["machine"]
    facts = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads; torch {machine['torch']}, "
    return facts + f"transformers {machine['transformers']}; {_load(file)}."


def _load(file: Facts) -> str:
    """The load before and after: whether the machine was idle."""
    before, after = file["machine"]["load"], file.get("load_after")
    return f"load {before[0]}" + ("" if after is None else f", then {after[0]}")


def _short(what: str, *more: str) -> str:
    """A workload without its method and lengths, as a row's name."""
    return ", ".join((what.partition(",")[0], *more))


def _against_peft(file: Facts, device: str) -> list[str]:
    """How it was measured, a table, and a figure."""
    workloads = list(file["workloads"].values())
    method = METHOD.format(
        machine=_machine(file),
        rounds=workloads[0]["rounds"],
        batches=workloads[0]["batches"],
        agreement=max(_disagreement(row) for row in workloads),
        product=" x ".join(map(str, SHAPES[device])),
        peak=PEAK[device],
    )
    listed = "\n".join(f"- {row['workload']} ({row['real_share']:.0%} real tokens)" for row in workloads)
    lines = [
        "| speed, utilisation, peak | " + " | ".join(_short(row["workload"]) for row in workloads) + " |",
        "|---" * (len(workloads) + 1) + "|",
    ]
    for variant in workloads[0]["variants"]:
        cells = " | ".join(_cell(row["variants"][variant]) for row in workloads)
        lines.append(f"| {variant} | {cells} |")
    figure_of = f"![speed against peft](../results/bench/{device}.svg)\n"
    return [method, listed + "\n", "\n".join(lines) + "\n", figure_of]


def _cell(row: Facts) -> str:
    speed, peak = row["speed"], row.get("peak_mb")
    quartiles = f"[{speed['low']:.2f}, {speed['high']:.2f}]"
    return f"{speed['median']:.2f} {quartiles}, {row['utilisation']:.0%}, {'-' if peak is None else f'{peak:.0f}'}"


def _disagreement(workload: Facts) -> float:
    """Largest relative difference of a float32 variant's loss from peft's."""
    variants = workload["variants"]
    exact = [row["loss"] for name, row in variants.items() if "bfloat16" not in name and "fixed" not in name]
    pairs = [(a, b) for losses in exact for a, b in zip(losses, variants["peft"]["loss"], strict=True)]
    return max(abs(a - b) / abs(b) for a, b in pairs)


def _profile(file: Facts) -> str:
    """Shares of a packed pass by kind of operation."""
    return (
        "## Where the time goes\n\n`python -m benchmarks.run_bench --profile`: shares of a packed pass's operations on "
        f"one thread, by torch's profiler, in {' and '.join(DTYPES)}; {_load(file)}.\n\n{shares(file)}\n"
    )


def _padding(settings: Mapping[str, Facts]) -> str:
    """Real tokens over positions, on the real data."""
    lines = [
        "## Padding on real data\n",
        "Real tokens over positions, a batch padded to its longest, and the whole split to its longest.\n",
        "| task, tokenizer | sequences | batch | by batch | by split |",
        "|---" * 5 + "|",
    ]
    for name, row in settings.items():
        if "missing" in row:
            lines.append(f"| {name} | not here | | | |")
        else:
            by_split = f"{row['real_at_fixed_length']:.0%} ({row['longest']})"
            lines.append(f"| {name} | {row['examples']:,} | {row['batch_size']} | {row['real']:.0%} | {by_split} |")
    return "\n".join(lines) + "\n" if settings else ""


def _joint(file: Facts, options: str = "") -> str:
    """Several trials in one pass, against one after another, and against peft where it was in the run."""
    rows = file["rows"]
    sizes = _sizes(rows[0]["ratio"])
    lines = [
        "## Joint training\n",
        f"`{' '.join(('python -m benchmarks.run_joint', options)).strip()}`: K trials over one model, against the same "
        f"engine a trial at a time; medians of {rows[0]['rounds']} rounds; {_load(file)}. Cells are speed and memory "
        f"({JOINT_PEAK['gpu' in file['machine']]}) over those of one trial.\n",
        "| | alone, tokens/s | " + " | ".join(f"K = {size}" for size in sizes) + " |",
        "|---" * (len(sizes) + 2) + "|",
    ]
    for row in rows:
        cells = " | ".join(f"{row['ratio'][size]:.2f}, {row['memory']['ratio'][size]:.2f}" for size in sizes)
        lines.append(f"| {_row(row)} | {row['tokens_per_second']['alone']['median']:.0f} | {cells} |")
    return "\n".join([*lines, "", *_over_peft([row for row in rows if "over_peft" in row])]).rstrip() + "\n"


def _sizes(values: Facts) -> list[str]:
    """How many trials trained jointly, ascending."""
    return sorted((name for name in values if name != "alone"), key=int)


def _row(row: Facts) -> str:
    return _short(row["what"], row["what"].rpartition(", ")[2], row["dtype"])


def _over_peft(rows: Sequence[Facts]) -> list[str]:
    """Tokens a second over peft's in the same run, and utilisation, of every size."""
    if not rows:
        return []
    sizes = _sizes(rows[0]["over_peft"])
    names, shown = ["alone", *sizes], ["alone", *(f"K = {size}" for size in sizes)]
    lines = [
        "Tokens a second over peft's in the same run, and utilisation:\n",
        "| | peft, tokens/s | " + " | ".join(shown) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in rows:
        theirs = f"{row['tokens_per_second']['peft']['median']:.0f}, {row['utilisation']['peft']:.0%}"
        cells = " | ".join(f"{row['over_peft'][name]:.2f}, {row['utilisation'][name]:.0%}" for name in names)
        lines.append(f"| {_row(row)} | {theirs} | {cells} |")
    return lines


def _sweeps(files: Sequence[Facts]) -> str:
    """Whole sweeps on real data."""
    if not files:
        return ""
    lines = [
        "### Sweeps on real data\n",
        "`python -m benchmarks.run_joint --real conll04`, `--real e2e`: seeds by learning rates, whole trials in turn. "
        "Loss is the largest relative difference of a training loss.\n",
        "| sweep | trials | one by one, seconds | jointly | speed | loss | scores |",
        "|---" * 7 + "|",
    ]
    for file in files:
        name = ", ".join(word.partition("=")[2] for word in file["sweep"][:3])
        alone, jointly = (f"{statistics.median(file['seconds'][way]):.1f}" for way in ("alone", "joint"))
        difference, same = file["largest_difference_of_a_training_loss"], "equal" if file["equal_scores"] else "differ"
        scores = [value for trial in file["scores_joint"] for split in trial.values() for value in split.values()]
        same += "" if any(scores) else ", all 0 (too short a training)"
        cells = (name, file["trials"], alone, jointly, f"{file['ratio']:.2f}", f"{difference:.0e}", same)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _report(file: Facts) -> str:
    """What costs no training."""
    parts = "; ".join(f"{label.partition(', ')[2]} {seconds:.1f} s" for label, seconds in file["seconds"].items())
    trial = statistics.median(file["stored_trial"])
    return (
        f"## Reports and stored trials\n\n`python -m benchmarks.run_report`: a report of {file['records']:,} records: "
        f"{parts}. A trial that is stored already: {trial:.2f} s (median of {len(file['stored_trial'])} processes).\n"
    )


def figure(file: Facts, path: Path) -> None:
    """Bars of speed against peft, quartiles as whiskers."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "repro"  # else ids in the file are drawn anew
    workloads = list(file["workloads"].values())
    variants = list(workloads[0]["variants"])
    drawn, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    for place, variant in enumerate(variants):
        rows = [row["variants"][variant]["speed"] for row in workloads]
        at = [index + (place - (len(variants) - 1) / 2) * 0.8 / len(variants) for index in range(len(rows))]
        heights = [row["median"] for row in rows]
        below = [max(0.0, row["median"] - row["low"]) for row in rows]
        above = [max(0.0, row["high"] - row["median"]) for row in rows]
        axes.bar(at, heights, 0.8 / len(variants), label=variant)
        axes.errorbar(at, heights, [below, above], fmt="none", ecolor="black", elinewidth=0.7)
    axes.axhline(1.0, color="grey", linewidth=0.7)
    axes.set_xticks(range(len(workloads)), [_short(row["workload"]) for row in workloads])
    axes.set_ylabel("training speed, peft = 1")
    axes.legend(fontsize=7, ncols=2)
    drawn.savefig(path, metadata={"Date": None})
    pyplot.close(drawn)
