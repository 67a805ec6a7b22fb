"""Run in each of several processes: trains every case of CASES in one process and in all, prints how far they differ.

    python -m torch.distributed.run --standalone --nproc-per-node 2 sharded_worker.py FOLDER

The first process prints one line of JSON: {case: {what: largest relative difference}}. `test_sharding.py` judges.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from repro.errors import Interrupted, ReproError, ToldElsewhere
from repro.methods.base import Tuning
from repro.methods.parts.backbone_weights import FineTuning
from repro.methods.parts.bottleneck import AdapterTuning
from repro.models.backbone import recompute
from repro.training.batching import WHOLE
from repro.training.checkpoint import Checkpoints
from repro.training.distributed.process_group import ProcessGroup
from repro.training.distributed.sharded_checkpoints import ShardedCheckpoints
from repro.trials.processes import present
from tests.training.tiny_training import METHODS, Recorder, copies, make_trial, train_trial


def tuning(kind: str, **options: Any) -> Any:
    """A method that trains this part of the backbone."""
    made = FineTuning()
    made.tuning = Tuning(kind, blocks=1, **options)
    return made


LORA = {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": ()}
T5, GPT2, BERT = "tiny-t5", "tiny-gpt2", "tiny-bert"
UNEVEN = {"count": 7, "batch_size": 3}  # the last step of an epoch has one example: the second process has none
FACTORED = {"name": "adafactor", "factored": "always", "weight_decay": 1e-3, "parameter_scaling": True}

CASES: dict[str, dict[str, Any]] = {
    "encoder": {"model": BERT, "format": "pair", **UNEVEN},
    "decoder": {"model": GPT2, **UNEVEN},
    "the best of them": {"model": GPT2, "keep_best": True, "rate": 0.05, "evaluate_every": 1, **UNEVEN},
    "encoder_decoder": {"model": T5, **UNEVEN},
    "three passes": {"model": T5, "microbatches": 3, "count": 8, "batch_size": 5},
    "example sums, no clipping": {"model": GPT2, "example_sum": True, "clip_norm": None, **UNEVEN},
    "tight clipping": {"model": GPT2, "clip_norm": 0.01, **UNEVEN},
    "dropout": {"model": GPT2, "dropout": 0.2, **UNEVEN},
    "choices": {"model": BERT, "format": "choice", **UNEVEN},
    "tagging": {"model": "tiny-roberta", "format": "tagging", **UNEVEN},
    "bart": {"model": "tiny-bart", **UNEVEN},
    "llama": {"model": "tiny-llama", **UNEVEN},
    "deberta": {"model": "tiny-deberta", "format": "pair", "dtype": "float32", **UNEVEN},
    "deberta v2": {"model": "tiny-deberta-v2", "format": "pair", **UNEVEN},
    "glm": {"model": "tiny-glm", "format": "pair", **UNEVEN},
    "adafactor": {"model": T5, **FACTORED, **UNEVEN},
    "adafactor, head": {"model": BERT, "format": "pair", **FACTORED, "factored": "auto", **UNEVEN},
    "top block": {"model": GPT2, "method": lambda: tuning("top"), **UNEVEN},
    "biases": {"model": BERT, "format": "pair", "method": lambda: tuning("biases"), **UNEVEN},
    "lora": {"model": GPT2, "method": lambda: tuning("lora", **LORA), **UNEVEN},
    "ia3": {"model": T5, "method": lambda: tuning("ia3", targets=()), **UNEVEN},
    "prompt": {"model": T5, "method": METHODS["prompt_tuning"], **UNEVEN},
    "prefix": {"model": GPT2, "method": METHODS["prefix_mlp"], **UNEVEN},
    "deep prompt": {"model": BERT, "format": "pair", "method": METHODS["p_tuning_v2_dropout"], **UNEVEN},
    "adapter": {"model": T5, "method": lambda: AdapterTuning(4), **UNEVEN},
    "bfloat16": {"model": T5, "method": METHODS["prompt_tuning"], "dtype": "bfloat16", **UNEVEN},
    "packed": {"model": T5, "packing": True, **UNEVEN},
    "packed encoder": {"model": BERT, "format": "pair", "packing": True, **UNEVEN},
    "packed decoder": {"model": GPT2, "packing": True, **UNEVEN},
    "gradient checkpointing": {"model": GPT2, "checkpointing": True, "dropout": 0.1, **UNEVEN},
    "gradient checkpointing, T5": {"model": T5, "checkpointing": True, "microbatches": 2, **UNEVEN},
}
RESUMED: dict[str, dict[str, Any]] = {
    "resumed": {"model": BERT, "format": "pair", "evaluate_every": 2, **UNEVEN},
    "resumed, adafactor": {"model": T5, **FACTORED, "evaluate_every": 2, **UNEVEN},
}


def made(case: dict[str, Any], ranks: ProcessGroup | None) -> Any:
    """The case's trial: of these processes together, or of this one."""
    options = {"rate": 1e-3, "steps": 5, "format": "text_to_text", "method": FineTuning, "keep_best": False, **case}
    packing, checkpointing = options.pop("packing", "auto"), options.pop("checkpointing", False)
    run = make_trial(options.pop("model"), options.pop("method")(), options.pop("format"), ranks=ranks, **options)
    run.adapter.backbone.packing = packing
    if checkpointing:
        recompute(run.adapter.backbone)
        run.train_mode = True
    return run


