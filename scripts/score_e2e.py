"""Time and values of the five E2E metrics on the E2E test set: `python scripts/score_e2e.py DATA/e2e/src1_test.txt`.

There is no system's output in the data, so the first reference of each input stands for one; it is scored against the
others (against itself where there is only one). The values say nothing about any system; the time is that of a trial's
report.
"""

import sys
import time
from pathlib import Path

from repro.metrics.registry import metric

NAMES = ("e2e_bleu", "nist", "meteor", "rouge_l_coco", "cider")


def split(path: Path) -> tuple[list[str], list[list[str]]]:
    """First text of each distinct source, and the others."""
    texts: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        source, _, target = line.partition("||")
        texts.setdefault(source.strip(), []).append(target.strip())
    return [own[0] for own in texts.values()], [own[1:] or own for own in texts.values()]


def main(arguments: list[str]) -> int:
    """Print seconds and values of each metric, and the seconds of all."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    outputs, references = split(Path(arguments[0]))
    print(f"{len(outputs)} outputs, {sum(map(len, references))} references")
    first = time.perf_counter()
    for name in NAMES:
        started = time.perf_counter()
        values, _ = metric(name).score_split(outputs, references)
        shown = ", ".join(f"{key} {value:.4f}" for key, value in values.items())
        print(f"{name:12} {time.perf_counter() - started:6.1f} s  {shown}")
    print(f"all five     {time.perf_counter() - first:6.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
