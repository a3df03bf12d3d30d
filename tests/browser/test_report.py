"""The report of ``myst inspect --html`` in a real browser: it works, it fits, and no package speaks in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from tests.support import packages
from tests.support.browser import chromium, look
from tests.support.machine_code import elf

from mystikos import pipeline
from mystikos.inspection import inspect_path
from mystikos.report import report

HOSTILE = [
    "<script>alerted = 1</script>",
    '"><img src=x onerror="alerted = 2">',
    "' onmouseover='alerted = 3",
    "<style>*{display:none}",
    "<svg onload=alerted=4>",
    "{{ 7 * 7 }}",
    "&lt;b&gt;",
    "-->",
]
CODE = elf(b"\xb8\x27\0\0\0\x0f\x05\xff\xd0\x0f\x05\x0f\xa2\x0f\x31\xc3")
PHONE, DESKTOP = 390, 1280


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as window:
        yield window


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a package whose every word is hostile."""
    home = tmp_path_factory.mktemp("report")
    files = {f"lib/{name}": b"x" * (1 + 1000 * n) for n, name in enumerate(HOSTILE)}
    root = packages.appdir(home / "appdir", {**files, "lib/code.so": CODE, f"lib/{'long' * 50}": CODE})
    (root / "link").symlink_to(HOSTILE[1])
    environment = [f"NAME{n}={name}" for n, name in enumerate(HOSTILE)]
    config = packages.config(Debug=1, MemorySize="8m", MaxThreads=16, EnvironmentVariables=environment)
    pipeline.build(
        root, packages.signer(), config, home / "app", runtime=packages.runtime(), allow_debug=True
    )
    (home / "report.html").write_bytes(report(inspect_path(home / "app")))
    return home / "report.html"


def rows(browser: Chrome, table: str, column: int) -> list[str]:
    """The cells of a column in the rows that are shown."""
    script = """
        return Array.from(document.getElementById(arguments[0] + "-table").tBodies[0].rows)
            .filter((row) => !row.hidden).map((row) => row.cells[arguments[1]].textContent.trim());
    """
    return list(browser.execute_script(script, table, column))


def heading(browser: Chrome, table: str, label: str) -> WebElement:
    return browser.find_element(By.XPATH, f'//*[@id="{table}-table"]//th[normalize-space(.)="{label}"]')


def test_nothing_is_asked_for_and_nothing_is_complained_about(browser: Chrome, page: Path) -> None:
    look(browser, page)

    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_is_no_wider_than_its_screen(browser: Chrome, page: Path, width: int, scheme: str) -> None:
    look(browser, page, width=width, scheme=scheme)

    measures = "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    needed, there = browser.execute_script(measures)
    assert needed <= there <= width


def test_light_and_dark_differ_and_can_be_read(browser: Chrome, page: Path) -> None:
    def colors() -> tuple[str, str]:
        body = browser.find_element(By.TAG_NAME, "body")
        return body.value_of_css_property("color"), body.value_of_css_property("background-color")

    look(browser, page, scheme="light")
    light = colors()
    look(browser, page, scheme="dark")
    dark = colors()

    assert light != dark
    assert brightness(light[0]) < 80 < 200 < brightness(light[1])
    assert brightness(dark[1]) < 80 < 200 < brightness(dark[0])


def brightness(color: str) -> float:
    numbers = [float(part) for part in color.partition("(")[2].rstrip(")").split(",")]
    return sum(numbers[:3]) / 3


def test_what_a_package_says_stays_text(browser: Chrome, page: Path) -> None:
    look(browser, page)

    assert browser.execute_script("return typeof alerted") == "undefined"
    assert browser.find_elements(By.CSS_SELECTOR, "main img, main script, main style, main [onload]") == []
    shown = rows(browser, "files", 0)
    assert all(f"lib/{name}" in shown for name in HOSTILE)
    assert f"link → {HOSTILE[1]}" in shown
    settings = dict(zip(rows(browser, "config", 0), rows(browser, "config", 1), strict=True))
    environment = settings["EnvironmentVariables"]
    assert all(name.replace('"', '\\"') in environment for name in HOSTILE)