def shards_of(run: Any) -> Any:
    """How the run's tensors are split."""
    return run.group.norms.__self__


def train(run: Any, folder: Path, watcher: Recorder) -> Any:
    """Train from the checkpoint in the folder, if there is one; its progress, None where it was told to stop."""
    files: Any = Checkpoints(folder)
    if run.group.part != WHOLE:
        shards = shards_of(run)
        files = ShardedCheckpoints(files, shards, run.snapshot)
    try:
        return train_trial(run, files, watcher)
    except Interrupted:
        return None


def whole(run: Any) -> dict[str, torch.Tensor]:
    """All trained tensors and moments, whole, in the first process."""
    if run.group.part == WHOLE:
        return copies(run.snapshot())
    found = {name: shards_of(run).whole(name, tensor) for name, tensor in run.snapshot().items()}
    return copies({name: tensor for name, tensor in found.items() if tensor is not None})


def unseen(name: str) -> bool:
    """Key biases add the same to all scores of a query, which the softmax does not see: their gradients are rounding
    alone, and both optimisers make steps of it."""
    return name.endswith(("key.bias", "k_proj.bias"))


def apart(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference of a trained tensor from the other's, in parts of the tensor's largest number."""
    assert ours and set(ours) == set(theirs)
    found = 0.0
    for name, tensor in theirs.items():
        assert ours[name].shape == tensor.shape and torch.isfinite(ours[name]).all(), name
        if not name.startswith("optimiser.") and not unseen(name):
            found = max(found, float((ours[name] - tensor).abs().max() / tensor.abs().max().clamp(min=1e-6)))
    return found


def rows_apart(ours: list[Any], theirs: list[Any]) -> float:
    """The largest difference of an evaluation's value or mean training loss."""
    pairs = list(zip(ours, theirs, strict=True))
    values = [abs(a["validation"]["value"] - b["validation"]["value"]) for a, b in pairs]
    return max(values + [abs(a["train_loss"] - b["train_loss"]) for a, b in pairs])


def compare(case: dict[str, Any], ranks: ProcessGroup, folder: Path) -> dict[str, float]:
    """One process against all of them."""
    alone, together, one, both = made(case, None), made(case, ranks), Recorder(), Recorder()
    before = whole(together)
    train(alone, folder / f"alone-{ranks.rank}", one)
    progress = train(together, folder / "together", both)
    after, theirs = whole(together), whole(alone)
    assert len(both.losses) == progress.step == alone.steps
    found = {"losses": max(abs(a - b) / abs(b) for a, b in zip(both.losses, one.losses, strict=True))}
    found["evaluations"] = rows_apart(both.rows, one.rows)
    held = sum(tensor.numel() for name, tensor in together.tuned.items())
    found["share"] = ranks.most(held) / max(1, sum(tensor.numel() for tensor in alone.tuned.values()))
    if ranks.first:
        found["moved"] = apart(after, before)
        found["tensors"] = apart(after, theirs)
    return found


def resumed(case: dict[str, Any], ranks: ProcessGroup, folder: Path) -> dict[str, float]:
    """Interrupted after a step, and continued by as many processes or by another number of them."""
    goal = made(case, None)
    train(goal, folder / f"goal-{ranks.rank}", Recorder())
    at = {name: folder / name for name in ("two, two", "two, one", "one, two")}
    assert train(made(case, ranks), at["two, two"], Recorder(stop_at=3)) is None
    if ranks.first:
        shutil.copytree(at["two, two"], at["two, one"])
        assert train(made(case, None), at["one, two"], Recorder(stop_at=3)) is None
    ranks.share(None)
    found = {}
    for name, place in at.items():
        if name != "two, one" or ranks.first:
            run, watcher = made(case, None if name == "two, one" else ranks), Recorder()
            assert train(run, place, watcher).step == goal.steps and len(watcher.losses) == goal.steps - 3
            tensors = whole(run)
            if ranks.first:
                found[name] = apart(tensors, whole(goal))
    return found


def failed(ranks: ProcessGroup) -> dict[str, float]:
    """Errors of one process reach all, and are said once."""

    def work(at: int) -> int:
        if ranks.rank == at:
            raise ReproError("no such file")
        return ranks.rank

    assert ranks.in_turn(lambda: work(-1)) == ranks.rank
    assert ranks.of_first(lambda: work(1)) == 0
    raised: list[ReproError] = []
    for call in (lambda: ranks.of_first(lambda: work(0)), lambda: ranks.in_turn(lambda: work(ranks.count - 1))):
        try:
            call()
        except ReproError as error:
            raised.append(error)
    of_first, in_turn = raised
    last = ranks.rank == ranks.count - 1
    assert str(of_first) == "no such file" and not of_first.here_only
    assert isinstance(in_turn, ToldElsewhere) is not last and in_turn.here_only is last
    return {"told": float(len(raised))}


def main() -> None:
    processes = present()
    ranks = ProcessGroup(processes.rank, processes.count, torch.device("cpu"))
    torch.set_num_threads(1)
    folder, only = Path(sys.argv[1]), sys.argv[2:]
    found = {"errors": failed(ranks)}
    for name, case in CASES.items():
        if not only or name in only:
            found[name] = compare(case, ranks, folder / name)
    for name, case in RESUMED.items():
        if not only or name in only:
            found[name] = resumed(case, ranks, folder / name)
    if ranks.first:
        print(json.dumps(found))
    ranks.leave()


if __name__ == "__main__":
    main()
