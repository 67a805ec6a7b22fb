"""XSum: a BBC article to one sentence, on the whole set and out of domain (Li & Liang 2021, sections 5.1 and 6.4).

BART reads the article and writes the summary, both plain, without a prompt. The out-of-domain sets are cut by the
articles' URLs: trained on news and tested on sport, or trained on world, UK and business news and tested on the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from repro.errors import ConfigError, DataError
from repro.tasks.base import SPLITS, Example, TaskSection, TextToText
from repro.tasks.file_task import FreeText
from repro.tasks.files import Loaded, require_one_of
from repro.tasks.registry import register
from repro.tasks.xsum_files import (
    SPLIT_FILE,
    SUMMARIES,
    Article,
    hub_articles,
    line_articles,
    original_articles,
    read_urls,
    topic,
)

OBTAIN = (
    "XSum is BBC text, which you must get yourself: the original release and the map of URLs are described in "
    "github.com/EdinburghNLP/XSum; the paper used the older xsum.tar.gz with {train,val,test}.{source,target}."
)
FULL = {"train": 204045, "validation": 11332, "test": 11334}
"""Articles of the original release and of the hub's copy."""
FILES = {"train": "train.source", "validation": "val.source", "test": "test.source"}
LAYOUTS = ("lines", "original")
URL_MAP = "XSum-WebArxiveUrls-BBCids.txt"

_HUB_DEVIATION = (
    "{split}: {rows} articles, the hub's and the original release's; the paper used an older copy with {paper}, and "
    "others report about 3 ROUGE points less with the hub's."
)
EDITIONS = {
    "validation": {11332: _HUB_DEVIATION.format(split="validation", rows=11332, paper=11327)},
    "test": {11334: _HUB_DEVIATION.format(split="test", rows=11334, paper=11333)},
}
_TRAINED = ("world", "uk", "business")
DOMAINS: dict[str, tuple[Callable[[tuple[str, str]], bool], Callable[[tuple[str, str]], bool]]] = {
    "news_to_sports": (lambda at: at[0] == "news", lambda at: at[0] == "sport"),
    "within_news": (
        lambda at: at[0] == "news" and at[1] in _TRAINED,
        lambda at: at[0] == "news" and at[1] not in ("", *_TRAINED),
    ),
}
"""{out-of-domain set: (which topics train and validate, which are tested)}."""
_DOMAIN_DEVIATIONS = (
    "which article is in which domain follows from its URL by the rule of the paper's code; how many the authors had "
    "is not published.",
    "the test articles are our draw: the authors sampled theirs without a fixed seed.",
)
_GIVEN = "the split files are taken as they lie: whether they are the authors' out-of-domain files cannot be checked."