def test_what_slipped_through_could_not_run(browser: Chrome, page: Path) -> None:
    look(browser, page)
    browser.execute_script("""
        window.blocked = [];
        document.addEventListener("securitypolicyviolation", (event) => {
            blocked.push(event.effectiveDirective);
        });
        const slipped = document.createElement("div");
        slipped.innerHTML = '<img src="https://example.org/x" onerror="alerted = 1"><p style="color:red">';
        document.body.append(slipped);
        const script = document.createElement("script");
        script.textContent = "alerted = 2";
        document.body.append(script);
    """)

    blocked = set(browser.execute_async_script("setTimeout(arguments[0], 200, blocked)"))
    assert {"img-src", "script-src-attr", "script-src-elem", "style-src-attr"} >= blocked
    assert {"img-src", "script-src-elem", "style-src-attr"} <= blocked
    assert browser.execute_script("return typeof alerted") == "undefined"
    browser.get_log("browser")


def test_a_click_on_a_heading_sorts_by_number_and_another_one_turns_it_round(
    browser: Chrome, page: Path
) -> None:
    look(browser, page)
    original = rows(browser, "files", 3)
    numbers = sorted(int(text.replace(",", "")) for text in original)
    bytes_heading = heading(browser, "files", "Bytes")
    assert bytes_heading.get_attribute("aria-sort") == "none"

    bytes_heading.find_element(By.TAG_NAME, "button").click()
    assert bytes_heading.get_attribute("aria-sort") == "ascending"
    assert [int(text.replace(",", "")) for text in rows(browser, "files", 3)] == numbers

    bytes_heading.find_element(By.TAG_NAME, "button").click()
    assert bytes_heading.get_attribute("aria-sort") == "descending"
    assert [int(text.replace(",", "")) for text in rows(browser, "files", 3)] == numbers[::-1]

    heading(browser, "files", "Path").find_element(By.TAG_NAME, "button").click()
    assert bytes_heading.get_attribute("aria-sort") == "none"
    assert rows(browser, "files", 0) == sorted(rows(browser, "files", 0), key=str.lower)


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE])
def test_headings_sort_from_the_keyboard(browser: Chrome, page: Path, key: str) -> None:
    look(browser, page)
    pages = heading(browser, "regions", "Pages")
    pages.find_element(By.TAG_NAME, "button").send_keys(key)

    assert pages.get_attribute("aria-sort") == "ascending"
    numbers = [int(text.replace(",", "")) for text in rows(browser, "regions", 3)]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 3


def test_every_table_can_be_sorted_by_every_column(browser: Chrome, page: Path) -> None:
    look(browser, page)

    headings = browser.find_elements(By.CSS_SELECTOR, "main th")
    for one in headings:
        browser.execute_script("arguments[0].querySelector('button').click()", one)
        assert one.get_attribute("aria-sort") == "ascending"
    assert len(headings) > 40
    assert browser.get_log("browser") == []


def test_a_filter_leaves_the_rows_with_all_of_its_words(browser: Chrome, page: Path) -> None:
    look(browser, page)
    box = browser.find_element(By.CSS_SELECTOR, 'input[data-filters="config-table"]')
    count = browser.find_element(By.CSS_SELECTOR, 'output[data-counts="config-table"]')
    everything = rows(browser, "config", 0)
    assert count.text == f"{len(everything)} rows"

    box.send_keys("stack DEFAULT")
    assert rows(browser, "config", 0) == ["MainStackSize", "ThreadStackSize", "ExecStack"]
    assert count.text == f"3 of {len(everything)} rows"

    heading(browser, "config", "Key").find_element(By.TAG_NAME, "button").click()
    assert rows(browser, "config", 0) == ["ExecStack", "MainStackSize", "ThreadStackSize"]
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.DELETE)
    assert len(rows(browser, "config", 0)) == len(everything)


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_map_tells_about_what_is_pointed_at_or_chosen(browser: Chrome, page: Path, width: int) -> None:
    look(browser, page, width=width)

    def details() -> str:
        (shown,) = [e for e in browser.find_elements(By.CSS_SELECTOR, "[data-details]") if e.is_displayed()]
        return shown.text

    assert details().startswith("kernel\n")
    names = browser.find_elements(By.CSS_SELECTOR, ".names button")
    (user,) = [one for one in names if one.text.startswith("user memory")]
    user.click()
    assert details().startswith("user memory\n")
    assert "2,048 pages, 8 MiB" in details()

    (threads,) = [one for one in names if one.text.startswith("16 thread blocks")]
    browser.execute_script("arguments[0].focus()", threads)
    assert details().startswith("16 thread blocks\n")
    assert "16 times 8 pages, RW, not measured" in details()

    if width == DESKTOP:
        number = user.get_attribute("data-block")
        bar = browser.find_element(By.CSS_SELECTOR, f'svg [data-block="{number}"] rect')
        ActionChains(browser).move_to_element(bar).perform()
        assert details().startswith("user memory\n")


