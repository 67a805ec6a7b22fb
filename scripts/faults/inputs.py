"""Files and values that somebody changed, damaged or made with ill intent: refused with a sentence, and nothing runs.

Each scenario starts from the folder of a finished trial, changes it, and calls commands on it. A traceback, an exit
code that is not expected, or what the scenario itself looks for is a loss.
"""

from __future__ import annotations

import csv
import json
import pickle
import random
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.store.record import with_checksum
from scripts.faults.result import Result
from scripts.faults.trials import TRIALS, Ended, Place, arguments, trial_folder

PREDICT = ("predict", "--inputs", "inputs.jsonl", "--device", "cpu", "--prompt")
CPU_SECONDS = 30
"""A command that needs more does not end by itself."""
Wrong = Callable[[Ended], str]
"""What is wrong with how a command ended; empty: nothing."""


@dataclass(frozen=True)
class Case:
    """One fault and the command that meets it."""

    name: str
    folder: Path
    words: Sequence[str]
    codes: tuple[int, ...] = (2,)
    """Exit codes that are right."""
    wrong: Wrong = lambda ended: ""
    environment: tuple[tuple[str, str], ...] = ()


def injected(place: Place, fault: str, cases: Iterable[Case]) -> Result:
    """Run the command of each case."""
    count, lost, notes = 0, 0, list[str]()
    for case in cases:
        given = dict(case.environment)
        ended = place.stem.run(list(case.words), case.folder, environment=given, cpu_seconds=CPU_SECONDS)
        count += 1
        why = "" if ended.code in case.codes else f"exit code {ended.code}"
        why = "a traceback" if "Traceback (most recent call last)" in ended.out else why or case.wrong(ended)
        if why:
            lost, last = lost + 1, " ".join(ended.out.split())[-200:]
            notes.append(f"{case.name}, {case.words[0]}: {why}: {last}")
    return Result(fault, count, count - lost, lost, "; ".join(notes[:5]))


class Finished:
    """Copies of the folder of a finished trial."""

    def __init__(self, place: Place, name: str):
        self._place, self._name, self._count = place, name, 0
        place.undisturbed(next(iter(TRIALS)))
        self.source = trial_folder(place, next(iter(TRIALS)))
        self.key = next((self.source / "results" / "records").iterdir()).name
        self.record: dict[str, Any] = json.loads((self.source / self.path).read_text())

    @property
    def path(self) -> Path:
        """The record, relative to a copy."""
        return Path("results") / "records" / self.key / "record.json"

    def copy(self) -> Path:
        """A new copy, with some inputs for `repro predict`."""
        self._count += 1
        folder = self._place.fresh(f"{self._name} {self._count}")
        shutil.copytree(self.source, folder, dirs_exist_ok=True)
        row = {"task": "rte", "premise": "The house is red.", "hypothesis": "It is red."}
        (folder / "inputs.jsonl").write_text(json.dumps(row) + "\n")
        return folder

    def with_record(self, change: Callable[[dict[str, Any]], object]) -> Path:
        """A copy whose record was changed by somebody who knows how checksums are made."""
        folder, record = self.copy(), json.loads(json.dumps(self.record))
        change(record)
        (folder / self.path).write_text(json.dumps(with_checksum(record)))
        return folder


# ---- nothing that is read runs code


class _Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self._path), "w")


def _payloads(canary: str) -> list[dict[str, Any]]:
    """Nodes that Hydra would call."""
    return [
        {"_target_": "os.system", "command": f"touch {canary}"},
        {"_target_": "subprocess.call", "args": ["touch", canary]},
        {"_target_": "builtins.open", "file": canary, "mode": "w"},
        {"_target_": "torch.load", "f": "evil.pt", "weights_only": False},
        {"name": "accuracy", "inner": {"_target_": "os.system", "command": f"touch {canary}"}},
    ]


SECTIONS = ("method", "model", "task.metrics.0", "task.options", "trainer.optimiser")


def _put(config: dict[str, Any], path: str, value: dict[str, Any]) -> None:
    *above, name = path.split(".")
    node: Any = config
    for part in above:
        node = node[int(part)] if part.isdigit() else node[part]
    if name.isdigit():
        node[int(name)] = value
    else:
        node[name] = value if "inner" in value else node[name] | value


