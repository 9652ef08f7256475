"""The page in a real browser: Debian's Chromium without a window, one session for all tests."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts.made_run import FRONT, PROMPTS, made_evaluation, made_run, made_unfinished_run

from ecad.report.page.build import write_page
from ecad.report.page.live import live_server
from ecad.schedule import load_schedule

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
READY = "html[data-ready=yes]"
POINTS = "#front-chart svg path[aria-roledescription=point]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Without a browser the tests are skipped, but not in CI, which installs one."""
    is_ci = os.environ.get("CI") == "true"
    path = os.environ.get("ECAD_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        reason = "no Chromium, or no playwright: apt-get install chromium, pip install 'ecad[test]'"
        (pytest.fail if is_ci else pytest.skip)(reason)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]  # as root there is no sandbox; pages are our own
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("page") / "run")


class Seen:
    """A page, and what it should not do: errors on the console, requests to anywhere but where it came from."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.errors.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector(READY, timeout=60_000)

    def strangers(self, *allowed: str) -> list[str]:
        return [url for url in self.requests if not url.startswith(("data:", "blob:", *allowed))]

    def chosen(self) -> str:
        return str(self.page.eval_on_selector("#choose", "e => e.selectedOptions[0].textContent"))


@pytest.fixture(scope="module")
def seen(browser: Any, run: Path) -> Iterator[Seen]:
    address = write_page(run).as_uri()
    seen = Seen(browser, address, accept_downloads=True)
    yield seen
    # Of all that the tests below did.
    seen.context.close()
    assert seen.errors == []
    assert seen.strangers(address) == []


def click_point(seen: Seen, name: str) -> None:
    seen.page.locator(f'{POINTS}[aria-label^="{name},"]').click()


def test_clicking_a_mark_changes_images_heatmap_and_line(seen: Seen) -> None:
    page = seen.page
    click_point(seen, "01-1.50x")
    page.wait_for_function("document.querySelector('#use-line').textContent.includes('01-1.50x')")

    def shown() -> tuple[Any, ...]:
        page.wait_for_timeout(200)  # the heatmap is drawn anew
        images = page.eval_on_selector_all("#gallery img", "all => all.map(e => e.src)")
        return images, page.inner_html("#heatmap-chart svg"), page.inner_text("#use-line")

    first = shown()
    assert len(first[0]) == 2 * len(PROMPTS)
    assert page.eval_on_selector_all("#gallery figcaption", "all => all.map(e => e.textContent)") == PROMPTS
    assert page.eval_on_selector_all("#gallery img", "all => all.every(e => e.naturalWidth == 32)")
    click_point(seen, "02-2.00x")
    page.wait_for_function("document.querySelector('#use-line').textContent.includes('02-2.00x')")
    second = shown()
    assert seen.chosen() == "02-2.00x"
    for one, other in zip(first, second, strict=True):
        assert one != other
    # The uncached images, every other one, are the same.
    assert first[0][1::2] == second[0][1::2]
    assert not set(first[0][::2]) & set(second[0][::2])


def test_hovering_shows_numbers(seen: Seen) -> None:
    seen.page.locator(f'{POINTS}[aria-label^="02-2.00x,"]').hover()
    seen.page.wait_for_selector("#vg-tooltip-element.visible")
    text = seen.page.inner_text("#vg-tooltip-element")
    assert "0.880 [0.860, 0.890]" in text
    assert "2.00x" in text


def test_rivals_can_be_switched_off_and_the_axis_changed(seen: Seen) -> None:
    page = seen.page
    page.check("[name=whole]")
    assert page.locator(POINTS).count() == 9
    page.uncheck("[name=group][value=heuristics]")
    page.wait_for_function(f"document.querySelectorAll('{POINTS}').length == 8")
    before = page.locator(POINTS).first.get_attribute("transform")
    page.check("[name=measure][value='paper:H100']")
    page.wait_for_function("document.querySelector('#front-chart').textContent.includes('on paper (H100)')")
    assert page.locator(POINTS).count() == 8
    page.check("[name=group][value=heuristics]")
    page.check("[name=measure][value=macs]")
    page.uncheck("[name=whole]")
    page.wait_for_function("document.querySelector('#front-chart').textContent.includes('fewer MACs')")
    page.wait_for_function("document.querySelector('#outside').textContent.startsWith('1 marks lie outside')")
    assert before is not None


def test_by_keyboard(seen: Seen) -> None:
    page = seen.page
    page.select_option("#choose", label="01-1.50x")
    page.focus("#front-chart")
    page.keyboard.press("ArrowRight")
    first = seen.chosen()
    assert first != "01-1.50x"
    page.keyboard.press("ArrowLeft")
    assert seen.chosen() == "01-1.50x"
    page.focus("tr[data-mark] button.choose >> nth=3")
    page.keyboard.press("Enter")
    assert seen.chosen() == "03-3.00x"
    assert page.get_attribute("tr.selected button", "aria-pressed") == "true"


def test_the_slider_uncovers_the_uncached_image(seen: Seen) -> None:
    page = seen.page
    page.check("[name=view][value=slider]")
    clip = "getComputedStyle(document.querySelector('#gallery .without')).clipPath"
    assert page.evaluate(clip) == "inset(0px 50% 0px 0px)"
    page.click("#flip")
    assert page.evaluate(clip) in ("inset(0px)", "inset(0px 0% 0px 0px)")
    page.check("[name=view][value=beside]")


def test_the_downloaded_file_is_the_schedule(seen: Seen, tmp_path: Path) -> None:
    for name in ("02-2.00x", "fora:2"):
        seen.page.select_option("#choose", label=name)
        seen.page.wait_for_function(f"document.querySelector('#yaml').textContent.includes('name: {name}')")
        with seen.page.expect_download() as download:
            seen.page.click("#download")
        assert download.value.suggested_filename == name.replace(":", "-") + ".yaml"
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        schedule = load_schedule(path)
        if name in FRONT:
            assert schedule.digest() == FRONT[name].digest()
        assert schedule.name == name


def axe_faults(page: Any) -> list[str]:
    """What axe-core finds serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    page.eval_on_selector_all("details", "all => all.forEach(e => { e.open = true; })")
    found = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {fault['help']}: {fault['nodes'][0]['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_everybody_can_use_it(browser: Any, run: Path, scheme: str, width: int) -> None:
    """By axe-core, in both themes; on a phone nothing but what scrolls by itself is wider than the screen."""
    size = {"width": width, "height": 844}
    # axe-core is put into the page, which its policy would forbid.
    seen = Seen(browser, write_page(run).as_uri(), color_scheme=scheme, viewport=size, bypass_csp=True)
    assert axe_faults(seen.page) == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.errors == []
    seen.context.close()


def test_an_evaluation_has_a_choice_of_metrics(browser: Any, tmp_path: Path) -> None:
    address = write_page(made_evaluation(tmp_path / "results")).as_uri()
    seen = Seen(browser, address)
    seen.page.select_option("[name=metric]", "error")
    seen.page.wait_for_function(
        "document.querySelector('#front-chart').textContent.includes('lower is better')"
    )
    assert seen.page.locator(POINTS).count() == 8  # uncached has no error
    assert seen.errors == []
    assert seen.strangers(address) == []
    seen.context.close()


def test_a_live_page_follows_the_search(browser: Any, tmp_path: Path) -> None:
    folder = made_unfinished_run(tmp_path / "run")
    lines = (folder / "evaluations.jsonl").read_text().splitlines(keepends=True)
    (folder / "evaluations.jsonl").write_text("".join(lines[:2]))
    with live_server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        seen = Seen(browser, address)
        assert seen.page.locator("tr[data-mark]").count() == 2
        seen.page.select_option("#choose", index=1)
        chosen = seen.chosen()
        (folder / "evaluations.jsonl").write_text("".join(lines))
        seen.page.wait_for_selector("tr[data-mark] >> nth=2", timeout=60_000)
        seen.page.wait_for_function("document.querySelectorAll('#front-chart svg path[role]').length >= 3")
        assert seen.chosen() == chosen
        assert seen.page.locator("#volume-chart svg").count() == 1
        assert seen.errors == []
        assert seen.strangers(address) == []
        seen.context.close()
        server.shutdown()
        thread.join()