def test_each_name_of_the_map_lies_where_its_lines_end_and_the_bar_is_to_scale(
    browser: Chrome, page: Path
) -> None:
    look(browser, page)
    drawn: list[dict[str, Any]] = browser.execute_script("""
        return Array.from(document.querySelectorAll(".names button"), (name) => {
            const block = document.querySelector(`svg [data-block="${name.dataset.block}"]`);
            const box = (element) => element.getBoundingClientRect();
            const bar = box(block.querySelector("rect")), lines = box(block.querySelector("polygon"));
            const place = name.querySelector(".place").textContent.split(" to ").map(Number);
            return {place, bar: [bar.top, bar.bottom], lines: [lines.top, lines.bottom],
                    name: [box(name).top, box(name).bottom]};
        });
    """)

    whole = drawn[-1]["place"][1]
    top, bottom = drawn[0]["bar"][0], drawn[-1]["bar"][1]
    for one in drawn:
        start, end = (top + address / whole * (bottom - top) for address in one["place"])
        assert abs(one["bar"][0] - start) < 1.5
        assert abs(one["bar"][1] - max(end, start + 1)) < 1.5
        assert one["lines"][0] <= one["name"][0] + 1
        assert one["name"][1] - 1 <= one["lines"][1] + 1
    assert all(one["name"][1] - one["name"][0] >= 36 for one in drawn), "a finger finds it"


def test_without_scripts_everything_is_there_and_nothing_promises_more(browser: Chrome, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        look(browser, page)
        assert browser.find_elements(By.CSS_SELECTOR, "th button") == []
        assert not any(e.is_displayed() for e in browser.find_elements(By.CSS_SELECTOR, ".with-script"))
        details = browser.find_elements(By.CSS_SELECTOR, "[data-details]")
        assert details
        assert all(one.is_displayed() for one in details)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_there_is_the_content_and_no_controls(browser: Chrome, page: Path) -> None:
    look(browser, page, scheme="dark")
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF-")

    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    for hidden in ("nav", ".filter", ".details"):
        assert not any(e.is_displayed() for e in browser.find_elements(By.CSS_SELECTOR, hidden)), hidden
    assert browser.find_element(By.ID, "identity").is_displayed()
    assert browser.find_element(By.CSS_SELECTOR, ".map svg").is_displayed()
    body = browser.find_element(By.TAG_NAME, "body")
    assert brightness(body.value_of_css_property("color")) < 80


def test_headings_captions_and_labels_are_there_for_who_does_not_see(browser: Chrome, page: Path) -> None:
    look(browser, page)
    levels = [int(e.tag_name[1]) for e in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))

    unnamed = browser.execute_script("""
        return [
            ...Array.from(document.querySelectorAll("table")).filter((e) => !e.caption?.textContent.trim()),
            ...Array.from(document.querySelectorAll("input")).filter((e) => !e.labels.length),
            ...Array.from(document.querySelectorAll("th")).filter((e) => e.scope !== "col"),
            ...Array.from(document.querySelectorAll("section")).filter(
                (e) => !document.getElementById(e.getAttribute("aria-labelledby"))),
            ...Array.from(document.querySelectorAll("nav a")).filter((e) => !document.querySelector(e.hash)),
        ].length;
    """)
    assert unnamed == 0
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    ids = browser.execute_script("return Array.from(document.querySelectorAll('[id]'), (e) => e.id)")
    assert len(ids) == len(set(ids))
