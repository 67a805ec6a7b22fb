"""Every command of README and docs runs: trials through one step on a tiny model of the same kind, make targets dry."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from repro.cli.main import main
from repro.config.compose import compose

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TINY = {"encoder": "tiny-bert", "decoder": "tiny-gpt2", "encoder_decoder": "tiny-t5"}
SMALL = [
    *("trainer.epochs=null", "trainer.steps=1", "trainer.evaluate_every=epoch", "trainer.batch_size=2"),
    *("trainer.dtype=float32", "trainer.threads=1", "task.check_rows=false", "task.also_metrics=[]"),
    *("task.limit.train=4", "task.limit.validation=4", "task.limit.test=4"),
    *("task.max_input_length=64", "task.decoding.max_new_tokens=4", "task.decoding.beams=1"),
]


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
            found += [(page.name, line) for line in block.splitlines() if line.strip()]
    return found


def files_of(page: str) -> dict[str, str]:
    """{path: content} of the files that a page shows: the path in backquotes and a colon, then a block."""
    text = (ROOT / "docs" / page).read_text() if (ROOT / "docs" / page).is_file() else ""
    return dict(re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)```$", text, re.DOTALL | re.MULTILINE))


def test_there_are_commands():
    assert {page for page, _ in commands()} >= {"README.md", "running.md", "data.md"}


@pytest.mark.parametrize(("page", "line"), [c for c in commands() if c[1].startswith("make ")])
def test_make_targets_exist(page, line):
    shown = subprocess.run([*shlex.split(line), "-n"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip(), f"{page}: `{line}` does nothing"


def launched(line: str) -> bool:
    """Whether several processes share the trial (docs/sharding.md)."""
    return line.startswith("torchrun ")


def overrides_of(line: str) -> list[str] | None:
    """Arguments of a `run` command; None for another one."""
    words = shlex.split(line)
    words = words[3:] if words[:3] == ["python", "-m", "repro"] else words[1:]
    if words and words[0] == "run":
        return words[1:]
    return words if words and (words[0].startswith("-") or "=" in words[0]) else None


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("page", "line"),
    [c for c in commands() if not c[1].startswith("make ") and not launched(c[1]) and overrides_of(c[1]) is not None],
)
def test_run_commands_train(page, line, data_root, cli, monkeypatch):
    words = overrides_of(line)
    assert words is not None
    monkeypatch.setenv("REPRO_DATA_ROOT", str(data_root))
    plain = [word for word in words if "=" in word and not word.startswith(("model.", "-"))]
    first = [re.sub(r"=(?:tag\(log, ?)?(?:choice|interval)\(([^,)]*),.*", r"=\1", word) for word in plain]
    single = [re.sub(r"=([^,\[]*),.*", r"=\1", word) for word in first]  # the first trial of a sweep tells the kind
    for name, text in files_of(page).items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    if "--config-dir" in words:
        single.append(f"hydra.searchpath=[file://{Path.cwd()}/{words[words.index('--config-dir') + 1]}]")
    kind = compose(single).model.kind
    model = [word for word in words if word.startswith("model=")]
    others = [word for word in words if word not in model and not word.startswith("model.")]
    if any(word.startswith("experiment=") for word in words):
        others = [*others, "method=p_tuning_v2", "seed=1"]  # one trial of the grid
    small = SMALL
    if any(word.startswith(("task.low_data", "task.fraction")) for word in others):  # these take the place of limits
        others = [re.sub(r"^(task\.low_data\.size=)\d+", r"\g<1>4", word) for word in others]
        small = [word for word in SMALL if not word.startswith(("task.limit.train", "task.limit.validation"))]
    if "search" in line or "sweeper=optuna" in line:
        others = [*(word for word in others if "n_trials" not in word), "hydra.sweeper.n_trials=2"]
    whole = "-m" not in others or "experiment" in line or "sweeper=optuna" in line
    swept = others if whole else [w for w in others if "=" not in w or w in single]
    swept = [word for word in swept if word != "hydra/launcher=slurm"]  # tests/sweeps/slurm has a cluster for it
    done = cli("run", *swept, f"model={TINY[kind]}", *small)
    assert done.code == 0, done.err
    assert list(Path("results/records").glob("*/record.json"))


@pytest.mark.parametrize(
    ("page", "line"),
    [c for c in commands() if not c[1].startswith("make ") and not launched(c[1]) and overrides_of(c[1]) is None],
)
def test_other_commands_exist(page, line, capsys):
    """Commands that work on what trials left (`repro report`) are tested with records in test_cli; here: they parse."""
    words = shlex.split(line)
    assert words[0] == "repro"
    assert main([words[1], "--help"]) == 0
    assert words[1] in capsys.readouterr().out


@pytest.mark.smoke
@pytest.mark.parametrize(("page", "line"), [c for c in commands() if launched(c[1])])
def test_launched_commands_train(page, line, data_root, python, tmp_path):
    words = shlex.split(line)
    options, overrides = words[1 : words.index("-m")], words[words.index("run") + 1 :]
    kind = compose([word for word in overrides if "=" in word]).model.kind
    small = [f"model={TINY[kind]}", *SMALL, "trainer.device=cpu", f"paths.data_root={data_root}"]
    torchrun = ("-m", "torch.distributed.run", "--standalone", *options, "-m", "repro", "run")
    done = python(*torchrun, *(word for word in overrides if not word.startswith("model=")), *small)
    assert done.code == 0, done.err
    [record] = tmp_path.glob("results/records/*/record.json")
    assert f'"processes": {options[options.index("--nproc-per-node") + 1]}' in record.read_text()
