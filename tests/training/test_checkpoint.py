"""A checkpoint is the old one or the new one after any crash, and a damaged one says so."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tiny_training import Crash, same_bits
from torch import Tensor

from repro.errors import StoreError
from repro.training import checkpoint
from repro.training.checkpoint import Checkpoints, Progress


def tensors(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {
        "method.prompt": torch.randn(1, 3, 4, generator=generator),
        "optimiser.second.prompt": torch.randn(1, 3, 4, generator=generator, dtype=torch.float64),
        "backbone.half": torch.randn(2, 2, generator=generator).bfloat16(),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0, 5e-324], dtype=torch.float64),
        "transposed": torch.randn(3, 5, generator=generator).mT,
        "empty": torch.zeros(1, 0),
    }


def progress(step: int, best: int | None = None) -> Progress:
    chosen = None if best is None else {"step": best, "epoch": best / 3, "value": 0.1 + 0.2}
    row = {"step": step, "train_loss": 1 / 3, "validation": {"loss": 2 / 7}}
    return Progress(step, step - 1, chosen, [row], [0.1, 1e-300], 5, 6, 0.5, 0.25)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def loaded(folder: Path) -> tuple[Progress, dict[str, Tensor]]:
    found = Checkpoints(folder).load()
    assert found is not None
    return found


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Equal bits, NaN included."""
    as_bytes = [{n: t.contiguous().flatten().view(torch.uint8) for n, t in side.items()} for side in (ours, theirs)]
    same_bits(*as_bytes)
    assert {n: (t.shape, t.dtype) for n, t in ours.items()} == {n: (t.shape, t.dtype) for n, t in theirs.items()}


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "checkpoint"
    assert Checkpoints(folder).load() is None
    Checkpoints(folder).save(progress(7, best=3), tensors(7))
    state, found = loaded(folder)
    assert asdict(state) == asdict(progress(7, best=3))
    same(found, tensors(7))
    Checkpoints(folder).save_best(3, tensors(3))
    same(Checkpoints(folder).load_best(3), tensors(3))


def test_only_what_is_needed_stays(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save_best(1, tensors(1))
    kept.save(progress(1, best=1), tensors(1))
    kept.prune_best(1)
    assert names(tmp_path) == ["best-1.safetensors", "state.json", "step-1.safetensors"]
    kept.save_best(2, tensors(2))
    assert names(tmp_path) == ["best-1.safetensors", "best-2.safetensors", "state.json", "step-1.safetensors"]
    kept.save(progress(2, best=2), tensors(2))
    kept.prune_best(2)
    assert names(tmp_path) == ["best-2.safetensors", "state.json", "step-2.safetensors"]
    kept.save(progress(12, best=2), tensors(12))
    kept.prune_best(2)
    assert names(tmp_path) == ["best-2.safetensors", "state.json", "step-12.safetensors"]
    same(kept.load_best(2), tensors(2))


def crash(*_: object, **__: object) -> None:
    raise Crash


@pytest.mark.parametrize(
    ("where", "name", "step"),
    [
        (checkpoint, "write_atomic", 1),  # before the tensors
        (checkpoint, "write_json_atomic", 1),  # between tensors and state
        (Checkpoints, "_prune", 2),  # after both, before the old tensors went
    ],
)
def test_a_crash_at_any_moment_leaves_a_valid_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str, step: int
) -> None:
    Checkpoints(tmp_path).save_best(1, tensors(11))
    Checkpoints(tmp_path).save(progress(1, best=1), tensors(1))
    Checkpoints(tmp_path).save_best(2, tensors(12))  # better, but no state names it yet
    with monkeypatch.context() as patch:
        patch.setattr(where, name, crash)
        with pytest.raises(Crash):
            Checkpoints(tmp_path).save(progress(2, best=2), tensors(2))
    state, found = loaded(tmp_path)
    assert asdict(state) == asdict(progress(step, best=step))
    same(found, tensors(step))
    same(Checkpoints(tmp_path).load_best(step), tensors(10 + step))  # the best that this state names

    Checkpoints(tmp_path).save(progress(3, best=2), tensors(3))  # and the next one tidies up
    Checkpoints(tmp_path).prune_best(2)
    assert names(tmp_path) == ["best-2.safetensors", "state.json", "step-3.safetensors"]


def test_saving_a_step_again_is_safe_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Before and after an evaluation the tensors are the same, the state is not.
    Checkpoints(tmp_path).save(progress(4), tensors(4))
    monkeypatch.setattr(checkpoint, "write_json_atomic", crash)
    with pytest.raises(Crash):
        Checkpoints(tmp_path).save(progress(4, best=4), tensors(4))
    state, found = loaded(tmp_path)
    assert state.best is None
    same(found, tensors(4))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("step-1.safetensors", flip),
        ("step-1.safetensors", cut),
        ("step-1.safetensors", Path.unlink),
        ("state.json", cut),
        ("state.json", lambda path: path.write_text("{}")),
        ("state.json", lambda path: path.write_text("[]")),
        ("state.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("state.json", lambda path: path.write_text(path.read_text().replace("tokens", "tokenz"))),
    ],
)
def test_a_damaged_checkpoint_names_its_folder_and_the_fix(
    tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    Checkpoints(tmp_path).save(progress(1), tensors(1))
    damage(tmp_path / name)
    with pytest.raises(StoreError, match="Delete that folder to start the trial anew") as caught:
        Checkpoints(tmp_path).load()
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("damage", [cut, Path.unlink, lambda path: path.write_bytes(b"")])
def test_damaged_best_tensors_name_the_folder_too(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    Checkpoints(tmp_path).save_best(6, tensors(6))
    damage(tmp_path / "best-6.safetensors")
    with pytest.raises(StoreError, match="damaged") as caught:
        Checkpoints(tmp_path).load_best(6)
    assert str(tmp_path) in str(caught.value)