@register("xsum")
class XSum(FreeText):
    """One summary for one article; in training, validation and test alike an example has one reference.

    `task.options`:
        layout: lines (`{train,val,test}.source` and `.target`, the authors' files) or original (the release:
            `bbc-summary-data/<id>.summary` and a json of ids). The hub has a layout of its own.
        domain: news_to_sports, within_news, or null for the whole set. With `layout: lines` the files are taken as
            the authors' bundle has them, already cut.
        url_map: for the hub's rows, which have no URL: the file of URLs and ids, under `task.data_dir`.
        test_sample: test articles drawn from all articles of the test domain (the authors' 8,000); null: all.
        sample_seed: of that draw.

    The test articles of a domain come from all three splits: none of them is trained on, and the test split alone has
    fewer than 8,000.

    Deviation (hub, original): the paper's copy had 5 validation articles and 1 test article fewer.
    Deviation (domains): the authors' sample cannot be rebuilt.
    Deviation: references are whole; the authors score against references cut at 100 tokens.
    """

    files = FILES
    obtain = OBTAIN
    inputs = ("document",)
    editions = EDITIONS

    def __init__(
        self,
        section: TaskSection,
        *,
        layout: str = "lines",
        domain: str | None = None,
        url_map: str = URL_MAP,
        test_sample: int | None = 8000,
        sample_seed: int = 0,
    ) -> None:
        """Raises ConfigError: an option's value."""
        super().__init__(section)
        self._layout = "hub" if self._source.kind == "hub" else layout
        require_one_of("task.options.layout", self._layout, ("hub", *LAYOUTS))
        require_one_of("task.options.domain", domain, (None, *DOMAINS))
        for name, value in (("test_sample", test_sample), ("sample_seed", sample_seed)):
            if value is not None and (not isinstance(value, int) or value < (name == "test_sample")):
                raise ConfigError(f"task.options.{name} is {value!r}: give a whole number, or null for all articles.")
        self._domain, self._url_map, self._sample, self._seed = domain, url_map, test_sample, sample_seed
        folder = Path(section.data_dir)
        for split, paths in self.needed.items():  # articles and summaries, or what the release is made of
            targets = tuple(path.removesuffix("source") + "target" for path in paths)
            released = tuple(str(folder / name) for name in (SPLIT_FILE, SUMMARIES))
            self.needed = {**self.needed, split: released if self._layout == "original" else (*paths, *targets)}
        self._read: dict[str, list[Article]] = {}
        self._url_of: Mapping[str, str] = {}

    def _load(self, split: str) -> Loaded:
        if self._domain is None or self._layout == "lines":
            articles = self._articles(split)
        elif split == "test":
            articles = self._drawn(DOMAINS[self._domain][1])
        else:
            articles = self._of_domain(split, DOMAINS[self._domain][0])
        if self._domain and not articles:
            raise DataError(
                f"{self._place(split)}: by its URL no article for the {split} split is in the domain {self._domain}: "
                f"check the URLs ({self._url_map}), which must be of BBC pages, as http://www.bbc.co.uk/news/uk-1."
            )
        examples = [_example(split, number, article) for number, article in enumerate(articles)]
        # A domain's own size is not known; that of the split it was cut from is checked before.
        whole = FULL[split] if split == "train" and self._layout != "lines" else None
        expected = whole if self._domain is None else len(articles)
        return Loaded([article.row() for article in articles], examples, (), expected)

    def _articles(self, split: str) -> list[Article]:
        """A whole split, in the layout's order."""
        if split not in self._read:
            if self._layout == "hub":
                self._read[split] = list(hub_articles(self._source.hub_rows(split)))
            elif self._layout == "original":
                folder = Path(self._source.data_dir)
                ids = folder / SPLIT_FILE
                if not ids.is_file():
                    raise DataError(f"the file {ids} ({self.name}, {split}) does not exist: {self.obtain}")
                self._read[split] = original_articles(folder / SUMMARIES, ids, split)
            else:
                sources = self._source.file(split)
                targets = sources.with_name(sources.name.removesuffix("source") + "target")
                if not sources.name.endswith("source") or not targets.is_file():
                    raise DataError(f"the file {targets} ({self.name}, {split}) does not exist: {self.obtain}")
                self._read[split] = line_articles(sources, targets)
        return self._read[split]

    def _of_domain(self, split: str, wanted: Callable[[tuple[str, str]], bool]) -> list[Article]:
        """The articles of a split whose topic is wanted; the split itself must have its own size.

        Raises:
            DataError: a split of another size, an article without a URL, or no article of the domain.
        """
        articles, urls = self._articles(split), self._urls()
        if self._check_rows and len(articles) != FULL[split]:
            raise DataError(
                f"{self._place(split)} has {len(articles)} articles, the original has {FULL[split]}: {self.obtain} To "
                "use it as it is, set task.check_rows=false."
            )
        found = []
        for article in articles:
            url = article.url or urls.get(article.id or "")
            if url is None:
                raise DataError(f"{article.where}: the id {article.id} is not in {self._url_map}: get the map again.")
            if wanted(topic(url)):
                found.append(article)
        return found

    def _drawn(self, wanted: Callable[[tuple[str, str]], bool]) -> list[Article]:
        """The sampled articles of the test domain, in the order of the splits' files."""
        pool = [article for split in SPLITS for article in self._of_domain(split, wanted)]
        if self._sample is None or self._sample >= len(pool):
            return pool
        generator = np.random.Generator(np.random.PCG64([self._seed]))
        return [pool[position] for position in sorted(generator.permutation(len(pool))[: self._sample])]

    def _urls(self) -> Mapping[str, str]:
        """{id: URL} for the hub's rows; the original files have theirs inside."""
        if self._layout != "hub":
            return {}
        path = Path(self._source.data_dir) / self._url_map
        if not path.is_file():
            raise DataError(f"the file {path} ({self.name}) does not exist; the hub's rows have no URL: {self.obtain}")
        if not self._url_of:
            self._url_of = read_urls(path)
        return self._url_of

    def _place(self, split: str) -> str:
        return (
            str(Path(self._source.data_dir) / SPLIT_FILE) if self._layout == "original" else self._source.place(split)
        )

    def render(self, example: Example) -> TextToText:
        """The article and its summary."""
        return TextToText(example.fields["document"], example.references[0])

    def _own_deviations(self) -> tuple[str, ...]:
        whole = ("references are whole; the authors score against references cut at task.max_target_length tokens.",)
        if self._domain is None:
            return whole
        return (*whole, _GIVEN) if self._layout == "lines" else (*whole, *_DOMAIN_DEVIATIONS)


def _example(split: str, number: int, article: Article) -> Example:
    name = f"{split}-{number}" if article.id is None else article.id
    return Example(name, {"document": article.document}, (article.summary,), cluster=article.id)
