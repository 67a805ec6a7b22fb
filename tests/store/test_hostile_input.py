"""What is read from disk or network can run no code, and files belong to whom the user's umask says."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])

# Modules whose reading runs code that the file brings.
PICKLING = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "pandas",
}
# Functions that do, or may: allowed only with the argument that forbids it.
SAFE_ONLY_WITH = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
NEVER = {
    *("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load", "torch.hub.load", "np.fromfile"),
    *("tarfile.extract", "tarfile.extractall", "shutil.unpack_archive"),
}
METHODS_NEVER = {
    *("extractall", "read_pickle", "load_state_dict_from_url", "fromstring_pickle"),
    *("broadcast_object_list", "all_gather_object", "gather_object", "scatter_object_list", "recv_object_list"),
}


def offences(text: str, where: str = "file") -> Iterator[str]:
    """What in a source file could run code that came with data."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
        else:
            names = []
        yield from (f"{where}:{node.lineno}: imports {name}" for name in names if name in PICKLING)
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
        at = f"{where}:{node.lineno}: {called}"
        if called in SAFE_ONLY_WITH:
            name, needed = SAFE_ONLY_WITH[called]
            value = given.get(name)
            if not (isinstance(value, ast.Constant) and value.value is needed):
                yield f"{at} without {name}={needed}"
        if called in NEVER or called.rpartition(".")[2] in METHODS_NEVER:
            yield at
        second = node.args[1] if len(node.args) > 1 else ast.Constant(None)
        loader = ast.unparse(given.get("Loader", second))
        if (
            called == "yaml.load"
            and "Safe" not in loader
            and loader != "yaml.BaseLoader"
            and not _is_safe_loader(text, loader)
        ):
            yield f"{at} with {loader}"
        if "shell" in given and not (isinstance(given["shell"], ast.Constant) and given["shell"].value is False):
            yield f"{at} with a shell"
        for name, safe in (("trust_remote_code", False), ("allow_pickle", False), ("weights_only", True)):
            if name in given and not (isinstance(given[name], ast.Constant) and given[name].value is safe):
                yield f"{at} with {name}={ast.unparse(given[name])}"
        if called.endswith(".from_pretrained") and "trust_remote_code" not in given:
            yield f"{at} without trust_remote_code=False"


def _is_safe_loader(text: str, name: str) -> bool:
    """Whether a loader of yaml is one of the safe ones by another name, or derived from one."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets):
            return "SafeLoader" in ast.unparse(node.value)
        if isinstance(node, ast.ClassDef) and node.name == name:
            return any("Safe" in ast.unparse(base) for base in node.bases)
    return False


def test_nothing_that_is_read_can_run_code() -> None:
    assert len(FILES) > 100
    found = [one for path in FILES for one in offences(path.read_text(), path.relative_to(ROOT).as_posix())]
    payloads = "scripts/faults/inputs.py"  # writes a pickle that must be refused
    assert [one for one in found if not (one.startswith(payloads) and one.endswith("imports pickle"))] == []
    assert "pickle.load" not in (ROOT / payloads).read_text() and "from pickle" not in (ROOT / payloads).read_text()


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "def f():\n    import dill as d",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=anything)",
        "AutoModel.from_pretrained(place)",
        "AutoModel.from_pretrained(place, trust_remote_code=True)",
        "datasets.load_dataset(name, trust_remote_code=code)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text)",
        "dist.broadcast_object_list(box, 0)",
        "yaml.load(text, Loader)",
        "class Own(yaml.Loader):\n    pass\nyaml.load(text, Own)",
        "eval(text)",
        "archive.extractall(folder)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_checker_sees_each(line: str) -> None:
    assert list(offences(line))


def test_the_checker_lets_safe_calls_pass() -> None:
    text = (
        "torch.load(path, weights_only=True)\nnp.load(path, allow_pickle=False)\nmodel.eval()\n"
        "AutoModel.from_pretrained(place, trust_remote_code=False)\nyaml.safe_load(text)\n"
        "class Own(yaml.SafeLoader):\n    pass\nyaml.load(text, Own)\n"
        "yaml.load(text, Loader=yaml.CSafeLoader)\nload_file(path)\njson.load(stream)\n"
    )
    assert list(offences(text)) == []


def test_weights_that_bring_code_are_not_run(tmp_path: Path) -> None:
    """A folder whose config names a class of its own file: refused, and the file is not imported."""
    import json

    import torch

    from repro.errors import ModelError
    from tests.models.loaded import load_backbone

    mark = tmp_path / "ran"
    (tmp_path / "model").mkdir()
    code = f"open({str(mark)!r}, 'w')\nfrom transformers import BertConfig as Own, BertModel as OwnModel\n"
    (tmp_path / "model" / "own.py").write_text(code)
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    import yaml

    model = yaml.safe_load((ROOT / "conf" / "model" / "bert-large-cased.yaml").read_text())
    model |= {"source": "folder", "location": str(tmp_path / "model")}
    trainer = {"dtype": "float32", "attention": "sdpa", "backbone_dropout": None, "attention_dropout": None}
    with pytest.raises(ModelError):
        load_backbone(model, trainer, torch.device("cpu"))
    assert not mark.exists()


def test_every_file_and_folder_is_as_the_umask_says(
    cli: Callable[..., Any], trial_arguments: Callable[..., list[str]], tmp_path: Path, one_thread: None
) -> None:
    """Of a trial with its cache, checkpoint, predictions and record, of its report, and of what merging writes."""
    folder, umask = tmp_path / "work", 0o027
    before = os.umask(umask)
    try:
        folder.mkdir()
        os.chdir(folder)
        assert cli("run", *trial_arguments("trainer.optimiser.learning_rate=1e30")).code == 2  # leaves its checkpoint
        assert cli("run", *trial_arguments("seed=2")).code == 0
        assert cli("report").code == 0
        assert cli("store", "merge", "results", "--results", "all").code == 0
    finally:
        os.umask(before)
        os.chdir(tmp_path)
    paths = [path for path in folder.rglob("*") if not path.is_symlink()]
    files = [path for path in paths if path.is_file()]
    assert {".json", ".safetensors", ".jsonl", ".html", ".tokens", ".md", ".png"} <= {path.suffix for path in files}
    wrong = {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in paths
        if stat.S_IMODE(path.stat().st_mode) != (0o666 if path.is_file() else 0o777) & ~umask
    }
    assert wrong == {}
