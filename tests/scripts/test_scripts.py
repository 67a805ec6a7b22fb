"""Scripts do what their first lines say."""

import runpy
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from repro.config.compose import compose, resolved  # noqa: E402
from repro.errors import ModelError  # noqa: E402
from repro.models.families.family import family  # noqa: E402
from repro.models.loading import load_backbone  # noqa: E402
from repro.models.untrained.random_model import random_model  # noqa: E402

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_checkpoint.py"
TRAINER = {"dtype": "float32", "attention": "sdpa"}


@pytest.mark.parametrize("name", ["tiny-t5", "tiny-bart", "tiny-bert"])
def test_a_pickled_checkpoint_is_refused_and_converts(name, tmp_path, monkeypatch, capsys):
    task = "rte" if name != "tiny-bart" else "cb"
    model = resolved(compose([f"model={name}", f"task={task}", "method=fine_tuning"]))["model"]
    made, tokenizer = random_model(model, family(model["family"]), torch.float32, {})
    old, new = tmp_path / "old", tmp_path / "new"
    made.config.save_pretrained(old)
    tokenizer.save_pretrained(old)
    torch.save(made.state_dict(), old / "pytorch_model.bin")
    at = {**model, "source": "folder"}
    with pytest.raises(ModelError, match=r"no safetensors weights.*convert_checkpoint\.py"):
        load_backbone({**at, "location": str(old)}, TRAINER, torch.device("cpu"))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(old), str(new)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "wrote" in capsys.readouterr().out
    loaded, _ = load_backbone({**at, "location": str(new)}, TRAINER, torch.device("cpu"))
    for key, tensor in made.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[key], tensor, rtol=0, atol=0)