def code(place: Place) -> Result:
    """Payloads in records, configs, prompts, model folders and submissions."""

    def cases() -> Iterator[Case]:
        finished = Finished(place, "code")

        def ready(folder: Path) -> Wrong:
            (folder / "evil.pt").write_bytes(pickle.dumps(_Touch(folder / "canary")))
            return lambda ended: "it ran" if (folder / "canary").exists() else ""

        for section in SECTIONS:
            for number, payload in enumerate(_payloads("canary")):
                folder = finished.with_record(lambda r, s=section, p=payload: _put(r["config"], s, p))  # type: ignore[misc]
                for words in ([*PREDICT, finished.key], ["metrics", "--score", finished.key]):
                    yield Case(f"{section} {number}", folder, words, (0, 1, 2), ready(folder))
        for group in ("task", "method", "model"):
            for number, payload in enumerate(_payloads("canary")):
                folder = place.fresh(f"code config {group} {number}")
                (folder / "own" / group).mkdir(parents=True)
                (folder / "own" / group / "evil.yaml").write_text(json.dumps(payload))
                words = [word for word in arguments(next(iter(TRIALS)), place.data) if not word.startswith(f"{group}=")]
                words = [*words, f"{group}=evil", "--config-dir", str(folder / "own")]
                yield Case(f"{group}=evil {number}", folder, words, (2,), ready(folder))
        for name in ("prompt.safetensors", "predictions-validation.jsonl"):
            folder = finished.copy()
            wrong = ready(folder)
            shutil.copy(folder / "evil.pt", folder / "runs" / finished.key / name)
            words = [*PREDICT, finished.key] if name.startswith("prompt") else ["metrics", "--score", finished.key]
            yield Case(name, folder, words, (2,), wrong)
        folder = place.fresh("code model folder")
        wrong = ready(folder)
        shutil.copy(folder / "evil.pt", folder / "pytorch_model.bin")
        (folder / "config.json").write_text('{"model_type": "bert", "auto_map": {"AutoModel": "evil.Evil"}}')
        yield Case("a pickled model", folder, _with_model(place, folder), (2,), wrong)

    return injected(place, "code in a record, config, prompt or model folder", cases())


def _with_model(place: Place, folder: Path, *more: str) -> list[str]:
    places = ("model.source=folder", f"model.location={folder}", "model.weights=null")
    return arguments(next(iter(TRIALS)), place.data, *places, *more)


# ---- hashes


def hashes(place: Place, times: int = 40) -> list[Result]:
    """Predictions that were cut, emptied or replaced, and records with other digits."""
    finished, draw = Finished(place, "hashes"), random.Random(f"{place.seed} hashes")

    def predictions() -> Iterator[Case]:
        def changed(change: Callable[[list[str]], Sequence[str]]) -> Path:
            folder = finished.copy()
            path = folder / "runs" / finished.key / "predictions-validation.jsonl"
            path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
            return folder

        for change in (
            lambda lines: lines[:-2],
            lambda lines: [],
            lambda lines: lines + lines[:1],
            lambda lines: lines[::-1],
            lambda lines: [re.sub(r'("prediction": )[^,}]*', r'\g<1>"other"', line) for line in lines],
            lambda lines: [lines[0].replace(" ", "  ", 1), *lines[1:]],
        ):
            words = ["metrics", "--score", finished.key, "--metric", "macro_f1"]
            yield Case("changed predictions", changed(change), words)

    def records() -> Iterator[Case]:
        text = (finished.source / finished.path).read_text()
        digits = [match.start() for match in re.finditer(r"\d", text)]
        for _ in range(times):
            folder, position = finished.copy(), draw.choice(digits)
            other = str((int(text[position]) + draw.randrange(1, 10)) % 10)
            (folder / finished.path).write_text(text[:position] + other + text[position + 1 :])
            named = lambda ended: "" if finished.key in ended.out else "the damaged record is not named"  # noqa: E731
            yield Case(f"digit {position}", folder, ["report"], (1, 2), named)

    return [
        injected(place, "predictions changed, then scored", predictions()),
        injected(place, "digit of a record changed, then reported", records()),
    ]


# ---- one bad file is one bad file

