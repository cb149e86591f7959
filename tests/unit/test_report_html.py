# SPDX-License-Identifier: MIT
"""What all pages have in common: alone they are complete, on any screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from chromium import Page, missing
from elements import Elements
from recorded import profile, stack
from test_bench_reports import usual
from test_flame import html_of
from test_report_compare import ALL

from kwalk.model.stack import Count
from kwalk.report.bench import page as bench_page
from kwalk.report.compare import page as compare_page

PAGES = {
    "bench": bench_page.as_html(usual()),
    "compare": compare_page.as_html(ALL),
    "flamegraph": html_of(profile(Count(stack("f", "a"), 3))),
}
each_page = pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)


@each_page
def test_page_refers_to_nothing_outside_itself(html: str) -> None:
    page = Elements(html)
    assert page.links == ["data:,"]  # else a page that is served would ask for an icon
    assert not {"img", "iframe", "object", "embed", "base"} & page.found.keys()
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|sendBeacon|import\(", html)
    # What is left are names of XML namespaces, which nothing loads.
    assert set(re.findall(r"https?://([^/\"'`]*)", html)) <= {"www.w3.org"}
    assert not re.search(r"[{}]{2}|{%|%}|Markup", page.text)
    scripts = len(page.found.get("script", []))
    (policy,) = (m["content"] or "" for m in page.found["meta"] if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; ")
    assert ("script-src" in policy) == (scripts > 0)
    assert "unsafe" not in policy
    assert {"base-uri 'none'", "form-action 'none'"} <= {*policy.split("; ")}
    assert not [each for found in page.found.values() for each in found if "style" in each]


def test_page_title_is_escaped() -> None:
    html = bench_page.as_html(replace(usual(), function="<b>\x00"))
    assert "<title>kwalk bench: &lt;b&gt;\ufffd</title>" in html


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    found = Page(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@each_page
def test_page_fits_a_phone_and_has_a_dark_scheme(browser: Page, html: str) -> None:
    colors = []
    for dark in (False, True):
        browser.look(420, 900, dark)
        browser.open(html)
        assert browser.run("return document.documentElement.scrollWidth") <= 420
        colors.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert colors == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]


# Each would change the title, were it run.
_SET = "document.title='changed'"
INJECTED = {
    "script": f"<script>{_SET}</script>",
    "handler": f'<img src="x" onerror="{_SET}">',
    "on load": f'<svg onload="{_SET}"></svg>',
    "data": f'<script src="data:text/javascript,{_SET}"></script>',
    "frame": f'<iframe srcdoc="<script>parent.{_SET}</script>"></iframe>',
    "module": f"<script type='module'>{_SET}</script>",
}


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@each_page
@pytest.mark.parametrize("injected", INJECTED.values(), ids=INJECTED)
def test_script_that_got_into_a_page_is_not_run(browser: Page, html: str, injected: str) -> None:
    browser.load(html.replace("<h1>", f"{injected}<h1>"))
    assert browser.driver.title.endswith(("- kwalk", "ip_rcv"))
    browser.when(lambda: any("Content Security Policy" in e for e in browser.errors()))
    # Without the policy it would have been.
    browser.load(re.sub(r"<meta http-equiv.*>", "", html).replace("<h1>", f"{injected}<h1>"))
    browser.when(lambda: browser.driver.title == "changed")
    browser.errors()


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@each_page
def test_style_links_and_forms_that_got_into_a_page_do_nothing(browser: Page, html: str) -> None:
    injected = (
        "<style>body { color: rgb(1, 2, 3); }</style><base href='https://kwalk.invalid/'>"
        "<p id='extra' style='color: rgb(4, 5, 6)'>x</p>"
        "<form action='https://kwalk.invalid/'><button id='send'>x</button></form>"
    )
    browser.look()
    browser.load(html.replace("<h1>", f"{injected}<h1>"))
    color = "return getComputedStyle(document.querySelector(arguments[0])).color"
    assert browser.run(color, "body") == "rgb(27, 31, 36)"
    assert browser.run(color, "#extra") != "rgb(4, 5, 6)"
    address = browser.driver.current_url
    assert browser.run("return document.baseURI") == address
    browser.by_id("send").click()
    assert browser.driver.current_url == address
    refused: list[str] = []

    def all_are_told() -> bool:
        refused.extend(e for e in browser.errors() if "Content Security Policy" in e)
        return len(refused) >= 4  # the style sheet, the attribute, the base, the form

    browser.when(all_are_told)
