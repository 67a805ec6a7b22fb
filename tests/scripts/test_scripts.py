"""Scripts do what their first lines say."""

import runpy
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from repro.config.compose import compose  # noqa: E402
from repro.errors import ModelError  # noqa: E402
from repro.models.families.family import family  # noqa: E402
from scripts.docs.microworld_page import page  # noqa: E402
from tests.models.loaded import load_backbone, random_model  # noqa: E402
from tests.nested import resolved  # noqa: E402

ROOT = Path(__file__).parents[2]
TRAINER = {"dtype": "float32", "attention": "sdpa"}


@pytest.fixture
def script(monkeypatch):
    """script(name, *arguments): run a file of scripts/ as `python scripts/NAME` does."""

    def start(name, *arguments):
        path = str(ROOT / "scripts" / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        return runpy.run_path(path, run_name="__main__")

    return start


@pytest.mark.parametrize(("name", "task"), [("tiny-t5", "rte"), ("tiny-bart", "cb"), ("tiny-bert", "rte")])
def test_a_pickled_checkpoint_is_refused_and_converts(name, task, tmp_path, script, capsys):
    model = resolved(compose([f"model={name}", f"task={task}", "method=fine_tuning"]))["model"]
    made, tokenizer = random_model(model, family(model["family"]), torch.float32, {})
    old, new = tmp_path / "old", tmp_path / "new"
    made.config.save_pretrained(old)
    tokenizer.save_pretrained(old)
    torch.save(made.state_dict(), old / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no safetensors weights.*convert_checkpoint\.py"):
        load_backbone({**model, "source": "folder", "location": str(old)}, TRAINER, torch.device("cpu"))
    script("convert_checkpoint.py", old, new)
    assert "wrote" in capsys.readouterr().out
    loaded, _ = load_backbone({**model, "source": "folder", "location": str(new)}, TRAINER, torch.device("cpu"))
    for key, tensor in made.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[key], tensor, rtol=0, atol=0)


def test_data_sets_that_may_be_fetched_are_listed(script, capsys):
    with pytest.raises(SystemExit) as ended:
        script("fetch_assets.py", "--list")
    assert not ended.value.code and "squad_v1" in capsys.readouterr().out


def test_e2e_metrics_are_timed(script, tmp_path, capsys):
    data = tmp_path / "src1_test.txt"
    data.write_text("".join(f"name : {n} || {n} is {kind} .\n" for n in ("Ada", "Bo", "Cy") for kind in ("old", "new")))
    with pytest.raises(SystemExit) as ended:
        script("score_e2e.py", data)
    output = capsys.readouterr().out
    assert ended.value.code == 0 and "3 outputs, 3 references" in output
    assert all(name in output for name in ("e2e_bleu", "nist", "meteor", "rouge_l_coco", "cider", "all five"))


def test_the_page_of_the_small_world_is_up_to_date():
    assert (ROOT / "docs" / "microworld.md").read_text(encoding="utf-8") == page()


def test_readers_that_cannot_read_stay_far_below():
    """The first number of a row is that of a constant answer, the last that of words without order."""
    rows = [line for line in page().splitlines() if line.startswith("| `mini_")]
    scores = {row.split("`")[1]: [cell.strip() for cell in row.split("|")[3:6]] for row in rows}
    assert len(scores) == 11
    for task, cells in scores.items():
        limit = {"mini_ner": 80.0}.get(task, 65.0)
        assert all(float(cell) < limit for cell in cells if cell != "-"), (task, cells)
