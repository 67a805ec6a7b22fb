"""Who may import whom, how large a piece may be, and what loads when: read from the source by AST."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "repro"
FILES = sorted(path for path in SOURCE.rglob("*.py"))

# The floors, from the top. A room imports only from floors below its own, or from itself; no room is exempt.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("sweeps", "inference", "doctor"),
    ("trials",),
    ("training", "evaluation", "report", "tracking"),
    ("models", "papers"),
    ("tasks", "store"),
    ("config",),
    ("methods", "metrics"),
    ("errors", "registry", "__init__"),
)
MOST_FLOORS = 9
"""`__main__` and `cli` are one floor: the first is the one line that calls the second."""
FLOOR = {room: len(FLOORS) - number for number, rooms in enumerate(FLOORS) for room in rooms}
# Library: the parts that may import it, at any level of their code. Others may import anything.
ONLY_IN: dict[str, set[str]] = {
    "transformers": {"models"},
    "tokenizers": {"models"},
    "torch": {"methods", "models", "training", "evaluation", "trials", "inference", "doctor"},
    "safetensors": {"models", "training", "trials", "inference"},
    "datasets": {"tasks", "metrics"},  # metrics: the types of columns that `evaluate` asks for
    "hydra": {"cli", "config", "trials", "sweeps", "evaluation"},
    "omegaconf": {"cli", "config", "trials", "sweeps", "evaluation"},
    "scipy": {"papers"},
    "matplotlib": {"report"},
    "wandb": {"tracking"},
    "tensorboard": {"tracking"},
    "optuna": {"sweeps", "store"},
}

MOST_LINES_OF_A_FUNCTION = 80
MOST_LINES_OF_A_FILE = 400
MOST_PUBLIC_METHODS = 8
MOST_ANY = 8
"""In 1,000 lines, imports of the name included."""
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


def room_of(module: str) -> str:
    """The room of a dotted name of ours; `repro.__version__` and the like are of `__init__`."""
    first = module.removeprefix("repro").removeprefix(".").split(".")[0]
    return first if first in FLOOR else "__init__"


def offence(found: Import) -> str | None:
    """What is wrong with an import of one of ours, or None."""
    room = room_of(found.module)
    if room == found.part or FLOOR[room] < FLOOR[found.part]:
        return None
    return f"{found.where}: {found.part} imports {found.module}, which is not on a lower floor"


def test_every_room_has_its_floor_and_only_rooms_stand_at_the_top():
    assert {part_of(path) for path in FILES} == set(FLOOR)
    assert {path.stem for path in SOURCE.glob("*.py")} == {"__init__", "__main__", "errors"}
    assert len(FLOORS) - 1 <= MOST_FLOORS
    assert len(FILES) > 50


def test_every_import_goes_down():
    ours = [found for found in all_imports() if found.module.split(".")[0] == "repro"]
    assert len(ours) > 100
    assert [said for found in ours if (said := offence(found))] == []


def test_no_module_imports_itself_through_others():
    modules = {
        ".".join(("repro", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__") for path in FILES
    }
    below: dict[str, set[str]] = {name: set() for name in modules}
    for found in all_imports():
        here = ".".join(Path(found.where.partition(":")[0]).with_suffix("").parts[1:]).removesuffix(".__init__")
        name = found.module
        while name and name not in modules:
            name = name.rpartition(".")[0]
        if name not in ("", "repro", here):
            below[here].add(name)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for name in below[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        return seen

    assert [name for name in sorted(modules) if name in reached(name)] == []


def test_libraries_stay_in_their_parts():
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
        ("methods", "from repro.models.backbone import Backbone", True),
        ("methods", "def f():\n    import repro.store.files", True),
        ("methods", "from repro.errors import ConfigError", False),
        ("methods", "from repro.methods.parts.heads import head_of", False),
        ("methods", "from .heads import head_of", False),
        ("methods", "from ..models import backbone", True),
        ("methods", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import repro.models", False),
        ("models", "from repro.methods.base import Injection", False),
        ("models", "from repro.papers import registry", True),
        ("evaluation", "import importlib\nimportlib.import_module('repro.trials.run')", True),
        ("report", "import repro.trials.run", True),
        ("report", "from repro import trials", True),
        ("config", "import repro", False),
        ("store", "from repro.papers import registry", True),
        ("trials", "import repro.training.loop", False),
        ("sweeps", "from repro.inference import ensemble", True),
    ],
)
def test_the_checker_itself(part, line, bad):
    found = list(imports_of(line, part, "somewhere.py", f"repro.{part}"))
    ours = [one for one in found if one.module.split(".")[0] == "repro"]
    said = [text for one in ours if (text := offence(one))]
    assert bool(said) == bad
    assert all(re.match(r"somewhere\.py:\d+: ", text) for text in said)


def test_no_function_no_file_and_no_class_is_too_large():
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


def test_the_type_any_is_rare() -> None:
    texts = [path.read_text(encoding="utf-8") for path in FILES]
    lines = sum(text.count("\n") for text in texts)
    assert sum(len(re.findall(r"\bAny\b", text)) for text in texts) <= MOST_ANY * lines / 1000


def test_the_config_tree_and_the_pages_stay_small():
    """At most 400 files of configs and 20,000 words of docs."""
    assert len(list((ROOT / "conf").rglob("*.yaml"))) <= 400
    assert sum(len(path.read_text(encoding="utf-8").split()) for path in (ROOT / "docs").glob("*.md")) <= 20_000


def test_no_file_is_a_drawer_for_everything():
    assert [path for path in FILES if path.stem in NO_NAMES or path.parent.name in NO_NAMES] == []


def test_nothing_heavy_loads_before_a_trial(python, tmp_path):
    code = """
import contextlib, io, json, sys
heavy = ("torch", "transformers", "datasets")
seen = {}
def look(name):
    seen[name] = [module for module in heavy if module in sys.modules]
import repro; look("import repro")
light = sorted({"hydra", "omegaconf", "numpy", "scipy"} & set(sys.modules))
import repro.report.compare.compare; look("import repro.report.compare.compare")
import repro.report.pages.write, repro.report.pages.terminal, repro.report.pages.trial_summary
import repro.papers.statistics, repro.papers.registry, repro.store.store
look("report, stats, papers, store")
import repro.config.schema, repro.config.rules, repro.config.compose, repro.trials.run
import repro.tracking, repro.trials.provenance, repro.sweeps.executors.joint
look("config, validation, runner")
from repro.cli.main import main
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


def test_help_and_import_are_quick(python):
    """CPU seconds beyond a bare interpreter's: they mean the same on a busy machine."""
    clock = "import resource; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"
    programs = {
        "bare": clock,
        "import": f"import repro; {clock}",
        "help": f"from repro.cli.main import main; main(['--help']); {clock}",
    }
    seconds = {
        name: min(float(python("-c", text).out.splitlines()[-1]) for _ in range(3)) for name, text in programs.items()
    }
    assert seconds["import"] - seconds["bare"] < 0.5, seconds
    assert seconds["help"] - seconds["bare"] < 0.5, seconds


def test_import_repro_takes_less_than_half_a_second_of_wall_time(python):
    code = "import time; t = time.perf_counter(); import repro, repro.cli.main; print(time.perf_counter() - t)"
    assert min(float(python("-c", code).out) for _ in range(3)) < 0.5
