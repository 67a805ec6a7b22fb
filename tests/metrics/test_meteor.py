"""METEOR: the program's own aggregate, its golden value, and a process that survives what it is given."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from repro.errors import MetricUnavailable
from repro.metrics import java, meteor_process
from repro.metrics.meteor import Meteor, meteor_percent, statistics
from repro.metrics.meteor_process import MeteorProcess

PAIRS = [
    ("the red lion is a cheap pub", ["the red lion is cheap", "a cheap pub is the red lion"]),
    ("a restaurant near the river", ["it is located by the riverside", "a restaurant near the river"]),
    ("alimentum serves food", ["nothing matches here"]),
    ("children are welcome there", ["kids are welcomed there", "it is child friendly"]),
    ("", ["an empty output"]),
    ("an output", ["", "."]),
    ("a | b ||| c\nd\r\n", ["a ||| b", "c d"]),
    ("£20-25, isn't it?", ["it is £ 20 - 25"]),
]


@pytest.fixture(scope="module")
def process(with_java: None):
    return meteor_process.shared()


def test_the_aggregate_is_the_programs_own(process: MeteorProcess) -> None:
    lines = [process.statistics(*pair) for pair in PAIRS]
    rows = np.array([statistics(line) for line in lines])
    for chosen in (range(len(PAIRS)), [0, 1], [1], [2], [4], [0, 0, 3, 6]):
        theirs = process.value([lines[index] for index in chosen])
        assert meteor_percent(rows[list(chosen)].sum(axis=0)) == pytest.approx(100 * theirs, abs=1e-10)


def test_golden_value(golden_e2e, with_java: None) -> None:
    values, rows = Meteor().score_split(*golden_e2e)
    assert round(values["meteor"] / 100, 4) == 0.4801
    assert np.shape(rows) == (10, 6)


def test_its_file_mode_with_three_references_of_which_some_are_empty(process, tmp_path) -> None:
    outputs, references = [output for output, _ in PAIRS[:4]], [own for _, own in PAIRS[:4]]
    (tmp_path / "out").write_text("".join(f"{text}\n" for text in outputs))
    padded = [[*own, *[""] * (3 - len(own))] for own in references]
    (tmp_path / "ref").write_text("".join(f"{text}\n" for own in padded for text in own))
    command = [*java.command(java.METEOR_JAR, "-Xmx2G"), "Meteor", str(tmp_path / "out"), str(tmp_path / "ref")]
    done = subprocess.run([*command, "-l", "en", "-norm", "-r", "3", "-q"], capture_output=True, text=True, check=True)
    values, _ = Meteor("as_is", 3).score_split(outputs, references)
    assert values["meteor"] == pytest.approx(100 * float(done.stdout.split()[-1]), abs=1e-10)


def test_one_process_serves_every_split(process: MeteorProcess) -> None:
    before = process.starts
    for _ in range(3):
        Meteor("webnlg", 3).score_split(*(list(part) for part in zip(*PAIRS, strict=True)))
    assert process.starts == before == 1


def test_webnlg_text_and_the_number_of_references(process: MeteorProcess) -> None:
    output, references = "Ø-town", ["x", "y", "o - town", "z"]
    assert Meteor("webnlg", 3).score(output, references)[2] > 0
    assert Meteor("webnlg", 2).score(output, references)[2] == 0


# ---- A stand-in program: no Java needed


def stand_in(body: str) -> list[str]:
    """A program that runs `body` for each `line` of its input."""
    text = f"import sys, time\nfor number, line in enumerate(sys.stdin):\n{textwrap.indent(textwrap.dedent(body), ' ')}"
    return [sys.executable, "-c", text]


def test_a_killed_program_is_started_once_more() -> None:
    process = MeteorProcess(stand_in("print(*[number] * 23, flush=True)"))
    assert process.statistics("a", ["b"])[0] == 0
    assert process.statistics("a", ["b"])[0] == 1
    assert process._process is not None
    process._process.kill()
    process._process.wait()
    assert process.statistics("a", ["b"])[0] == 0  # the new one counts from the start
    assert process.starts == 2
    process.close()
    process.close()  # twice does no harm


def test_a_program_that_dies_twice_makes_the_value_missing_with_its_last_words() -> None:
    process = MeteorProcess(stand_in("sys.exit('out of memory')"))
    with pytest.raises(MetricUnavailable, match=r"ended twice at one line.*out of memory"):
        process.statistics("a", ["b"])
    assert process.starts == 2
    assert process._process is None


def test_a_program_that_hangs_is_given_up() -> None:
    process = MeteorProcess(stand_in("time.sleep(60)"), patience=0.2)
    with pytest.raises(MetricUnavailable, match=r"no answer within 0\.2 seconds"):
        process.statistics("a", ["b"])


def test_an_answer_that_is_no_statistics_is_no_zero() -> None:
    process = MeteorProcess(stand_in("print('Error: specify SCORE', flush=True)"))
    with pytest.raises(MetricUnavailable, match="METEOR answered 'Error: specify SCORE'"):
        process.statistics("a", ["b"])


def test_one_line_a_question_whatever_the_texts_hold() -> None:
    body = "print(*([line.count('|||')] + [number] * 22), flush=True)"
    process = MeteorProcess(stand_in(body))
    for number, (output, references) in enumerate(PAIRS * 50):
        numbers = process.statistics(output, references)
        assert numbers[:2] == [len(references) + 1, number]
    assert process.starts == 1
    process.close()


def test_statistics_by_hand() -> None:
    # 3 words, 1 of them a function word; the content words match exactly, and a synonym matches the function word.
    line = [3, 3, 1, 1, 2, 2, 0, 0, *[0] * 4, 0, 0, 1, 1, *[0] * 4, 2, 3, 3]
    length, reference, matches, _, chunks, words = statistics(line)
    assert (length, reference, chunks, words) == (0.75 * 2 + 0.25, 0.75 * 2 + 0.25, 2, 3)
    assert matches == pytest.approx(0.75 * 2 + 0.25 * 0.8)
    assert statistics([*line[:20], 1, 3, 3])[4] == 0  # all matched in one chunk


def test_without_a_match_it_is_zero() -> None:
    assert meteor_percent(np.array([3.0, 2.0, 0, 0, 0, 0])) == 0.0
    assert meteor_percent(np.zeros(6)) == 0.0


def test_without_java_it_is_unavailable_with_the_fix(without_java: None) -> None:
    assert "install a Java runtime" in str(Meteor().unavailable())
    with pytest.raises(MetricUnavailable, match="no `java`"):
        MeteorProcess().statistics("a", ["b"])


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda name: None)
    assert "repro[generation-metrics]" in str(Meteor("webnlg").unavailable())


@pytest.mark.parametrize(("text", "references"), [("mteval", None), ("ptb", 0)])
def test_what_it_may_be_configured_with(text: str, references: int | None) -> None:
    with pytest.raises(ValueError, match="meteor: "):
        Meteor(text, references)
