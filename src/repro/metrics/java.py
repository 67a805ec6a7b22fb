"""The Java parts of METEOR and of the PTB tokeniser: where they are, and what to do when they are not.

Both jars and METEOR's paraphrase table come in the Python package pycocoevalcap 1.2 (extra `generation-metrics`); the
files are those of e2e-metrics. Nothing of the package's Python code is used.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from repro.errors import MetricUnavailable

METEOR_JAR = "meteor/meteor-1.5.jar"
PARAPHRASES = "meteor/data/paraphrase-en.gz"
TOKENISER_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"


def java() -> str | None:
    """The Java program: of $JAVA_HOME, else on the path; None if there is none."""
    home = os.environ.get("JAVA_HOME")
    own = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    return own or shutil.which("java")


def jar(name: str) -> Path | None:
    """A file of pycocoevalcap; None if the package or the file is not there. The package is not imported."""
    found = importlib.util.find_spec("pycocoevalcap")
    places = list(found.submodule_search_locations or []) if found else []
    return next((path for place in places if (path := Path(place) / name).is_file()), None)


def missing(*files: str) -> str | None:
    """What keeps a Java metric from running here, and the fix; None if all is there.

    Args:
        files: files of pycocoevalcap that it needs.
    """
    said = []
    if java() is None:
        said.append("there is no `java` on this machine (install a Java runtime, 8 or newer, or set JAVA_HOME)")
    if absent := [name for name in files if jar(name) is None]:
        said.append(
            f"the package pycocoevalcap with {', '.join(absent)} is missing "
            "(pip install 'repro[generation-metrics]', 100 MB)"
        )
    return " and ".join(said) or None


def command(name: str, *options: str) -> list[str]:
    """`java` with UTF-8 and English rules whatever the machine's locale is, the options, and the jar on its class path.

    Raises:
        MetricUnavailable: Java or the jar is missing.
    """
    program, path = java(), jar(name)
    if program is None or path is None:
        raise MetricUnavailable(f"{missing(name)}.")
    return [program, "-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US", *options, "-cp", str(path)]


def one_line(text: str) -> str:
    """A text without anything that either program takes for the end of a line."""
    return " ".join(text.replace("\0", " ").splitlines())
