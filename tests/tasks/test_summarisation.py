"""XSum on made-up files in the three layouts: the same articles whichever way, domains by URL, and every fault."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import TextToText
from repro.tasks.xsum import XSum
from repro.tasks.xsum_files import SPLIT_FILE, read_urls, summary_file, topic
from tests.tasks.making import make

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)

BBC = "http://www.bbc.co.uk/"
PAGES = (
    *("news/uk-england-london-1", "news/world-europe-2", "news/business-3", "sport/football/4"),
    *("news/technology-5", "news/10000006", "sport/0/cricket/7", "news/uk-8", "newsround/9", "news/health-10"),
)
IDS = {"train": range(10), "validation": range(10, 14), "test": range(14, 20)}


def document(number):
    return f"Something happened, number {number}.\nThen it was over."


def summary(number):
    return f"Summary {number}."


def url(number):
    return BBC + PAGES[number % len(PAGES)]


def original(folder):
    folder.mkdir(exist_ok=True)
    (folder / SPLIT_FILE).write_text(json.dumps({split: [str(n) for n in ids] for split, ids in IDS.items()}))
    (folder / "bbc-summary-data").mkdir(exist_ok=True)
    for number in range(20):
        first, second = document(number).split("\n")
        text = f"[SN]URL[SN]\n{url(number)}\n\n[SN]TITLE[SN]\nTitle\n\n[SN]FIRST-SENTENCE[SN]\n{summary(number)}\n\n\n"
        text += f"[SN]RESTBODY[SN]\n{first}\n\n{second}\n"
        (folder / "bbc-summary-data" / f"{number}.summary").write_text(text)
    return folder


def lines(folder, counts=None):
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        ids = IDS[split] if counts is None else range(counts[split])
        (folder / f"{name}.source").write_text("".join(document(n).replace("\n", " ") + "\n" for n in ids))
        (folder / f"{name}.target").write_text("".join(summary(n) + "\n" for n in ids))
    return folder


def xsum(folder, options=None, **changes):
    changes = {"format": "text_to_text", "metrics": [], "check_rows": False, **changes}
    return make(XSum, name="xsum", data_dir=str(folder), options=options or {}, **changes)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """hub(options, **changes) -> the task on rows of the hub, beside a map of URLs in tmp_path."""
    datasets = pytest.importorskip("datasets")

    def load(*_, split, **__):
        rows = [{"document": document(n), "summary": summary(n), "id": str(n)} for n in IDS[split]]
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    text = "".join(f"http://web.archive.org/web/2015/{url(n)}\t{n}\n" for n in range(20))
    (tmp_path / "XSum-WebArxiveUrls-BBCids.txt").write_text(text)
    return lambda options=None, **changes: xsum(tmp_path, options, source="hub", hub_id="o/n", **changes)


def shown(task, split):
    return [task.render(example) for example in task.examples(split)]


def test_the_layouts_give_the_same_articles(tmp_path, hub):
    release, ours = xsum(original(tmp_path / "o"), {"layout": "original"}), xsum(lines(tmp_path))
    for split, ids in IDS.items():
        expected = [TextToText(document(n), summary(n)) for n in ids]
        assert shown(release, split) == shown(hub(), split) == expected
        assert shown(ours, split) == [TextToText(document(n).replace("\n", " "), summary(n)) for n in ids]
        assert [example.references for example in ours.examples(split)] == [(summary(n),) for n in ids]
    assert release.examples("train")[3].id == "3" and ours.examples("train")[3].id == "train-3"
    assert ours.parse(" A summary. \n", ours.examples("test")[0]) == "A summary."


# Sizes ---------------------------------------------------------------------------------------------------------------

ROWS = {"validation": 11327, "test": 11333}


def test_the_paper_s_copy_and_the_hub_s_are_told_apart(tmp_path):
    lines(tmp_path, {"train": 2, "validation": 11327, "test": 11333})
    task = xsum(tmp_path, rows=ROWS, check_rows=True)
    assert [len(task.examples(split)) for split in ("train", "validation", "test")] == [2, 11327, 11333]
    assert not any("hub" in text for text in task.deviations)
    lines(tmp_path, {"train": 2, "validation": 11332, "test": 11334})
    task = xsum(tmp_path, rows=ROWS, check_rows=True)
    assert [len(task.examples(split)) for split in ("validation", "test")] == [11332, 11334]
    assert sum("the hub's and the original release's" in text for text in task.deviations) == 2
    lines(tmp_path, {"train": 2, "validation": 11332, "test": 11335})
    with pytest.raises(DataError, match=r"test\.source has 11335 rows, the original test split of xsum has 11333"):
        xsum(tmp_path, rows=ROWS, check_rows=True).examples("test")


def test_the_training_set_of_hub_and_release_has_its_size(tmp_path, hub):
    for task in (hub(check_rows=True), xsum(original(tmp_path / "o"), {"layout": "original"}, check_rows=True)):
        with pytest.raises(DataError, match=r"has 10 rows, the original train split of xsum has 204045"):
            task.examples("train")
    with pytest.raises(DataError, match=r"has 4 articles, the original has 11332"):
        hub({"domain": "within_news"}, check_rows=True).examples("validation")


# Domains -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://www.bbc.co.uk/news/uk-england-london-1", ("news", "uk")),
        ("https://www.bbc.com/news/business-3?x=1", ("news", "business")),
        ("http://web.archive.org/web/20150101/http://www.bbc.co.uk/news/world-asia-5", ("news", "world")),
        ("www.bbc.co.uk/sport/0/cricket/7", ("sport", "")),
        ("http://www.bbc.co.uk/sport/football/4", ("sport", "football")),
        ("http://www.bbc.co.uk/news/10000006", ("news", "")),
        ("http://www.bbc.co.uk/", ("", "")),
        ("http://notbbc.co.uk/news/uk-1", ("", "")),
        ("http://[::1/news", ("", "")),
    ],
)
def test_topics(address, expected):
    assert topic(address) == expected


def naive(split, domain):
    """The rule written out on our made-up pages."""
    train = {"news_to_sports": [0, 1, 2, 4, 5, 7, 9], "within_news": [0, 1, 2, 7]}[domain]
    test = {"news_to_sports": [3, 6], "within_news": [4, 9]}[domain]
    if split != "test":
        return [n for n in IDS[split] if n % 10 in train]
    return [n for n in range(20) if n % 10 in test]


@pytest.mark.parametrize("domain", ["news_to_sports", "within_news"])
def test_domains_follow_the_url(tmp_path, hub, domain):
    release = xsum(original(tmp_path / "o"), {"layout": "original", "domain": domain})
    for task in (release, hub({"domain": domain})):
        for split in IDS:
            assert [int(example.id) for example in task.examples(split)] == naive(split, domain)
        assert any("our draw" in text for text in task.deviations)
    train = {example.id for example in release.examples("train")}
    assert train.isdisjoint(example.id for example in release.examples("test"))


def test_the_test_articles_are_a_seeded_sample(tmp_path):
    folder = original(tmp_path / "o")

    def drawn(**options):
        task = xsum(folder, {"layout": "original", "domain": "news_to_sports", **options})
        return [example.id for example in task.examples("test")]

    assert drawn(test_sample=None) == drawn() == ["3", "6", "13", "16"]
    assert drawn(test_sample=2) == drawn(test_sample=2) and set(drawn(test_sample=2)) < set(drawn())
    assert len({tuple(drawn(test_sample=2, sample_seed=seed)) for seed in range(20)}) > 2
    with pytest.raises(ConfigError, match=r"task\.options\.test_sample is 0"):
        drawn(test_sample=0)


def test_files_that_are_already_cut_are_taken_as_they_are(tmp_path):
    task = xsum(lines(tmp_path), {"domain": "within_news"}, check_rows=True)
    assert len(task.examples("train")) == 10
    assert any("taken as they lie" in text for text in task.deviations)


# Faults --------------------------------------------------------------------------------------------------------------


def test_faults_of_lines(tmp_path):
    with pytest.raises(DataError, match=r"train\.source.*does not exist.*EdinburghNLP"):
        xsum(tmp_path).examples("train")
    lines(tmp_path)
    (tmp_path / "val.target").unlink()
    with pytest.raises(DataError, match=r"val\.target \(xsum, validation\) does not exist"):
        xsum(tmp_path).examples("validation")
    (tmp_path / "val.target").write_text("One.\n")
    with pytest.raises(DataError, match=r"val\.source has 4 lines, .*val\.target has 1"):
        xsum(tmp_path).examples("validation")
    (tmp_path / "val.target").write_text("One.\n\nThree.\nFour.\n")
    with pytest.raises(DataError, match=r"val\.target:2 is empty"):
        xsum(tmp_path).examples("validation")


def test_faults_of_the_release(tmp_path):
    with pytest.raises(DataError, match=rf"{SPLIT_FILE}.*does not exist"):
        xsum(tmp_path, {"layout": "original"}).examples("train")
    folder = original(tmp_path / "o")
    (folder / "bbc-summary-data" / "3.summary").write_text("[SN]URL[SN]\nhttp://x\n")
    with pytest.raises(DataError, match=r"3\.summary has no text behind \[SN\]FIRST-SENTENCE\[SN\]"):
        xsum(folder, {"layout": "original"}).examples("train")
    (folder / "bbc-summary-data" / "3.summary").unlink()
    with pytest.raises(DataError, match=r"3\.summary does not exist, though the split file names it"):
        xsum(folder, {"layout": "original"}).examples("train")
    (folder / SPLIT_FILE).write_text('{"train": ["../../3"]}')
    with pytest.raises(DataError, match=r'"train": \[ids\]'):
        xsum(folder, {"layout": "original"}).examples("train")


def test_faults_of_domains_and_options(tmp_path, hub):
    (tmp_path / "XSum-WebArxiveUrls-BBCids.txt").write_text(f"{url(0)} 0\n")
    with pytest.raises(DataError, match=r"row 2: the id 1 is not in XSum-WebArxiveUrls"):
        hub({"domain": "within_news"}).examples("train")
    (tmp_path / "XSum-WebArxiveUrls-BBCids.txt").write_text("".join(f"http://example.org/{n} {n}\n" for n in range(20)))
    with pytest.raises(DataError, match=r"no article for the train split is in the domain within_news"):
        hub({"domain": "within_news"}).examples("train")
    with pytest.raises(DataError, match=r"none\.txt \(xsum\) does not exist; the hub's rows have no URL"):
        hub({"domain": "within_news", "url_map": "none.txt"}).examples("train")
    for options, said in (({"layout": "tar"}, "layout"), ({"domain": "sport"}, "domain"), ({"size": 1}, "size")):
        with pytest.raises(ConfigError, match=said):
            xsum(tmp_path, options)


def test_the_map_of_urls(tmp_path):
    path = tmp_path / "map.txt"
    path.write_text(f"{url(0)} 10\n\n11\t{url(1)}\n{url(0)} 10\n")
    assert read_urls(path) == {"10": url(0), "11": url(1)}
    for text, said in (("a b\n", "map.txt:1"), (f"{url(0)}\n", "map.txt:1"), (f"{url(0)} 1\n{url(1)} 1\n", "two URLs")):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            read_urls(path)


@UNHURRIED
@given(data=st.data())
def test_no_file_raises_anything_but_data_error(tmp_path_factory, data):
    folder: Path = tmp_path_factory.getbasetemp()
    pieces = ("[SN]URL[SN]", "[SN]FIRST-SENTENCE[SN]", "[SN]RESTBODY[SN]", "\n", "text", url(0), " 1", "\ud800", "[SN]")
    text = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=14)))
    path = folder / "fuzz.summary"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in (lambda: summary_file(path, "1"), lambda: read_urls(path)):
        try:
            found = read()
        except DataError as error:
            assert "fuzz.summary" in str(error)
        else:
            assert found == {} or found


@UNHURRIED
@given(address=st.text("htp:/[]bc.ouknews-1%?#@ \x00", max_size=40))
def test_no_address_breaks_the_topic(address):
    assert all(isinstance(part, str) for part in topic(address))
