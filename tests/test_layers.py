"""Who may import whom, how large a piece may be, and what loads when: read from the source by AST."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "repro"
FILES = sorted(path for path in SOURCE.rglob("*.py"))

# The one table. Part of the package (first name below `repro`): what of ours it may import, at any level of its code.
# `x` stands for all of x, `x.y` for that module only; a part may always import itself. ANY: it wires everything.
ANY = "*"
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": {"masking"},
    "masking": set(),
    "saying": set(),
    "processes": {"errors", "saying"},
    "config": {"errors", "method_config", "task_config"},
    "method_config": set(),
    "task_config": set(),
    "methods_page": {"composing", "config", "errors", "method_config", "validation"},
    "metrics_page": {"composing", "metrics", "task_configs"},
    "rescoring": {"composing", "metrics", "store", "errors"},
    "stats": {"config", "errors"},
    "methods": {"config", "errors"},
    "metrics": {"config", "errors"},
    "papers": {"config", "errors"},
    "store": {"config", "errors", "masking"},
    "microworld": {"errors"},
    # microworld: a task of the small world is written when its files are first asked for.
    "tasks": {"metrics.base", "microworld", "task_config", "errors"},
    "models": {"methods.base", "methods.keyed_dropout", "tasks.base", "errors"},
    "training": {
        *("methods", "models", "store.files", "store.checkpoints", "store.progress", "errors", "saying"),
    },
    "evaluation": {"models", "tasks", "metrics", "methods.base"},
    "mini": set(),
    # from text to checkpoints: batches and models of `models`, the schema of conf/pretraining by `composing`.
    "pretraining": {"models", "training.checkpoint", "store.files", "microworld", "composing", "config", "errors"},
    # metrics: their `reduce` only, over statistics that records keep.
    "report": {"store", "papers", "search", "stats", "metrics", "config", "errors"},
    "search": {"store", "metrics", "config", "errors", "masking"},
    "provenance": {"__init__", "masking"},
    # report: its drawing, for the learning curve that a tracker shows.
    "tracking": {"store.record", "report", "errors", "masking"},
    "validation": {"config", "errors", "task_checks"},
    "task_checks": {"config", "errors"},
    "composing": {"config", "validation", "store.files", "errors"},
    "trial": {ANY},
    "runner": {ANY},
    "attempt": {ANY},
    "shared_trial": {ANY},
    "gangs": {ANY},
    "sweeps": {
        *(
            "composing",
            "config",
            "errors",
            "gangs",
            "jobs",
            "masking",
            "papers",
            "params",
            "prompts",
            "report",
            "runner",
            "saying",
            "search",
            "store",
        ),
        "validation",
    },
    # Trials as jobs of a cluster; a job runs them as `repro run` does.
    "jobs": {"composing", "config", "errors", "gangs", "report.summary", "runner", "store"},
    "cli": {
        *(
            "__init__",
            "composing",
            "config",
            "doctor",
            "errors",
            "jobs",
            "masking",
            "gangs",
            "methods_page",
            "metrics_page",
            "miniature",
            "params",
            "rescoring",
            "prompts",
            "papers",
            "processes",
            "report",
            "runner",
            "saying",
            "store",
            "sweeps",
            "tasks_page",
            "tracking",
        ),
        "validation",
    },
    "prompts": {ANY},
    "bench": {ANY},
    # `repro doctor`: looks at everything there is.
    "doctor": {ANY},
    "task_configs": {"composing", "config", "errors"},
    "microworld_page": {"metrics.base", "microworld", "runner", "task_configs", "tasks.base"},
    "tasks_page": {
        "composing",
        "config",
        "doctor.assets",
        "errors",
        "metrics",
        "papers",
        "runner",
        "task_configs",
        "tasks",
    },
    # `repro mini`: plans, runs, reports and compares.
    "miniature": {"composing", "errors", "papers.registry", "report", "runner", "stats", "store", "sweeps"},
    # `repro params`: what a method would train on a model, counted without weights.
    "params": {ANY},
}
# Library: the parts that may import it, at any level of their code. Others may import anything.
ONLY_IN: dict[str, set[str]] = {
    "transformers": {"models", "bench"},  # bench: the anchors that ours is timed against
    "tokenizers": {"models"},
    "torch": {
        *("methods", "models", "training", "evaluation", "trial", "runner", "params", "prompts", "doctor"),
        *("bench", "pretraining", "shared_trial"),
    },
    "safetensors": {"models", "training", "trial", "params", "prompts"},
    "datasets": {"tasks", "metrics"},  # metrics: the types of columns that `evaluate` asks for
    "hydra": {"cli", "composing", "jobs", "runner", "search", "rescoring", "sweeps", "params"},
    "omegaconf": {
        *("cli", "composing", "config", "method_config", "methods_page", "metrics_page", "rescoring", "sweeps"),
        *("params", "pretraining", "task_configs"),
    },
    "scipy": {"stats"},
    "matplotlib": {"report", "bench"},
    "wandb": {"tracking"},
    "tensorboard": {"tracking"},
    "optuna": {"search"},
    "submitit": {"jobs"},
}

MOST_LINES_OF_A_FUNCTION = 80
MOST_LINES_OF_A_FILE = 400
MOST_PUBLIC_METHODS = 8
NO_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "manager"}


@dataclass(frozen=True)
class Import:
    """One imported module, and where."""

    where: str
    part: str
    module: str


def part_of(path: Path) -> str:
    """The first name of a file below the package."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def _type_checking_only(tree: ast.AST) -> set[ast.AST]:
    """Nodes that only a type checker sees."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }


def imports_of(text: str, part: str, where: str, package: str) -> Iterator[Import]:
    """All imports of a file; of `from a import b` both a and a.b, since b may be a module."""
    tree = ast.parse(text)
    skipped = _type_checking_only(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            first = node.args[0]
            if isinstance(first, ast.JoinedStr) and isinstance(first.values[0], ast.Constant):
                names = [str(first.values[0].value).rstrip(".")]
            elif isinstance(first, ast.Constant):
                names = [str(first.value)]
        for name in names:
            yield Import(f"{where}:{node.lineno}", part, name)


@cache
def all_imports() -> list[Import]:
    found = []
    for path in FILES:
        package = ".".join(("repro", *path.relative_to(SOURCE).parts[:-1]))
        where = path.relative_to(SOURCE.parents[1]).as_posix()
        found += imports_of(path.read_text(encoding="utf-8"), part_of(path), where, package)
    return found


def offence(found: Import) -> str | None:
    """What is wrong with an import of one of ours, or None."""
    inner = found.module.removeprefix("repro").removeprefix(".")
    first = inner.split(".")[0] if inner and inner.split(".")[0] in MAY_IMPORT else "__init__"
    allowed = MAY_IMPORT[found.part]
    if first == found.part or ANY in allowed:
        return None
    if any(inner == name or inner.startswith(f"{name}.") or first == name for name in allowed):
        return None
    return f"{found.where}: {found.part} imports {found.module}; it may import {sorted(allowed) or 'nothing of ours'}"


def test_every_part_is_in_the_table() -> None:
    unknown = {part_of(path) for path in FILES} - set(MAY_IMPORT)
    assert not unknown, f"say in MAY_IMPORT of {__file__} what these may import"
    assert len(FILES) > 50


def test_each_part_imports_only_what_the_table_allows() -> None:
    ours = [found for found in all_imports() if found.module.split(".")[0] == "repro"]
    assert len(ours) > 100
    assert [said for found in ours if (said := offence(found))] == []


def test_libraries_stay_in_their_parts() -> None:
    wrong = [
        f"{found.where}: {found.part} imports {library}; only {', '.join(sorted(parts))} may"
        for library, parts in ONLY_IN.items()
        for found in all_imports()
        if found.module.split(".")[0] == library and found.part not in parts
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("part", "line", "bad"),
    [
        ("methods", "from repro.models.base import Backbone", True),
        ("methods", "def f():\n    import repro.store.files", True),
        ("methods", "from repro.errors import ConfigError", False),
        ("methods", "from repro.methods.heads import head_of", False),
        ("methods", "from .heads import head_of", False),
        ("methods", "from ..models import base", True),
        ("methods", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import repro.models", False),
        ("models", "from repro.methods.base import Injection", False),
        ("models", "from repro.methods import base", False),
        ("models", "from repro.methods.heads import head_of", True),
        ("models", "from repro.methods import heads", True),
        ("models", "from repro.config import ModelConfig", True),
        ("training", "from repro.store.files import write_atomic", False),
        ("training", "from repro.store.record import Record", True),
        ("evaluation", "import importlib\nimportlib.import_module('repro.trial')", True),
        ("report", "import repro.trial", True),
        ("report", "from repro import trial", True),
        ("config", "import repro", True),
        ("store", "from repro.papers import registry", True),
        ("runner", "import repro.trial", False),
    ],
)
def test_the_checker_itself(part: str, line: str, bad: bool) -> None:
    found = list(imports_of(line, part, "somewhere.py", f"repro.{part}"))
    ours = [one for one in found if one.module.split(".")[0] == "repro"]
    said = [text for one in ours if (text := offence(one))]
    assert bool(said) == bad
    assert all(re.match(r"somewhere\.py:\d+: ", text) for text in said)


def test_no_function_no_file_and_no_class_is_too_large() -> None:
    wrong, counted = [], 0
    for path in FILES:
        where = path.relative_to(SOURCE.parents[1]).as_posix()
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n") + (not text.endswith("\n"))
        if lines > MOST_LINES_OF_A_FILE:
            wrong.append(f"{where}:1: {lines} lines, at most {MOST_LINES_OF_A_FILE}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                counted += 1
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                length = (node.end_lineno or first) - first + 1
                if length > MOST_LINES_OF_A_FUNCTION:
                    wrong.append(f"{where}:{first}: {node.name} has {length} lines, at most {MOST_LINES_OF_A_FUNCTION}")
            elif isinstance(node, ast.ClassDef):
                public = [
                    item.name
                    for item in node.body
                    if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_")
                ]
                if len(public) > MOST_PUBLIC_METHODS:
                    wrong.append(f"{where}:{node.lineno}: {node.name} has {len(public)} public methods: {public}")
    assert counted > 200
    assert wrong == []


def test_no_file_is_a_drawer_for_everything() -> None:
    assert [path for path in FILES if path.stem in NO_NAMES or path.parent.name in NO_NAMES] == []


def test_nothing_heavy_loads_before_a_trial(python: Callable[..., Any], tmp_path: Path) -> None:
    code = """
