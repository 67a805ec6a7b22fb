"""The page in a real browser without a window: filters, keyboard, print, phone, no network, no script from a record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repro.report.pages.write import write_report
from repro.store.record import Record
from repro.store.store import Store

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
]
# Whatever runs of this leaves a mark on the window.
EVIL = "</script><script>window.ran=1</script><img src=x onerror='window.ran=2'><svg onload='window.ran=3'>"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    selenium = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def written(
    make: Callable[..., Record], telling: Callable[..., list[Record]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The page of three settings: one of a paper, one of our own, one that is full of HTML."""
    folder = tmp_path_factory.mktemp("report")
    own = {"model.name": "minilm", "model.paper_name": None, "experiment_name": "offline/rte"}
    records = [make(seed, 89.0 + seed, deviations=["The batch is 16."]) for seed in (1, 2)]
    records += [make(1, 55.0, change=own), *telling(EVIL, split=EVIL)]
    store = Store(folder / "records")
    for record in records:
        store.put(record)
    write_report(folder / "records", folder)
    return folder / "index.html"


@pytest.fixture
def page(browser: Any, written: Path) -> Any:
    """The browser, with the page just loaded."""
    browser.get_log("browser"), browser.get_log("performance")  # what was before is not this page's
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.get(written.as_uri())
    return browser


def press(page: Any, key: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).send_keys(key).perform()


def visible_places(page: Any) -> list[dict[str, Any]]:
    """Places that pass the filters, as data."""
    return page.execute_script(
        "const d = JSON.parse(document.getElementById('data').textContent);"
        "return [...document.querySelectorAll('td.place:not(.dim)')].map(c => d.places[c.dataset.i])"
    )


def test_nothing_is_fetched_and_nothing_complains(page: Any) -> None:
    for number in range(3):
        page.execute_script("document.querySelectorAll('td.place.has button')[arguments[0]].click()", number)
        page.execute_script("document.getElementById('close').click()")
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1


def test_filters_and_search_narrow_what_is_shown(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    everything = len(visible_places(page))
    assert everything > 1000
    for name, value in (("paper", "liu2022"), ("task", "rte"), ("verdict", "not run"), ("method", "p_tuning_v2")):
        Select(page.find_element(By.NAME, name)).select_by_value(value)
        shown = visible_places(page)
        assert 0 < len(shown) < everything and all(place[name] == value for place in shown)
        assert page.find_element(By.ID, "shown").text == f"{len(shown)} of {everything} numbers"
    # What is left is in open exhibits, and an exhibit without a hit is gone.
    assert page.find_element(By.CSS_SELECTOR, "#liu2022-table2").get_attribute("open")
    assert not page.find_element(By.CSS_SELECTOR, "#lester2021-figure1").is_displayed()
    page.find_element(By.CSS_SELECTOR, "#filters button").click()
    page.find_element(By.ID, "search").send_keys("minilm")
    assert [place["model"] for place in visible_places(page)] == ["minilm"]
    page.find_element(By.ID, "search").clear()
    page.find_element(By.ID, "search").send_keys("no such thing")
    assert visible_places(page) == []


def test_a_cell_opens_by_keyboard_and_gives_the_focus_back(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    cell = page.find_element(By.CSS_SELECTOR, "#liu2022-table2 td.has button")
    page.execute_script("arguments[0].focus()", cell)
    press(page, Keys.ENTER)
    dialog = page.find_element(By.ID, "detail")
    assert dialog.is_displayed()
    text = dialog.text
    for said in ("RTE", "89.5", "liu2022, Table 2", "liu2022/t2.roberta-large.rte.pt-2", "n = 2", "liu2022/table2"):
        assert said in text, said
    assert page.switch_to.active_element.get_attribute("id") == "close"
    # By keyboard to the first run, open it: its command, files and status.
    for _ in range(30):
        press(page, Keys.TAB)
        focused = page.switch_to.active_element
        if focused.tag_name == "summary" and focused.text.startswith("seed 1"):
            break
    press(page, Keys.ENTER)
    for said in ("repro run task=rte seed=1", "record.json", "predictions-SPLIT.jsonl", "done"):
        assert said in dialog.text, said
    press(page, Keys.ESCAPE)
    assert not dialog.is_displayed() and page.switch_to.active_element == cell


def test_a_cell_that_was_not_run_opens_to_the_papers_source_and_caveat(page: Any) -> None:
    from selenium.webdriver.common.by import By

    page.execute_script("document.querySelector('#liu2022-table2 td.place button').click()")
    text = page.find_element(By.ID, "detail").text
    for said in ("77.7", "liu2022, Table 2", "not run", "copied from the SuperGLUE paper"):
        assert said in text, said


def test_what_a_record_says_never_runs(page: Any) -> None:
    from selenium.webdriver.common.by import By

    shown = ""
    for button in page.find_elements(By.CSS_SELECTOR, "#own td.place button"):
        page.execute_script("arguments[0].click()", button)
        page.execute_script("document.querySelectorAll('#detail details').forEach(d => d.open = true)")
        shown += page.find_element(By.ID, "detail").get_attribute("textContent")
        page.execute_script("document.getElementById('close').click()")
    assert page.execute_script("return window.ran") is None
    assert page.execute_script("return document.querySelectorAll('#detail img, #detail script, main img').length") == 0
    assert EVIL in shown
    assert page.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_does_not_scroll_sideways(page: Any, scheme: str) -> None:
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.execute_script("return innerWidth") == 360
    assert page.execute_script("return document.documentElement.scrollWidth") == 360
    page.execute_script("document.querySelector('#own td.place button').click()")
    page.execute_script("document.querySelectorAll('#detail details').forEach(d => d.open = true)")
    wide = "const d = document.getElementById('detail'); return [d.scrollWidth <= d.clientWidth, d.offsetWidth <= 360]"
    assert page.execute_script(wide) == [True, True]
    ink, paper = page.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    brightness = [sum(int(part) for part in colour.strip("rgba()").split(",")[:3]) for colour in (ink, paper)]
    assert (brightness[0] > brightness[1]) == (scheme == "dark") and abs(brightness[0] - brightness[1]) > 500


def test_print_shows_what_is_folded_and_hides_what_only_a_screen_needs(page: Any) -> None:
    from selenium.webdriver.common.by import By

    inside = (
        "const r = document.querySelector('#liu2022-table3 td.place').getClientRects(); return r.length && r[0].height"
    )
    page.execute_script("document.getElementById('liu2022-table3').open = false")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not page.find_element(By.ID, "filters").is_displayed()
    assert not page.find_element(By.TAG_NAME, "nav").is_displayed()
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script(inside) > 0
    assert len(page.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 100_000


def test_every_figure_has_a_name_and_a_description_for_those_who_do_not_see_it(page: Any) -> None:
    from selenium.webdriver.common.by import By

    drawn = page.find_elements(By.CSS_SELECTOR, "figure svg")
    assert len(drawn) >= 7
    for svg in drawn:
        assert svg.aria_role in ("img", "image") and svg.accessible_name
        described = svg.find_element(By.TAG_NAME, "desc").get_attribute("textContent")
        assert described.startswith(svg.find_element(By.TAG_NAME, "title").get_attribute("textContent"))
