"""WebNLG and DART on files of our making: the authors' lines, json against xml against hub rows, and every fault."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import TextToText
from repro.tasks.dart import Dart, dart_source, script_text
from repro.tasks.triple_files import dart_entry, read_entries, read_xml, webnlg_row
from repro.tasks.webnlg import WebNlg, webnlg_source
from tests.tasks.making import make

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80)

AARHUS = [("Aarhus_Airport", "cityServed", '"Aarhus, Denmark"')]
TWO = [*AARHUS, ("Aarhus", "leaderName", "Jacob_Bundsgaard")]
GOOD, BAD = ("The Aarhus is the airport of Aarhus. ", "good"), ("Aarhus airport.", "toFix")
ENTRIES = [("Airport", TWO, [GOOD, BAD]), ("Artist", AARHUS, [GOOD]), ("City", AARHUS, [BAD, GOOD, GOOD])]


def as_json(entries):
    made = []
    for number, (category, triples, texts) in enumerate(entries, 1):
        entry = {
            "category": category,
            "modifiedtripleset": [{"subject": s, "property": p, "object": o} for s, p, o in triples],
            "lexicalisations": [{"lex": text, "comment": comment, "lang": ""} for text, comment in texts],
        }
        made.append({str(number): entry})
    return json.dumps({"entries": made})


def as_xml(entries):
    lines = ["<?xml version='1.0' encoding='utf-8'?>", "<benchmark><entries>"]
    for category, triples, texts in entries:
        lines.append(f'<entry category="{category}" eid="Id1" size="{len(triples)}">')
        lines.append("<originaltripleset><otriple>x | y | z</otriple></originaltripleset><modifiedtripleset>")
        lines += [f"<mtriple>{' | '.join(triple)}</mtriple>" for triple in triples]
        lines.append("</modifiedtripleset>")
        lines += [f'<lex comment="{comment}" lid="Id1">{text}</lex>' for text, comment in texts]
        lines.append("</entry>")
    return "\n".join([*lines, "</entries></benchmark>"])


def as_rows(entries, file="testdata_with_lex"):
    return [
        {
            "category": category,
            "modified_triple_sets": {"mtriple_set": [[" | ".join(triple) for triple in triples]]},
            "lex": {"comment": [comment for _, comment in texts], "text": [text for text, _ in texts]},
            "test_category": file,
        }
        for category, triples, texts in entries
    ]


def webnlg(folder, **changes):
    return make(WebNlg, name="webnlg", data_dir=str(folder), **{"format": "text_to_text", "metrics": [], **changes})


def dart(folder, **changes):
    return make(Dart, name="dart", data_dir=str(folder), **{"format": "text_to_text", "metrics": [], **changes})


def from_hub(monkeypatch, task, rows):
    """`task(...)` whose hub has these rows; the splits asked for."""
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(*_, split, **__):
        asked.append(split)
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    return task("", source="hub", hub_id="o/n"), asked


# Linearisation -------------------------------------------------------------------------------------------------------


def test_the_lines_of_the_authors():
    """liliang2021 section (c): what stands there less the space and tokens that the collator adds."""
    assert webnlg_source(AARHUS) == ' | Aarhus_Airport : cityServed : "Aarhus, Denmark"'
    assert webnlg_source(TWO, bare=True) == webnlg_source(TWO)[3:]
    mars = [("Mars Hill College", "JOINED", "1973"), ("Mars Hill College", "LOCATION", "Mars Hill, North Carolina")]
    expected = "Mars Hill College : joined : 1973 | Mars Hill College : location : Mars Hill, North Carolina"
    assert dart_source(mars) == expected
    assert script_text("Hawaii Five-O,  1973.") == "hawaii five - o , 1973 ."


# WebNLG --------------------------------------------------------------------------------------------------------------


def test_training_has_an_example_a_good_text(tmp_path):
    (tmp_path / "train.json").write_text(as_json(ENTRIES))
    task = webnlg(tmp_path, rows={"train": 3})
    shown = [task.render(example) for example in task.examples("train")]
    first, other, text = webnlg_source(TWO), webnlg_source(AARHUS), GOOD[0].strip()
    assert shown == [TextToText(source, text) for source in (first, other, other, other)]
    assert task.fingerprint()["train"]["rows"] == 3
    assert not any(example.meta.get("subset") for example in task.examples("train"))


def test_the_other_splits_have_an_example_an_entry_with_every_text(tmp_path):
    (tmp_path / "dev.json").write_text(as_json(ENTRIES))
    (tmp_path / "test.json").write_text(as_json(ENTRIES))
    task = webnlg(tmp_path)
    for split in ("validation", "test"):
        assert [len(example.references) for example in task.examples(split)] == [2, 1, 3]
    sources = {s: [task.render(example).source for example in task.examples(s)] for s in ("validation", "test")}
    full = [webnlg_source(triples) for _, triples, _ in ENTRIES]
    assert sources["validation"] == full
    assert sources["test"] == [full[0].removeprefix(" | "), *full[1:]], "only the very first example has no bar"
    assert [example.meta["subset"] for example in task.examples("test")] == ["seen", "unseen", "seen"]
    assert any("no bar" in text and "official code" in text for text in task.deviations)


def test_the_first_bar_is_a_choice_and_a_deviation_either_way(tmp_path):
    (tmp_path / "test.json").write_text(as_json(ENTRIES))
    task = webnlg(tmp_path, options={"first_test_without_bar": False})
    assert task.render(task.examples("test")[0]).source == webnlg_source(TWO)
    assert any("has a bar" in text for text in task.deviations)
    with pytest.raises(ConfigError, match="first_test_without_bar"):
        webnlg(tmp_path, options={"first_test_without_bar": "yes"})


def test_json_xml_and_hub_give_the_same(tmp_path, monkeypatch):
    (tmp_path / "test.json").write_text(as_json(ENTRIES))
    (tmp_path / "test.xml").write_text(as_xml(ENTRIES))
    (tmp_path / "packed.xml.gz").write_bytes(gzip.compress(as_xml(ENTRIES).encode()))
    (tmp_path / "folder" / "1triples").mkdir(parents=True)
    for number, entry in enumerate(ENTRIES):
        (tmp_path / "folder" / "1triples" / f"{number}.xml").write_text(as_xml([entry]))
    tasks = [webnlg(tmp_path)]
    tasks += [webnlg(tmp_path, options={"files": {"test": n}}) for n in ("test.xml", "packed.xml.gz", "folder")]
    rows = (
        as_rows(ENTRIES[:1], "testdata_no_lex") + as_rows(ENTRIES) + as_rows(ENTRIES[1:2], "testdata_unseen_with_lex")
    )
    hub, asked = from_hub(monkeypatch, webnlg, rows)
    expected = tasks[0].examples("test")
    assert all(task.examples("test") == expected for task in (*tasks, hub))
    assert len({task.fingerprint()["test"]["sha256"] for task in (*tasks, hub)}) == 1
    hub.examples("validation")
    assert asked == ["test", "dev"], "the hub calls it dev"


def test_wrong_sizes_name_both_numbers_and_the_trap(tmp_path):
    trap = tmp_path / "test.json"
    trap.write_text(as_json([ENTRIES[1]] * 4615))
    with pytest.raises(DataError, match=r"has 4615 rows, .* has 1862: .*three files.*testdata_with_lex.*check_rows"):
        webnlg(tmp_path, rows={"test": 1862}).examples("test")
    trap.write_text(as_json([ENTRIES[1]] * 1862))
    with pytest.raises(DataError, match=r"has 0 entries of seen categories, .* has 971.*both have 1862"):
        webnlg(tmp_path, rows={"test": 1862}).examples("test")
    assert len(webnlg(tmp_path, rows={"test": 1862}, check_rows=False).examples("test")) == 1862
    (tmp_path / "train.json").write_text(as_json([ENTRIES[1]] * 6940))
    with pytest.raises(DataError, match=r"has 6940 texts with the comment good, .* has 18025"):
        webnlg(tmp_path, rows={"train": 6940}).examples("train")


def test_other_refusals(tmp_path):
    (tmp_path / "test.json").write_text(as_json([("Dragon", AARHUS, [GOOD])]))
    with pytest.raises(DataError, match=r"test\.json entry 1 has the category 'Dragon'.*Airport"):
        webnlg(tmp_path).examples("test")
    (tmp_path / "dev.json").write_text(as_json([("City", AARHUS, [])]))
    with pytest.raises(DataError, match=r"dev\.json entry 1 has no text"):
        webnlg(tmp_path).examples("validation")
    with pytest.raises(DataError, match=r"train\.json.*does not exist.*task\.data_dir.*webnlg_challenge_2017"):
        webnlg(tmp_path).examples("train")
    with pytest.raises(DataError, match=r"no \.xml file"):
        webnlg(tmp_path, options={"files": {"test": "."}}).examples("test")
    with pytest.raises(ConfigError, match="labels"):
        webnlg(tmp_path, labels=["a"])


# DART ----------------------------------------------------------------------------------------------------------------


def dart_json(entries, relation=str):
    return json.dumps(
        [
            {
                "tripleset": [[s, relation(p), o] for s, p, o in triples],
                "annotations": [{"source": comment, "text": text} for text, comment in texts],
            }
            for _, triples, texts in entries
        ]
    )


def test_dart_is_scored_as_its_script_does(tmp_path):
    many = [(f"Text {n}, here.", "made") for n in range(5)]
    entries = [("", AARHUS, many), ("", AARHUS, many[:1]), ("", TWO, [("", "made"), ("B-c", "made")])]
    for name in ("train", "dev", "test"):
        (tmp_path / f"dart-v1.1.1-full-{name}.json").write_text(dart_json(entries, str.upper))
    task = dart(tmp_path)
    train = [task.render(example) for example in task.examples("train")]
    assert [pair.target for pair in train] == [f"Text {n}, here." for n in (0, 1, 2, 3, 4, 0)] + ["", "B-c"]
    assert {pair.source for pair in train[:6]} == {'Aarhus_Airport : cityserved : "Aarhus, Denmark"'}
    test = task.examples("test")
    assert [example.references for example in test] == [
        ("text 0 , here .", "text 1 , here .", "text 2 , here ."),
        ("text 0 , here .", "", ""),
        ("", "b - c", ""),
    ]
    assert task.render(test[0]) == TextToText(train[0].source, "Text 0, here."), "the target stays as it is"
    assert task.render(test[0]).source == task.render(test[1]).source
    whole = dart(tmp_path, options={"references": None}).examples("test")
    assert [len(example.references) for example in whole] == [5, 1, 2]
    with pytest.raises(ConfigError, match=r"task\.options\.references is 0"):
        dart(tmp_path, options={"references": 0})


def sized(folder, split, number):
    (folder / f"dart-v1.1.1-full-{split}.json").write_text(dart_json([("", AARHUS, [GOOD])] * number))


def test_the_two_versions_are_told_apart(tmp_path):
    rows = {"train": 7, "validation": 3, "test": 6959}
    sized(tmp_path, "test", 6959)
    assert len(dart(tmp_path, rows=rows).examples("test")) == 6959
    old = dart(tmp_path, rows=rows, options={"version": 2020})
    old.examples("test")
    assert not any("2021" in text for text in old.deviations)
    with pytest.raises(DataError, match=r"has 6959 rows, .* has 5097"):
        dart(tmp_path, rows=rows, options={"version": "2021"}).examples("test")
    sized(tmp_path, "test", 5097)
    for version in ("auto", "2021"):
        new = dart(tmp_path, rows=rows, options={"version": version})
        assert len(new.examples("test")) == 5097
        assert any("DART files of 2021 (5097" in text and "2020 (6959)" in text for text in new.deviations)
    with pytest.raises(DataError, match=r"has 5097 rows, .* has 6959"):
        dart(tmp_path, rows=rows, options={"version": "2020"}).examples("test")
    sized(tmp_path, "test", 5160)
    with pytest.raises(DataError, match=r"has 5160 rows, .* has 6959.*5,097"):
        dart(tmp_path, rows=rows).examples("test")
    with pytest.raises(ConfigError, match=r"task\.options\.version is '2022'"):
        dart(tmp_path, options={"version": 2022})


def test_the_training_set_of_2021_is_taken_unchecked_only_when_asked_for(tmp_path):
    sized(tmp_path, "train", 9)
    with pytest.raises(DataError, match=r"has 9 rows, .* has 7"):
        dart(tmp_path, rows={"train": 7}).examples("train")
    task = dart(tmp_path, rows={"train": 7}, options={"version": "2021"})
    assert len(task.examples("train")) == 9
    assert any("9 entries, not checked" in text for text in task.deviations)


def test_dart_xml_and_hub_give_the_same(tmp_path, monkeypatch):
    plain = [("", triples, texts) for _, triples, texts in ENTRIES]
    (tmp_path / "t.json").write_text(dart_json(plain))
    (tmp_path / "t.xml").write_text(as_xml(plain))
    tasks = [dart(tmp_path, options={"files": {"test": name}}) for name in ("t.json", "t.xml")]
    rows = [
        {
            "tripleset": [list(triple) for triple in triples],
            "annotations": {"source": [c for _, c in texts], "text": [t for t, _ in texts]},
        }
        for _, triples, texts in plain
    ]
    hub, _ = from_hub(monkeypatch, dart, rows)
    assert tasks[0].examples("test") == tasks[1].examples("test") == hub.examples("test")


# Faults --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "{", r"a\.json is not JSON"),
        ("a.json", "3", r"a\.json: a list 'entries' is needed"),
        ("a.json", '{"entries": [3]}', r"a\.json entry 1 is 3"),
        ("a.json", '{"entries": [{"1": {}}]}', r"entry 1: a list 'modifiedtripleset'"),
        ("a.json", '{"entries": [{"1": {"modifiedtripleset": [1]}}]}', r"entry 1: 'modifiedtripleset' holds 1"),
        ("a.json", '[{"tripleset": [["a", "b"]], "annotations": []}]', r"entry 1: \['a', 'b'\] is no triple"),
        ("a.json", '[{"tripleset": [], "annotations": []}]', r"entry 1 has no triple"),
        ("a.json", "[3]", r"entry 1: a list 'tripleset' is needed, it is 3"),
        ("a.txt", "x", r"a\.txt: the name must end in \.json or \.xml"),
        ("a.xml", "<benchmark>\n<entries>\n<entry>", r"a\.xml:3 is no well-formed xml"),
        ("a.xml", "<a/>", r"a\.xml has no entry"),
        ("a.xml", as_xml(ENTRIES).replace("x | y | z", "x").replace(" | leaderName", ""), r"a\.xml:6: 'Aarhus \| Jac"),
        ("a.xml", '<?xml version="1.0" encoding="nope"?><a/>', r"a\.xml.* is no .*xml"),
    ],
)
def test_a_malformed_file_is_named_with_its_place(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=reason):
        read_entries(tmp_path / name)


LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<benchmark><entries><entry>&c;</entry></entries></benchmark>"""
FETCHES = """<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><benchmark><entries>&x;</entries></benchmark>"""


