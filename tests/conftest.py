"""What several test files share: made-up data in the official formats, composed trials, commands and real processes.

Nothing here but the order of tests applies by itself: a test asks for a fixture by its name.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import gzip
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports transformers or datasets

# rouge-score brings absl, whose log handler keeps the stream of the moment it is imported in and closes it when Hydra
# sets up its own handlers: under pytest that would be the captured one, which all later tests write to.
with contextlib.suppress(ImportError):
    from absl import logging as absl_logging

    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

# Every full collection walks all objects of the libraries: with rarer ones, tests take a twentieth to a tenth less.
gc.set_threshold(50_000, 20, 50)

ROOT = Path(__file__).resolve().parents[1]
ROWS = {"train": 8, "validation": 6, "test": 4}

QUICK = (
    "task.source=local",
    *("task.check_rows=false", "task.max_input_length=48", "task.max_target_length=8", "task.also_metrics=[]"),
    *("task.decoding.beams=1", "task.decoding.max_new_tokens=4", "task.decoding.min_new_tokens=0"),
    *("trainer.epochs=null", "trainer.steps=2", "trainer.batch_size=4", "trainer.evaluate_every=2"),
    *("trainer.device=cpu",),
)
"""Overrides that let any tiny model finish a trial in a moment."""


FIRST = (
    *("tests/sweeps/miniature/test_short.py", "tests/sweeps/slurm/test_on_slurm.py", "tests/training/test_sharding.py"),
    *("tests/scripts/test_faults.py", "tests/sweeps/", "tests/config/test_conf.py"),
)
"""Slow tests and fixtures first, so that no process has them left at the end; then the tests that compose the same
trials, which a process keeps (repro.sweeps.composing), beside each other."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort by FIRST; within equals the order stays."""

    def rank(item: pytest.Item) -> int:
        return next((number for number, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))

    items.sort(key=rank)


# Made-up data --------------------------------------------------------------------------------------------------------


def _sentence_pair(task: Mapping[str, Any], split: str, number: int) -> str:
    options = task["options"]
    kind = options.get("label_type", "name")
    rows = []
    for i in range(number):
        row: dict[str, Any] = {name: f"{name} {i} is {'red' if i % 2 else 'blue'}." for name in options["text_fields"]}
        label = i % len(task["labels"])
        values = {"name": task["labels"][label], "boolean": bool(label), "index": label, "digit": str(label)}
        hidden = split == "test" and task["report_split"] != "test"
        rows.append(row | ({} if hidden else {"label": values[kind]}) | {"idx": i})
    file = (options.get("files") or {}).get(split, ".jsonl")
    if file.endswith(".jsonl"):
        return "".join(json.dumps(row) + "\n" for row in rows)
    named = [{(options.get("columns") or {}).get(name, name): value for name, value in row.items()} for row in rows]
    if file.endswith(".json"):
        return json.dumps(dict(enumerate(named)))
    held_out = options.get("validation_list") or {}
    named = [dict.fromkeys(held_out.get("columns", ()), i) | row for i, row in enumerate(named)]
    return "".join("\t".join(map(str, line)) + "\n" for line in (named[0], *(row.values() for row in named)))


def _copa(task: Mapping[str, Any], split: str, number: int) -> str:
    rows = []
    for i in range(number):
        row: dict[str, Any] = {"premise": f"Ann fell {i}.", "choice1": "She slipped.", "choice2": "She sang."}
        row |= {"question": ("cause", "effect")[i % 2], "idx": i} | ({} if split == "test" else {"label": i % 2})
        rows.append(json.dumps(row))
    return "\n".join(rows) + "\n"