TEXTS = (
    *("", "{", "[]", "5", "null", '"text"', "[" * 100_000, '{"a": 1, "a": 2}', '{"version": 99, "schema_version": 99}'),
    *('{"name": "\\ud800"}', '{"key": 5, "settings": 7, "tasks": [[1]]}', "\x00\xff"),
)
FILES = {
    "record": "results/records/0123456789abcdef/record.json",
    "search": "results/searches/x-01234567.json",
    "submission": "runs/slurm/20260101-000000-0000/array.json",
    "progress": "runs/{key}/progress.json",
    "failure note": "runs/{key}/failure.json",
}
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "record": (("report",), ("check",), ("status",), ("watch", "--once"), (*PREDICT, "{key}")),
    "search": (("report",), ("watch", "--once", "experiment=offline/search-cb")),
    "submission": (("status",), ("watch", "--once")),
    "progress": (("status",), ("watch", "--once")),
    "failure note": (("status",),),
}


def broken_files(place: Place, texts: Sequence[str] = TEXTS) -> list[Result]:
    """Each kind of file with each text that it must not have; then a trial whose own small files are broken."""
    finished = Finished(place, "broken files")

    def reading() -> Iterator[Case]:
        for kind, name in FILES.items():
            for number, text in enumerate(texts):
                folder = finished.copy()
                path = folder / name.format(key=finished.key)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text.encode("latin-1"))
                for words in COMMANDS[kind]:
                    yield Case(
                        f"{kind} {number}", folder, [word.format(key=finished.key) for word in words], codes=(0, 1)
                    )

    def training() -> Iterator[Case]:
        for number, text in enumerate(texts):
            folder = place.fresh("broken beside a trial")
            for name in ("progress.json", "lock"):
                (folder / "runs" / finished.key).mkdir(parents=True, exist_ok=True)
                (folder / "runs" / finished.key / name).write_bytes(text.encode("latin-1"))
            # A lock that says nothing may be of another machine: it is waited for, unless told otherwise.
            words = arguments(next(iter(TRIALS)), place.data, "trainer.if_running=skip")
            yield Case(f"text {number}", folder, words, codes=(0,))

    return [
        injected(place, "file of other content, read by a command", reading()),
        injected(place, "progress or lock of other content beside a trial", training()),
    ]


# ---- secrets, names

SECRETS = {"DEPLOY_PASS": "/no/such/path-pw", "REGISTRY_PAT": "pat-5521", "ANY_API_KEY": "k3y-of-8", "X_TOKEN": "t0k!"}


def secrets(place: Place) -> Result:
    """Values of secret variables in overrides and names: in no file and in nothing that is printed."""

    def cases() -> Iterator[Case]:
        for name, value in SECRETS.items():
            folder = place.fresh(f"secret {name}")

            def leaked(ended: Ended, folder: Path = folder, value: str = value) -> str:
                texts = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
                found = [str(path.relative_to(folder)) for path, text in texts.items() if value.encode() in text]
                return f"leaked into {', '.join(found)}" if found or value in ended.out else ""

            for words, codes in (
                (arguments(next(iter(TRIALS)), place.data, f"tracker.group='{value}'"), (0,)),
                (arguments(next(iter(TRIALS)), place.data, f"trainer.dtype='{value}'"), (2,)),
                (["plan", value], (2,)),
            ):
                yield Case(name, folder, words, codes, leaked, ((name, value),))

    return injected(place, "secret in an override or an error", cases())


HOSTILE = ("=1+1", "+1", "-1", "@x", "a\u202eb", "a\u200bb", "a\x1b[31mb", "<script>x</script>", "a|b", "a\nb", "%_{}$")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def names(place: Place) -> Result:
    """Names of tasks and models that a spreadsheet, a terminal or a browser would take for more than text."""
    finished = Finished(place, "names")

    def unsafe(folder: Path, ended: Ended) -> str:
        if _UNSEEN.search(ended.out):
            return "unseen characters on the terminal"
        for path in (folder / "results").rglob("*"):
            if path.suffix == ".csv":
                cells = [cell for row in csv.reader(path.read_text().splitlines()) for cell in row]
                if any(re.match(r"[=+@]|-[^\d.]", cell) for cell in cells):
                    return f"{path.name} has a formula"
            if path.suffix in (".md", ".html", ".csv", ".tex"):
                text = path.read_text(encoding="utf-8")
                if _UNSEEN.search(text) or (path.suffix != ".csv" and "<script>x" in text):
                    return f"{path.name} has unseen characters or a script"
        return ""

    def cases() -> Iterator[Case]:
        for text in HOSTILE:

            def rename(record: dict[str, Any], text: str = text) -> None:
                record["config"]["task"]["name"] = record["config"]["model"]["name"] = text
                record["config"]["experiment_name"] = f"{text}/cb"

            folder = finished.with_record(rename)
            yield Case(repr(text), folder, ["report"], (0, 1), lambda ended, folder=folder: unsafe(folder, ended))  # type: ignore[misc]

    return injected(place, "name that is a formula, markup or unseen", cases())