@pytest.mark.parametrize("text", [LAUGHS, FETCHES, '<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><a/>'])
def test_no_entity_is_expanded_or_fetched(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a\.xml:\d declares a document type"):
        read_xml(tmp_path / "a.xml")


def test_predefined_entities_and_lines(tmp_path):
    (tmp_path / "a.xml").write_text(as_xml([("City", AARHUS, [("A &amp; <b>B</b>&#233;", "good")])]))
    (entry,) = read_entries(tmp_path / "a.xml")
    assert entry.texts == ("A & Bé",) and entry.where.endswith("a.xml:3")


# Fuzz ----------------------------------------------------------------------------------------------------------------

WORDS = st.text("ab| &<>'é\ud800\u2028", max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("entries", "1", "category", "modifiedtripleset", "lexicalisations", "subject", "property"))
            | st.sampled_from(("object", "lex", "comment", "tripleset", "annotations", "text", "source")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def accepted_or_refused(read, where):
    try:
        found = read()
    except DataError as error:
        assert where in str(error) and "\n" not in str(error)
    else:
        for entry in found if isinstance(found, list) else [found]:
            assert entry.triples and all(len(triple) == 3 for triple in entry.triples)
            assert len(entry.texts) == len(entry.comments)


@UNHURRIED
@given(data=JSON)
def test_no_json_raises_anything_but_data_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(json.dumps(data))
    accepted_or_refused(lambda: read_entries(path), "fuzz.json")
    accepted_or_refused(lambda: dart_entry(data, "row 7"), "row 7")
    accepted_or_refused(lambda: webnlg_row(data if isinstance(data, dict) else {}, "row 7"), "row 7")


@UNHURRIED
@given(data=st.data())
def test_no_damage_raises_anything_but_data_error(tmp_path_factory, data):
    """A good file with a piece cut out or replaced: in json and in xml."""
    folder: Path = tmp_path_factory.getbasetemp()
    for name, whole in (("cut.json", as_json(ENTRIES)), ("cut.xml", as_xml(ENTRIES))):
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, min(len(whole), start + 30)))
        piece = data.draw(st.text('<>&"[]{}:,| xé\ud800', max_size=4))
        damaged = (whole[:start] + piece + whole[end:]).encode("utf-8", "surrogatepass")
        (folder / name).write_bytes(damaged)
        accepted_or_refused(lambda name=name: read_entries(folder / name), name)
