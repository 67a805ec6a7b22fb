"""A checkpoint is the old one or the new one after any crash, and a damaged one says so."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.errors import StoreError
from repro.store.checkpoints import newest
from repro.training import checkpoint
from repro.training.checkpoint import Checkpoints, Progress
from tests.training.tiny_training import Crash, same_bits


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
    Checkpoints(folder).save_best(3, tensors(3))
    Checkpoints(folder).save(progress(7, best=3), tensors(7))
    state, found = loaded(folder)
    assert asdict(state) == asdict(progress(7, best=3))
    same(found, tensors(7))
    same(Checkpoints(folder).load_best(3), tensors(3))


def test_the_newest_state_and_the_one_before_stay_and_nothing_else(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save_best(1, tensors(1))
    kept.save(progress(1, best=1), tensors(1))
    assert names(tmp_path) == ["best-1.safetensors", "state.json", "step-1.safetensors"]
    kept.save_best(2, tensors(2))
    (tmp_path / ".step-2.safetensors.1-00000000-0123456789ab.tmp").write_text("of a killed writer")
    kept.save(progress(2, best=2), tensors(2))
    bests, steps = ["best-1.safetensors", "best-2.safetensors"], ["step-1.safetensors", "step-2.safetensors"]
    assert names(tmp_path) == [*bests, "state-before.json", "state.json", *steps]
    kept.save(progress(12, best=2), tensors(12))
    steps = ["step-12.safetensors", "step-2.safetensors"]
    assert names(tmp_path) == ["best-2.safetensors", "state-before.json", "state.json", *steps]
    same(kept.load_best(2), tensors(2))


def crash(*_: object, **__: object) -> None:
    raise Crash


def test_a_crash_at_any_moment_leaves_a_valid_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies before and after each change of the folder: every write, rename and removal."""
    whole_runs, kept_away = 0, []
    for moment in range(100):
        folder = tmp_path / str(moment)
        Checkpoints(folder).save(progress(0), tensors(0))
        Checkpoints(folder).save_best(1, tensors(11))
        Checkpoints(folder).save(progress(1, best=1), tensors(1))
        Checkpoints(folder).save_best(2, tensors(12))  # better, but no state names it yet
        left = [moment]

        def counted(real: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                if left[0] <= 0:
                    raise Crash
                left[0] -= 1
                return real(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("write", "replace", "unlink", "fsync"):
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                Checkpoints(folder).save(progress(2, best=2), tensors(2))
                whole_runs += 1
            except Crash:
                pass
        steps = []
        for _ in range(2):  # the newest, and with that one gone the one before: there were two when the crash came
            found_now, _ = newest(folder)
            if found_now is not None:
                steps.append(found_now.progress["step"])
                content = (folder / found_now.file).read_bytes()
                (folder / found_now.file).unlink()
                kept_away.append((folder / found_now.file, content))
        for path, content in kept_away:
            path.write_bytes(content)
        kept_away.clear()
        assert steps in ([1, 0], [2, 1])
        state, found = loaded(folder)
        assert state.step in (1, 2) and asdict(state) == asdict(progress(state.step, best=state.step))
        same(found, tensors(state.step))
        best = Checkpoints(folder)
        best.load()
        same(best.load_best(state.step), tensors(10 + state.step))  # the best that this state names
        Checkpoints(folder).save(progress(3, best=2), tensors(3))  # and the next ones tidy up
        Checkpoints(folder).save(progress(4, best=2), tensors(4))
        steps = ["step-3.safetensors", "step-4.safetensors"]
        assert names(folder) == ["best-2.safetensors", "state-before.json", "state.json", *steps]
        if whole_runs:
            break
    assert whole_runs and moment > 10


def test_saving_a_step_again_is_safe_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Before and after an evaluation the tensors are the same, the state is not.
    Checkpoints(tmp_path).save(progress(4), tensors(4))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "state_text", crash)
        with pytest.raises(Crash):
            Checkpoints(tmp_path).save(progress(4, best=None), tensors(4))
    state, found = loaded(tmp_path)
    assert state.best is None
    same(found, tensors(4))
    kept = Checkpoints(tmp_path)
    for _ in range(4):  # stopped in the middle of the same evaluation again and again
        kept.save(progress(4), tensors(4))
        files = {path.name for path in tmp_path.glob("step-*")}
        assert len(files) == 2, "each state has tensors of its own"
        flip(tmp_path / json.loads((tmp_path / "state.json").read_text())["tensors"])
        same(loaded(tmp_path)[1], tensors(4))
        kept = Checkpoints(tmp_path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


DAMAGES: list[tuple[str, Callable[[Path], object]]] = [
    ("tensors", flip),
    ("tensors", cut),
    ("tensors", Path.unlink),
    ("best", flip),
    ("best", cut),
    ("best", Path.unlink),
    ("state", Path.unlink),
    ("state", cut),
    ("state", lambda path: path.write_bytes(b"")),
    ("state", lambda path: path.write_text("{}")),
    ("state", lambda path: path.write_text("[]")),
    ("state", lambda path: path.write_bytes(b"\xff\xfe")),
    ("state", lambda path: path.write_text(path.read_text().replace("tokens", "tokenz"))),
    ("state", lambda path: path.write_text(path.read_text().replace("0.30000000000000004", "0.30000000000000009"))),
    ("state", lambda path: path.write_text(path.read_text().replace('"digest"', '"digesu"'))),
    ("state", lambda path: path.write_text(path.read_text().replace('"tensors": "', '"tensors": "../'))),
]


def damaged(folder: Path, which: str, damage: Callable[[Path], object], state: str = "state.json") -> None:
    """Damage a file of one state: its tensors, those of its best evaluation, or its own."""
    said = json.loads((folder / state).read_text())
    file = {"tensors": said["tensors"], "best": said["best"]["name"], "state": state}[which]
    content = (folder / file).read_bytes()
    damage(folder / file)
    assert not (folder / file).exists() or (folder / file).read_bytes() != content, "nothing was damaged"


@pytest.mark.parametrize(("which", "damage"), DAMAGES)
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_used(
    tmp_path: Path, which: str, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoints(tmp_path)
    for step in (1, 2):
        kept.save_best(step, tensors(10 + step))
        kept.save(progress(step, best=step), tensors(step))
    damaged(tmp_path, which, damage)
    reader = Checkpoints(tmp_path)
    found = reader.load()
    assert found is not None and found[0].step == 1
    same(found[1], tensors(1))
    same(reader.load_best(1), tensors(11))
    [note] = found[0].notes
    assert note.startswith("the newest checkpoint was damaged (state.json: ") and note.endswith("before, of step 1")
    assert note in caplog.text and str(tmp_path) in caplog.text and str(tmp_path) not in note
    # Going on from there never puts the damaged state in the place of the whole one, and the note stays.
    reader.save(found[0], found[1])
    assert json.loads((tmp_path / "state-before.json").read_text())["progress"]["step"] == 1
    again = loaded(tmp_path)[0]
    assert again.notes == [note]


def test_a_damage_while_the_names_move_on_is_said_once(tmp_path: Path) -> None:
    """The writer was killed between the two renames of `put_state`: a `state.json` is not missed then."""
    for step in (1, 2):
        Checkpoints(tmp_path).save_best(step, tensors(10 + step))
        Checkpoints(tmp_path).save(progress(step, best=step), tensors(step))
    (tmp_path / "state.json").rename(tmp_path / "state-next.json")
    assert loaded(tmp_path)[0].step == 2 and loaded(tmp_path)[0].notes == []
    damaged(tmp_path, "tensors", flip, "state-next.json")
    state, found = loaded(tmp_path)
    same(found, tensors(1))
    [note] = state.notes
    assert note.startswith("the newest checkpoint was damaged (state-next.json: the checksum of step-2")


@pytest.mark.parametrize(("which", "damage"), DAMAGES)
def test_with_both_damaged_the_folder_and_the_fix_are_said(
    tmp_path: Path, which: str, damage: Callable[[Path], object]
) -> None:
    for step in (1, 2):
        Checkpoints(tmp_path).save_best(step, tensors(10 + step))
        Checkpoints(tmp_path).save(progress(step, best=step), tensors(step))
    damaged(tmp_path, which, damage)
    damaged(tmp_path, "tensors", flip, "state-before.json")
    if which == "state" and not (tmp_path / "state.json").exists():
        (tmp_path / "state-before.json").write_text("{")
    with pytest.raises(
        StoreError, match=r"state\.json: .*; state-before\.json: .*Delete that folder to start"
    ) as caught:
        Checkpoints(tmp_path).load()
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("which", "damage"), DAMAGES)
def test_a_damaged_first_checkpoint_says_the_fix(tmp_path: Path, which: str, damage: Callable[[Path], object]) -> None:
    Checkpoints(tmp_path).save_best(1, tensors(11))
    Checkpoints(tmp_path).save(progress(1, best=1), tensors(1))
    damaged(tmp_path, which, damage)
    if not (tmp_path / "state.json").exists():  # as before the first state was written
        assert Checkpoints(tmp_path).load() is None
        return
    with pytest.raises(StoreError, match="Delete that folder to start the trial anew") as caught:
        Checkpoints(tmp_path).load()
    assert str(tmp_path) in str(caught.value)


def test_flipped_bits_of_a_state_are_noticed(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save_best(1, tensors(11))
    Checkpoints(tmp_path).save(progress(1, best=1), tensors(1))
    whole = (tmp_path / "state.json").read_bytes()
    for position in range(0, len(whole), 3):
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        (tmp_path / "state.json").write_bytes(content)
        state, wrong = newest(tmp_path)
        if state is not None:  # what JSON reads as the same value is the same state
            assert json.loads(bytes(content)) == json.loads(whole) and not wrong
    (tmp_path / "state.json").write_bytes(whole)
    assert newest(tmp_path)[0] is not None


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, lambda path: path.write_bytes(b"")])
def test_damaged_best_tensors_name_the_file_and_the_fix(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    kept = Checkpoints(tmp_path)
    kept.save_best(6, tensors(6))
    damage(tmp_path / "best-6.safetensors")
    with pytest.raises(StoreError, match=r"damaged.*Run the same command again") as caught:
        kept.load_best(6)
    assert str(tmp_path / "best-6.safetensors") in str(caught.value)
