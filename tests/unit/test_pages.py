# SPDX-License-Identifier: MIT
"""What all pages have in common: alone they are complete, on any screen."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from chromium import Page, missing
from elements import Elements
from recorded import profile, stack
from test_bench_reports import usual
from test_flame import html_of
from test_report_compare import ALL

from kwalk.report import bench_page, compare_page
from kwalk.report.page import page as page_of
from kwalk.stack import Count

PAGES = {
    "bench": bench_page.as_html(usual()),
    "compare": compare_page.as_html(ALL),
    "flamegraph": html_of(profile(Count(stack("f", "a"), 3))),
}
each_page = pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)


@each_page
def test_a_page_refers_to_nothing_outside_itself(html: str) -> None:
    page = Elements(html)
    assert page.links == ["data:,"]  # else a page that is served would ask for an icon
    assert not {"img", "iframe", "object", "embed", "base"} & page.found.keys()
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|sendBeacon|import\(", html)
    # What is left are names of XML namespaces, which nothing loads.
    assert set(re.findall(r"https?://([^/\"'`]*)", html)) <= {"www.w3.org"}
    assert "$" not in page.text
    scripts = len(page.found.get("script", []))
    (policy,) = (m["content"] or "" for m in page.found["meta"] if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; ")
    assert ("script-src" in policy) == (scripts > 0)


def test_a_title_is_text() -> None:
    assert "<title>&lt;b&gt;\ufffd</title>" in page_of("<b>\x00", "", "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    found = Page(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@each_page
def test_a_page_fits_a_telephone_and_is_dark_where_that_is_wanted(browser: Page, html: str) -> None:
    colors = []
    for dark in (False, True):
        browser.look(420, 900, dark)
        browser.open(html)
        assert browser.run("return document.documentElement.scrollWidth") <= 420
        colors.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert colors == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]
