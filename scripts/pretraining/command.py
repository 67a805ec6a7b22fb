"""`scripts/pretraining`: one model from text to its checkpoints, each with the curve that led there."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from repro.errors import ConfigError
from repro.store.damage import read_json
from repro.store.files import sha256_file, write_json_atomic
from repro.training.checkpoint import Progress
from scripts.pretraining.byte_pair import family_tokenizer, learnt_pairs
from scripts.pretraining.from_scratch import Pretrained, new_model, write_checkpoint
from scripts.pretraining.rows import Documents
from scripts.pretraining.settings import Pretraining, composed, facts_of, named
from scripts.pretraining.training import HELD_OUT_SEED, Run, place_of

TOKENIZER_SEED = 2_000_003
SAMPLES = 3
"""Continuations of held-out documents that are printed at the end."""
FINGERPRINTED = 200
"""Documents whose hash says which text a model was trained on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Pre-train one model; the same command goes on from where an interrupted one stood."""
    parser = argparse.ArgumentParser(prog="python -m scripts.pretraining", description=main.__doc__)
    parser.add_argument("model", choices=named(), help="a config of conf/pretraining")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values of the config to change")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/pretrained"), help="folder of the checkpoints (runs/pretrained)"
    )
    parser.add_argument("--until", type=int, default=None, metavar="STEP", help="stop after this step")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # more are slower at these widths, and sums would round otherwise
    from repro.tasks.microworld.corpus import documents

    pretrain(composed(options.model, options.overrides), documents, options.out, options.until)
    return 0


def pretrain(settings: Pretraining, documents: Documents, out: Path, until: int | None = None) -> Run:
    """Tokenizer, model, phases; writes `<out>/<checkpoint>/` for every checkpoint that the phases keep."""
    facts = facts_of(settings.model)
    pairs = pairs_of(settings, documents, facts["family"], out)
    tokenizer = family_tokenizer(pairs, facts["family"], settings.context)
    trained = Pretrained(facts, new_model(facts, tokenizer, settings.seed), tokenizer, settings.packed)

    def keep(name: str, progress: Progress) -> None:
        write_checkpoint(trained.model, tokenizer, out / name)
        write_json_atomic(out / name / "training.json", account(settings, documents, name, progress, out / name))
        print(f"wrote {out / name}", flush=True)

    size = sum(parameter.numel() for parameter in trained.model.parameters())
    print(f"{settings.model}: {size:,} parameters, {sum(p.steps for p in settings.phases):,} steps", flush=True)
    run = Run(settings, trained, documents, out / ".work" / settings.model, keep)
    run.train(until)
    if facts["kind"] != "encoder":
        show_samples(trained, documents, settings)
    return run


def pairs_of(settings: Pretraining, documents: Documents, family: str, out: Path) -> dict[str, Any]:
    """The byte-pair vocabulary: learnt once a folder, since all families but BERT share it."""
    how = "words" if family == "bert" else "text"
    number, pieces = settings.tokenizer_documents, settings.pieces
    path = out / ".work" / f"pairs-{how}-{pieces}-{number}.json"
    try:
        return dict(read_json(path))
    except FileNotFoundError:
        stream = documents(TOKENIZER_SEED)
        pairs = learnt_pairs((next(stream) for _ in range(number)), pieces, family)
        if len(pairs["vocab"]) != pieces:
            raise ConfigError(
                f"pieces={pieces}, but the text of {number} documents gives {len(pairs['vocab'])}: lower pieces or "
                "raise tokenizer_documents."
            ) from None
        write_json_atomic(path, pairs)
        return pairs


def account(settings: Pretraining, documents: Documents, name: str, progress: Progress, folder: Path) -> dict[str, Any]:
    """What a checkpoint was trained on, for how long, and with what loss."""
    weights = folder / "model.safetensors"
    place = place_of(settings.phases, progress.step)
    return {
        "checkpoint": name,
        "settings": plain(settings),
        "corpus": corpus_identity(documents),
        "held_out_seed": HELD_OUT_SEED,
        "step": progress.step,
        "objective": settings.phases[place.phase].objective,
        "tokens": progress.tokens,
        "seconds": round(progress.train_seconds, 1),
        "curve": progress.curve,
        "bytes": weights.stat().st_size,
        "sha256": sha256_file(weights),
        "machine": {"processor": platform.machine(), "torch": torch.__version__, "threads": torch.get_num_threads()},
        "written": time.strftime("%Y-%m-%d"),
    }


def plain(settings: Pretraining) -> dict[str, Any]:
    """The config as JSON has it."""
    found = asdict(settings)
    for phase in found["phases"]:
        phase["keep"] = {str(percent): name for percent, name in phase["keep"].items()}
    return found


def corpus_identity(documents: Documents) -> str:
    """sha256 (hex) of the first documents of the held-out seed: another text gives another loss."""
    import hashlib

    stream = documents(HELD_OUT_SEED)
    return hashlib.sha256("\n".join(next(stream) for _ in range(FINGERPRINTED)).encode()).hexdigest()


def show_samples(model: Pretrained, documents: Documents, settings: Pretraining) -> None:
    """Print how the model goes on with beginnings of held-out documents."""
    stream = documents(HELD_OUT_SEED)
    model.model.eval()
    for text in (next(stream) for _ in range(SAMPLES)):
        words = text.split()
        half = len(words) // 2
        print(f"\n{' '.join(words[:half])}\n  -> {model.continued(' '.join(words[:half]), 40)}")
        print(f"  == {' '.join(words[half:])}", flush=True)