import contextlib, io, json, sys
heavy = ("torch", "transformers", "datasets")
seen = {}
def look(name):
    seen[name] = [module for module in heavy if module in sys.modules]
import repro; look("import repro")
light = sorted({"hydra", "omegaconf", "numpy", "scipy"} & set(sys.modules))
import repro.report.compare; look("import repro.report.compare")
import repro.report.files, repro.report.terminal, repro.report.summary
import repro.stats, repro.papers.registry, repro.store.store
look("report, stats, papers, store")
import repro.config, repro.validation, repro.composing, repro.runner, repro.tracking, repro.provenance, repro.gangs
look("config, validation, runner")
from repro.cli import main
for arguments in (["--help"], ["--version"], ["report", "--help"], ["run", "--cfg", "job"], ["run", "--help"]):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    look(" ".join(arguments))
    assert code in (0, None) and printed.getvalue(), arguments
print(json.dumps([seen, light]))
"""
    done = python("-c", code)
    assert done.code == 0, done.err
    seen, light = json.loads(done.out.splitlines()[-1])
    assert len(seen) == 9 and not any(seen.values()), seen
    assert light == []  # `import repro` itself loads none of these either


def test_help_and_import_are_quick(python: Callable[..., Any]) -> None:
    """CPU seconds beyond a bare interpreter's: they mean the same on a busy machine."""
    clock = "import resource; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"
    programs = {
        "bare": clock,
        "import": f"import repro; {clock}",
        "help": f"from repro.cli import main; main(['--help']); {clock}",
    }
    seconds = {
        name: min(float(python("-c", text).out.splitlines()[-1]) for _ in range(3)) for name, text in programs.items()
    }
    assert seconds["import"] - seconds["bare"] < 0.5, seconds
    assert seconds["help"] - seconds["bare"] < 0.5, seconds


def test_import_repro_takes_less_than_half_a_second_of_wall_time(python: Callable[..., Any]) -> None:
    code = "import time; t = time.perf_counter(); import repro, repro.cli; print(time.perf_counter() - t)"
    assert min(float(python("-c", code).out) for _ in range(3)) < 0.5