def _multirc(task: Mapping[str, Any], split: str, number: int) -> str:
    lines = []
    for i in range(number // 2):  # two answers each
        answers = [{"text": text, "idx": 2 * i + j} for j, text in enumerate((f"Ann <b>{i}</b>", "Lee"))]
        labels = [{}, {}] if split == "test" else [{"label": i % 2}, {"label": 1}]
        answers = [answer | label for answer, label in zip(answers, labels, strict=True)]
        questions = [{"question": f"Who ran {i}?", "idx": i, "answers": answers}]
        lines.append({"idx": i, "passage": {"text": f"Ann ran {i}.<br>Lee sat.", "questions": questions}})
    return "".join(json.dumps(line) + "\n" for line in lines)


def _record(task: Mapping[str, Any], split: str, number: int) -> str:
    lines = []
    for i in range(number):
        entities = [{"start": 0, "end": 2}, {"start": 9, "end": 11}] + [{"start": 0, "end": 2}] * (i % 2)
        answer = {"start": 0, "end": 2, "text": ("Ann", "Lee")[i % 2]}
        asked = {"query": f"@placeholder sat {i}.", "idx": i} | ({} if split == "test" else {"answers": [answer]})
        text = f"Ann beat Lee.\n@highlight\nIt was day {i}"
        lines.append({"idx": i, "source": "made", "passage": {"text": text, "entities": entities}, "qas": [asked]})
    return "".join(json.dumps(line) + "\n" for line in lines)


def _wsc(task: Mapping[str, Any], split: str, number: int) -> str:
    lines = []
    for i in range(number):
        spans = {"span1_index": 0, "span1_text": ("Ann", "Lee")[i % 2], "span2_index": 4, "span2_text": "she"}
        row = {"text": f"Ann told Lee that she won {i} times.", "target": spans, "idx": i}
        lines.append(row | ({} if split == "test" else {"label": i % 2 == 0}))
    return "".join(json.dumps(line) + "\n" for line in lines)


def _tagging(task: Mapping[str, Any], split: str, number: int) -> str:
    options = task["options"]
    separator, column = options.get("separator", " "), options.get("token_column", 0)
    starts = [tag for tag in task["labels"] if tag.startswith("B-")] or ["B-One", "B-Two"]
    sentences = []
    for i in range(number):
        start = starts[i % len(starts)]
        inside = start.replace("B-", "I-")
        pairs = [("Ann", start), ("Lee", inside), (f"ran{i}", "O"), ("home", "O")]
        if task["labels"] and inside not in task["labels"]:
            pairs = [(word, tag if tag != inside else "O") for word, tag in pairs]
        rows = [["-"] * column + [word, "-", tag] for word, tag in pairs]
        sentences.append("".join(separator.join(row) + "\n" for row in rows) + "\n")
    return "".join(sentences)


def _semantic_roles(task: Mapping[str, Any], split: str, number: int) -> str:
    roles = ("A0", "A1") if not task["labels"] or "B-A0" in task["labels"] else ("ARG0", "ARG1")
    lines = []
    for i in range(number):
        role = roles[i % 2]
        lines.append(f"2 Ann Lee ran home{i} ||| B-{role} I-{role} B-V O\n")
    return "".join(lines)


def _table_to_text(task: Mapping[str, Any], split: str, number: int) -> str:
    # Two texts an input, as in the official files.
    return "".join(
        f"name : Inn {i // 2} | Type : pub||Inn {i // 2} is a {'pub' * (i % 2 + 1)} . \n" for i in range(number)
    )


def _records(task: Mapping[str, Any], split: str, number: int) -> str:
    rows = [
        {
            "source": f"name : Inn {i} | kind : inn",
            "texts": [f"Inn {i} is an inn."],
            "subset": ("seen", "unseen")[i % 2],
        }
        for i in range(number)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _question_answering(task: Mapping[str, Any], split: str, number: int) -> str:
    options = task["options"]
    questions: list[dict[str, Any]] = []
    for i in range(number):
        name = f"Ann{i}"
        context = f"The runner {name} won {i + 3} times."
        answers = [{"text": name, "answer_start": 11}, {"text": f"runner {name}", "answer_start": 4}]
        if options.get("unanswerable") and i % 3 == 2:
            answers = []
        questions.append({"context": context, "id": f"{split}-{i}", "question": f"Who won {i}?", "answers": answers})
    if not (options.get("files") or {}).get(split, "").endswith((".jsonl", ".jsonl.gz")):
        paragraphs = [{"context": q.pop("context"), "qas": [q]} for q in questions]
        return json.dumps({"version": "1", "data": [{"title": "Runs", "paragraphs": paragraphs}]})
    lines: list[dict[str, Any]] = [{"header": {"dataset": "Made", "split": "dev"}}]
    for q in questions:
        texts = [answer["text"] for answer in q["answers"]]
        detected = [{"text": texts[0], "char_spans": [[11, 10 + len(texts[0])]], "token_spans": [[2, 2]]}]
        qas = [{"qid": q["id"], "question": q["question"], "answers": texts, "detected_answers": detected}]
        lines.append({"context": q["context"], "qas": qas})
    return "".join(json.dumps(line) + "\n" for line in lines)


def _facts(task: Mapping[str, Any], split: str, number: int) -> str:
    return "".join(json.dumps({"sub_label": f"Ann {i}", "obj_label": "ny"[i % 2]}) + "\n" for i in range(number))


def _webnlg(task: Mapping[str, Any], split: str, number: int) -> str:
    entries = []
    for i in range(number):
        triples = [{"subject": f"Inn_{i}", "property": "city", "object": '"York"'}]
        triples += [{"subject": f"Inn_{i}", "property": "kind", "object": "Pub"}] * (i % 2)
        texts = [{"lex": f"Inn {i} is in York.", "comment": "good"}, {"lex": f"York has Inn {i}.", "comment": "toFix"}]
        category = ("Food", "Artist")[i % 2] if split == "test" else "Food"
        entry = {"category": category, "modifiedtripleset": triples, "lexicalisations": texts[: i % 2 + 1]}
        entries.append({str(i + 1): entry})
    return json.dumps({"entries": entries})


def _dart(task: Mapping[str, Any], split: str, number: int) -> str:
    # Every other entry has the triples of the one before it, as in the official files.
    entries = []
    for i in range(number):
        triples = [[f"Inn {i // 2}", "CITY", "York"]]
        texts = [{"source": "made", "text": f"Inn {i // 2} is in York, {i}."}] * (i % 3 + 1)
        entries.append({"tripleset": triples, "annotations": texts})
    return json.dumps(entries)


def _xsum(task: Mapping[str, Any], split: str, number: int) -> dict[str, str]:
    if task["options"].get("layout", "lines") == "lines":
        name = {"validation": "val"}.get(split, split)
        sources = "".join(f"The inn number {i} burnt down. Nobody was hurt.\n" for i in range(number))
        return {f"{name}.source": sources, f"{name}.target": "".join(f"Inn {i} burnt.\n" for i in range(number))}
    pages = ("news/uk-england-1", "news/business-2", "sport/football/3", "news/technology-4")
    ids = {one: [f"{place}{i}" for i in range(rows)] for place, (one, rows) in enumerate(ROWS.items(), 1)}
    files = {"XSum-TRAINING-DEV-TEST-SPLIT-90-5-5.json": json.dumps(ids)}
    for i, name in enumerate(ids[split]):
        sections = {"URL": f"http://www.bbc.co.uk/{pages[i % 4]}", "TITLE": "Inn", "FIRST-SENTENCE": f"Inn {i} burnt."}
        sections["RESTBODY"] = f"The inn number {i} burnt down.\n\nNobody was hurt."
        text = "".join(f"[SN]{marker}[SN]\n{words}\n\n" for marker, words in sections.items())
        files[f"bbc-summary-data/{name}.summary"] = text
    return files


def _running_text(task: Mapping[str, Any], split: str, number: int) -> str:
    return "".join(f"Ann walked to the inn number {i} and back again.\n" for i in range(number * 20))


Writer = Callable[[Mapping[str, Any], str, int], str | dict[str, str]]
WRITERS: dict[str, Writer] = {
    "sentence_pair": _sentence_pair,
    "copa": _copa,
    "multirc": _multirc,
    "record": _record,
    "wsc": _wsc,
    "prefix_lm": _running_text,
    "tagging": _tagging,
    "semantic_roles": _semantic_roles,
    "lama": _facts,
    "question_answering": _question_answering,
    "webnlg": _webnlg,
    "dart": _dart,
    "xsum": _xsum,
    "records_to_text": _records,
    "table_to_text": _table_to_text,
}
"""Kind of task: what writes a split of it, or several files by name."""


def write_data(task: Mapping[str, Any], folder: Path) -> None:
    """A few rows of every split of a task (its resolved config), in the format of the official files."""
    from repro.tasks.registry import task_kind

    if task["kind"] not in WRITERS:
        pytest.fail(f"tests/conftest.py cannot make up data for the kind {task['kind']}: add a writer to WRITERS.")
    write, defaults = WRITERS[task["kind"]], task_kind(task["kind"]).files  # type: ignore[attr-defined]
    files = {split: name.replace("*", "a") for split, name in defaults.items()}
    files |= task["options"].get("files") or {}
    folder.mkdir(parents=True, exist_ok=True)
    if "vocabulary" in task["options"]:  # LAMA's, beside its facts
        tokens = {task["options"]["vocabulary_name"]: ["n", "y", "z"]}
        (folder / task["options"]["vocabulary"]).write_text(json.dumps(tokens), encoding="utf-8")
    for split, number in ROWS.items():
        if split == "validation" and files[split] == files["train"]:
            continue  # it is taken out of the other
        text = write(task, split, number)
        for name, content in (text if isinstance(text, dict) else {files[split]: text}).items():
            path, data = folder / name, content.encode("utf-8")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    held_out = task["options"].get("validation_list") or {}
    if held_out.get("ids"):
        lines = ("\t".join([str(row)] * len(held_out["columns"])) + "\n" for row in range(ROWS["validation"] // 2))
        (folder / held_out["ids"]).write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made-up data for every file of conf/task, where `paths.data_root` makes it look."""
    from omegaconf import OmegaConf

    from repro.config.schema import TaskConfig

    root = tmp_path_factory.mktemp("data")
    for path in sorted((ROOT / "conf" / "task").glob("*.yaml")):
        if "defaults" in OmegaConf.load(path):
            continue  # a mixture: its parts have files of their own
        node = {"paths": {"data_root": str(root)}, "task": OmegaConf.merge(TaskConfig, OmegaConf.load(path))}
        task: Any = OmegaConf.to_container(OmegaConf.create(node), resolve=True)
        write_data(task["task"], Path(task["task"]["data_dir"]))
    return root


@pytest.fixture
def own_data(data_root: Path, tmp_path: Path) -> Path:
    """A copy of the made-up data that a test may damage."""
    import shutil

    return Path(shutil.copytree(data_root, tmp_path / "own_data"))


# Configs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def composed() -> Callable[..., Any]:
    """composed(*overrides) -> DictConfig: as `repro run` composes it (`hydra=True`: with Hydra's own node)."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from repro.config import compose

    compose.register()

    def make(*overrides: str, hydra: bool = False) -> Any:
        with initialize_config_dir(config_dir=str(compose.conf_dir()), version_base="1.3"):
            return hydra_compose("config", overrides=list(overrides), return_hydra_config=hydra)

    return make


@pytest.fixture(scope="session")
def altered(composed: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """altered(*overrides) -> the resolved config that Hydra gives for a trial without a recipe, a hundred times faster.

    Every file of method, model and task is composed once; plain values are set in a copy. See test_config.
    """
    import yaml

    from repro.config.compose import note_start
    from repro.config.schema import TrialConfig
    from tests.nested import resolved

    neutral = {"method": "p_tuning_v2", "model": "tiny-bert", "task": "rte"}  # no recipe is for a tiny model
    root = "<data_root>"

    @cache
    def whole(group: str, name: str) -> dict[str, Any]:
        choices = neutral | {group: name}
        return resolved(composed(*(f"{key}={value}" for key, value in choices.items()), f"paths.data_root='{root}'"))

    def as_before(value: Any, before: Any) -> Any:
        """The schema turns 1 into 1.0 or "1" where it wants a float or a text."""
        if isinstance(before, str | float) and not isinstance(before, bool) and value is not None:
            return type(before)(value)
        return float(value) if isinstance(value, str) and re.fullmatch(r"\d+e-?\d+", value) else value

    def make(*overrides: str) -> dict[str, Any]:
        given = dict(text.split("=", 1) for text in overrides)
        plain = copy.deepcopy(whole("method", neutral["method"]))
        for group, usual in neutral.items():
            plain[group] = copy.deepcopy(whole(group, given.pop(group, usual))[group])
        for key, text in given.items():
            *parents, last = key.split(".")
            node = plain
            for parent in parents:
                node = node[parent]
            node[last] = as_before(yaml.safe_load(text), node[last])
        if plain["paths"]["data_root"] == root:
            plain["paths"]["data_root"] = "data"
        for task in (plain["task"], *plain["task"]["parts"].values()):
            task["data_dir"] = task["data_dir"].replace(root, plain["paths"]["data_root"])
        if plain["method"]["start_from"]:
            config = TrialConfig.from_dict(plain)
            note_start(config.method)
            return config.to_dict()
        return plain

    return make


@pytest.fixture
def quick(altered: Callable[..., dict[str, Any]], data_root: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """quick(*overrides) -> resolved config of a two-step trial on made-up data that writes into the test's folder."""

    def make(*overrides: str) -> dict[str, Any]:
        places = (f"paths.data_root={data_root}", f"paths.results_root={tmp_path}/results")
        return altered(*places, f"paths.runs_root={tmp_path}/runs", *QUICK, *overrides)

    return make


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Matrices of 32 columns gain nothing from threads, and on a busy machine threads that wait for each other lose."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Commands ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Called:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Called]]:
    """cli(*arguments) -> Called: the command line in this process, in the test's folder."""
    from repro.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # `run` sets it: undone with the rest
    for name in ("REPRO_DATA_ROOT", "REPRO_RESULTS_ROOT", "REPRO_RUNS_ROOT"):
        monkeypatch.delenv(name, raising=False)
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level

    def call(*arguments: str) -> Called:
        capsys.readouterr()
        code = main(list(arguments))
        printed = capsys.readouterr()
        return Called(code, printed.out, printed.err)

    yield call
    logger.handlers[:], _ = handlers, logger.setLevel(level)  # Hydra's handlers write to this test's streams


@pytest.fixture
def trial_arguments(data_root: Path) -> Callable[..., list[str]]:
    """trial_arguments(*overrides, method=) -> overrides of a quick trial of tiny-bert on made-up RTE."""

    def make(*overrides: str, method: str = "p_tuning_v2") -> list[str]:
        return [f"method={method}", "model=tiny-bert", "task=rte", f"paths.data_root={data_root}", *QUICK, *overrides]

    return make


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of repro or Hydra."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("REPRO_", "HYDRA_", "PYTEST_", "PYTHONHASHSEED"))}
    return kept | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"} | more


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Called]:
    """python(*arguments, cwd=, text=, **environment) -> Called: a fresh interpreter, in the test's folder."""

    def call(*arguments: str, cwd: Path = tmp_path, text: str | None = None, **more: str) -> Called:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=clean_environment(**more),
            input=text,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Called(done.returncode, done.stdout, done.stderr)

    return call


# Real processes ------------------------------------------------------------------------------------------------------

_STEM = """
import json, os, runpy, signal, sys
import hydra, safetensors.torch, torch, transformers
import transformers.models.bert.modeling_bert
import repro.cli.main, repro.report.pages.trial_summary, repro.trials.run, repro.trials.prepared
torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
        _, status = os.waitpid(request["wait"], 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    os.chdir(request["cwd"])
    for descriptor, path in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = open(0)
    sys.argv = ["repro", *request["arguments"]]
    if request["code"] is not None:
        os.environ.clear()
        os.environ.update(request["environment"])
    code = 1
    try:
        if request["code"] is None:
            runpy.run_module("repro", run_name="__main__")
        else:
            exec(request["code"], {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
"""
"""Imports torch once, then forks for every command: a process like any other, without 10 s of imports."""


@dataclass
class Process:
    """A running `python -m repro ...`."""

    stem: subprocess.Popen[str]
    pid: int
    out: Path
    err: Path

    def wait_for(self, seen: Callable[[], bool], seconds: float = 120.0) -> None:
        """Until `seen()`; fails with what the process printed."""
        end = time.monotonic() + seconds
        while not seen():
            if time.monotonic() > end:
                pytest.fail(f"waited {seconds:g} s: {self.out.read_text()} {self.err.read_text()}")
            time.sleep(0.005)

    def printed(self, text: str) -> bool:
        """Whether the text is in its standard error."""
        return self.err.is_file() and text in self.err.read_text()

    def end(self) -> Called:
        """Wait for its end."""
        return Called(int(_ask(self.stem, {"wait": self.pid})), self.out.read_text(), self.err.read_text())


def _ask(stem: subprocess.Popen[str], request: Mapping[str, Any]) -> str:
    assert stem.stdin is not None and stem.stdout is not None
    stem.stdin.write(json.dumps(request) + "\n")
    stem.stdin.flush()
    return stem.stdout.readline()


@pytest.fixture(scope="session")
def _stem(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    errors = tmp_path_factory.mktemp("stem") / "stderr"
    with errors.open("w") as stream:
        stem = subprocess.Popen(
            [sys.executable, "-c", _STEM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            env=clean_environment(),
            text=True,
        )
    assert stem.stdout is not None
    assert stem.stdout.readline() == "ready\n", errors.read_text()
    yield stem
    assert stem.stdin is not None
    stem.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        stem.wait(10)
    stem.kill()
    stem.wait()
    stem.stdout.close()


@pytest.fixture
def start(_stem: subprocess.Popen[str], tmp_path: Path) -> Callable[..., Process]:
    """start(*arguments, cwd=, code=) -> Process: `python -m repro *arguments` in a process of its own.

    With `code` that is run instead, in this process's environment, as `python -c` would.
    """
    count = iter(range(1000))

    def begin(*arguments: str, cwd: Path = tmp_path, code: str | None = None) -> Process:
        number = next(count)
        out, err = tmp_path / f"process-{number}.out", tmp_path / f"process-{number}.err"
        request = {"cwd": str(cwd), "arguments": list(arguments), "out": str(out), "err": str(err), "code": code}
        request |= {"environment": dict(os.environ)} if code is not None else {}
        return Process(_stem, int(_ask(_stem, request)), out, err)

    return begin