# ---- sentences, weights


def sentences(place: Place) -> Result:
    """Odd inputs of `predict`, odd numbers, `%` in a path."""
    finished = Finished(place, "sentences")
    rows = ("5", "[]", '"text"', '{"task": ["rte"]}', '{"task": "rte", "premise": 7, "hypothesis": null}', "{", "\x00")

    def cases() -> Iterator[Case]:
        for row in rows:
            folder = finished.copy()
            (folder / "inputs.jsonl").write_text(row + "\n")
            yield Case(row, folder, [*PREDICT, finished.key])
        folder = finished.copy()
        for size in ("0", "-3", "x"):
            yield Case(f"--batch-size {size}", folder, [*PREDICT, finished.key, "--batch-size", size])
        trial = next(iter(TRIALS))
        for word in (
            *("trainer.checkpoint_seconds=nan", "trainer.optimiser.learning_rate=inf", "task.limit.seed=-1"),
            *("trainer.optimiser.name=adamm", "method.name=p_tuning_v3", "task.metrics=[{name: acuracy}]"),
        ):
            yield Case(word, place.fresh("sentences trial"), arguments(trial, place.data, word))
        for words in (
            ["watch", "--every", "nan"],
            ["plan", "offline/cb", "--tflops", "nan"],
            ["mini", "--workers", "0"],
        ):
            yield Case(" ".join(words), folder, words)
        folder = place.fresh("50% of it")
        yield Case("% in a path", folder, arguments(trial, place.data, f"paths.runs_root={folder}/%d"), (0,))

    return injected(place, "input that is no input", cases())


def weights(place: Place) -> Result:
    """A model folder that lacks a tensor, has another shape, no tokenizer, NaN, or an index that leads out of it."""
    import torch
    from safetensors.torch import load_file, save_file

    from repro.models.families.family import family
    from repro.models.untrained.random_model import random_model
    from repro.sweeps.composing import composed

    config = composed({"model": "tiny-bert", "task": "rte", "method": "p_tuning_v2"}).model
    model, tokenizer = random_model(config, family(config.family), torch.float32, {})
    sound = place.fresh("weights")
    model.save_pretrained(sound)
    tokenizer.save_pretrained(sound)
    tensors = load_file(sound / "model.safetensors")
    layer = sorted(name for name in tensors if "layer.1." in name)

    def folder(kept: dict[str, torch.Tensor]) -> Path:
        made = place.fresh("weights changed")
        shutil.copytree(sound, made, dirs_exist_ok=True)
        save_file(kept, made / "model.safetensors", {"format": "pt"})
        return made

    def cases() -> Iterator[Case]:
        for name, kept in (
            ("a layer is missing", {name: tensor for name, tensor in tensors.items() if name not in layer}),
            ("another prefix", {f"x.{name}": tensor for name, tensor in tensors.items()}),
            ("another shape", tensors | {layer[0]: torch.zeros(3)}),
            ("NaN", tensors | {layer[0]: torch.full_like(tensors[layer[0]], torch.nan)}),
        ):
            made = folder(kept)
            yield Case(name, made, _with_model(place, made))
        made = folder(tensors)
        shutil.move(made / "model.safetensors", made.parent / "outside.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "../outside.safetensors")}
        (made / "model.safetensors.index.json").write_text(json.dumps(index))
        yield Case("an index that leads out", made, _with_model(place, made))
        made = folder(tensors)
        for path in [*made.glob("*token*"), *made.glob("vocab*")]:
            path.unlink()
        yield Case("no tokenizer", made, _with_model(place, made))

    return injected(place, "weights that are not the model's", cases())
