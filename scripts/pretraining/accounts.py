"""What the shipped mini models were trained on, for how long, and how well: from the files beside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repro.models import mini_weights
from repro.store.damage import read_json
from scripts.pretraining.settings import facts_of

SHIPPED = Path(mini_weights.__file__).parent
"""A folder a checkpoint, named as in conf/model."""
_ORDER = ("mini-t5-xs", "mini-t5-s", "mini-t5-m", "mini-t5-l", "mini-gpt2", "mini-bart", "mini-bert")
_HEAD = ("| model | parameters | steps | tokens | held-out loss |", "|---|---:|---:|---:|---:|")


def accounts(folder: Path = SHIPPED) -> dict[str, dict[str, Any]]:
    """{checkpoint: its training.json}, smallest T5 first, a model's checkpoints in the order they were written."""
    files = [dict(read_json(path)) for path in sorted(folder.glob("*/training.json"))]
    files.sort(key=lambda account: (_ORDER.index(account["settings"]["model"]), account["step"]))
    return {account["checkpoint"]: account for account in files}


def last_loss(account: dict[str, Any]) -> float:
    """Loss on the held-out documents at the checkpoint's own step, under its phase's objective."""
    own = (account["step"], account["objective"])
    [loss] = [point["held_out_loss"] for point in account["curve"] if (point["step"], point["objective"]) == own]
    return float(loss)


def table(folder: Path = SHIPPED) -> str:
    """The table of docs/mini-models.md, and what all of it took."""
    checkpoints, lines = accounts(folder), list(_HEAD)
    for name, account in checkpoints.items():
        numbers = (f"{facts_of(name)['parameters']:,}", f"{account['step']:,}", f"{account['tokens'] / 1e6:.1f}M")
        lines.append(f"| `{name}` | {' | '.join(numbers)} | {last_loss(account):.3f} |")
    models = [account for name, account in checkpoints.items() if name == account["settings"]["model"]]
    minutes = sum(account["seconds"] for account in models) / 60
    size = sum(account["bytes"] for account in checkpoints.values()) / 1e6
    lines += ["", f"All {len(models)} trainings together took {minutes:.0f} minutes; the weights are {size:.1f} MB."]
    return "\n".join(lines) + "\n"
