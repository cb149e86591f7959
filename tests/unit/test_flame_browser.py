# SPDX-License-Identifier: MIT
"""The page with the flame graph, used in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import Page, missing
from flamed import Paths, summed
from hypothesis import HealthCheck, Phase, given, settings
from recorded import profile, profiles, stack
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from test_flame import EVIL, changed, html_of

from kwalk.api.profile import Profile
from kwalk.model.stack import Count, Group
from kwalk.report import calltree
from kwalk.report.flame.header import Header
from kwalk.report.flame.page import page as page_of
from kwalk.report.style import ReportOptions

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

FULL = 1368  # pixels: what a window of 1400 leaves between the margins


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    found = Page(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.fixture
def small(page: Page) -> Page:
    """30 calls of f by way of a, 10 by way of b, all of them from root."""
    page.look()
    page.open(
        html_of(
            profile(
                Count(stack("f", "a", "c", "root"), 30), Count(stack("f", "b@overlay", "root"), 10)
            )
        )
    )
    return page


@pytest.fixture
def grouped(page: Page) -> Page:
    """The same function by two processes."""
    page.look()
    rows = [
        Count(stack("f", "a"), 30, Group("comm", 0, "redis")),
        Count(stack("f", "a"), 10, Group("comm", 0, "<wrk>")),
    ]
    page.open(html_of(profile(*rows)))
    return page


def expected(found: Profile, callers: bool) -> Paths:
    rows = []
    for count in found:
        path = calltree.path(count, groups=False)
        group = [str(count.group)] if count.group else []
        rows.append((tuple(path[::-1] + group if callers else group + path), count.calls))
    return summed(rows)


@settings(
    max_examples=25,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(found=profiles())
def test_page_builds_the_same_trees(page: Page, found: Profile) -> None:
    for callers in (False, True):
        page.open(html_of(found, ReportOptions(callers=callers)))
        total, paths = page.paths()
        # What ends in a frame is a difference of sums: with fractions, one that is rounded.
        whole = all(count.scaled is None for count in found)
        rounding = 0.0 if whole else 1e-12 * found.calls
        assert total == pytest.approx(found.calls, abs=rounding)
        wanted = expected(found, callers)
        for path in paths.keys() | wanted.keys():
            assert paths.get(path, 0) == pytest.approx(wanted.get(path, 0), rel=0, abs=rounding)


def test_widths_are_shares_of_the_calls(small: Page) -> None:
    width = small.box("all")[0]
    assert abs(width - FULL) <= 20
    assert small.box("root")[0] == width
    assert abs(small.box("a")[0] - 0.75 * width) <= 1
    assert abs(small.box("b [overlay]")[0] - 0.25 * width) <= 1
    assert small.box("root")[1] < small.box("all")[1]


def test_click_zooms_and_reset_goes_back(small: Page) -> None:
    width = small.box("all")[0]
    assert not small.by_id("reset").is_enabled()
    top = small.box("b [overlay]")[1]
    small.click("b [overlay]")
    small.until("details", "10 calls")
    assert small.box("b [overlay]")[1] == top
    assert small.box("b [overlay]")[0] == width
    assert small.box("root")[0] == width
    assert "a" not in small.drawn()
    assert "fade" in (small.frame("root").get_attribute("class") or "")
    small.by_id("reset").click()
    small.until("details", "40 calls")
    assert "a" in small.drawn()
    assert abs(small.box("b [overlay]")[0] - 0.25 * width) <= 1
    assert not small.by_id("reset").is_enabled()


def test_pointing_at_a_frame_tells_about_it(small: Page) -> None:
    small.hover("a")
    told = small.until("details", "30 calls")
    assert told.replace("\u2002", " ") == (
        "a  30 calls, 75.0 % of all that are shown; 100.0 % of those through c"
    )
    small.hover("b [overlay]")
    assert "25.0 % of those through root" in small.until("details", "10 calls")
    assert "40 calls" in (small.frame("all").get_attribute("textContent") or "")
    small.hover_off()
    small.until("details", "40 calls; click on a frame")


@pytest.mark.parametrize(
    ("term", "names", "told"),
    [
        ("OVER", ["b [overlay]"], "1 frame, 10 calls through it, 25.0 %"),
        ("[", ["b [overlay]"], "1 frame, 10 calls"),
        ("b*", ["b [overlay]"], "1 frame, 10 calls"),
        ("?", ["a", "c", "f", "b [overlay]"], "5 frames, 40 calls through them, 100.0 %"),
        ("/^[ac]$/", ["a", "c"], "2 frames, 30 calls through them, 75.0 %"),
        ("nothing", [], "no match"),
        ("/(/", [], "not a regular expression"),
        ("all", [], "no match"),
    ],
)
def test_search(small: Page, term: str, names: list[str], told: str) -> None:
    before = {name: small.fill(name) for name in small.drawn()}
    small.search(term)
    small.until("found", told)
    assert [name for name in before if small.fill(name) != before[name]] == sorted(
        names, key=list(before).index
    )
    small.search("")
    small.when(lambda: small.text("found") == "")
    assert before == {name: small.fill(name) for name in small.drawn()}


def test_keyboard_reaches_everything(small: Page) -> None:
    small.press("/")
    assert small.driver.switch_to.active_element == small.by_id("search")
    small.press("overlay", Keys.ENTER)
    small.until("details", "10 calls")
    assert "a" not in small.drawn()
    small.press(Keys.ESCAPE)
    assert small.by_id("search").get_attribute("value") == ""
    small.press(Keys.ESCAPE)
    assert "a" in small.drawn()
    small.run("document.getElementById('chart').focus()")
    small.press(Keys.ARROW_UP, Keys.ARROW_UP)
    assert small.text("details").startswith("c ")
    small.press(Keys.ARROW_RIGHT)
    assert small.text("details").startswith("b [overlay]")
    small.press(Keys.ENTER)
    assert "a" not in small.drawn()
    small.press(Keys.ARROW_DOWN)
    assert small.text("details").startswith("root")
    small.press(Keys.ESCAPE)
    assert "a" in small.drawn()


def test_callers_first_turns_the_tree_round(small: Page) -> None:
    small.toggle("callers")
    assert small.by_id("callers").get_attribute("aria-pressed") == "true"
    width = small.box("all")[0]
    assert small.box("f")[0] == width
    assert small.box("all")[1] < small.box("f")[1] < small.box("a")[1]
    assert small.paths() == (40, {("f", "a", "c", "root"): 30, ("f", "b [overlay]", "root"): 10})
    small.hover("a")
    assert "75.0 % of the calls of f" in small.until("details", "30 calls")
    small.toggle("callers")
    assert small.paths()[1] == {("root", "c", "a", "f"): 30, ("root", "b [overlay]", "f"): 10}


def test_groups_can_be_chosen(grouped: Page) -> None:
    choice = Select(grouped.by_id("group"))
    assert [option.text for option in choice.options] == [
        "all, side by side", "all, together", "redis", "<wrk>",
    ]  # fmt: skip
    assert grouped.paths() == (40, {("redis", "a", "f"): 30, ("<wrk>", "a", "f"): 10})
    choice.select_by_visible_text("<wrk>")
    grouped.rebuilt()
    assert grouped.paths() == (10, {("a", "f"): 10})
    grouped.toggle("callers")
    assert grouped.paths() == (10, {("f", "a"): 10})
    choice.select_by_visible_text("all, together")
    grouped.rebuilt()
    assert grouped.paths() == (40, {("f", "a"): 40})
    choice.select_by_visible_text("all, side by side")
    grouped.rebuilt()
    assert grouped.paths() == (40, {("f", "a", "redis"): 30, ("f", "a", "<wrk>"): 10})


def test_group_choice_is_hidden_without_groups(small: Page) -> None:
    assert not small.by_id("groups").is_displayed()
    assert not small.by_id("before").is_displayed()


def test_search_survives_a_change_of_the_tree(small: Page) -> None:
    small.search("overlay")
    told = small.until("found", "1 frame")
    small.toggle("callers")
    assert small.text("found") == told


def test_names_are_shown_as_they_are(page: Page) -> None:
    page.look()
    found = profile(Count(stack(EVIL, "a"), 3, Group("comm", 0, EVIL)))
    page.open(html_of(found, ReportOptions(title=EVIL)))
    assert EVIL in page.drawn()
    assert page.driver.find_element("tag name", "h1").text == EVIL
    page.run("document.querySelector('#chart g:nth-of-type(2)').dispatchEvent("
             "new MouseEvent('mouseover', {bubbles: true}))")  # fmt: skip
    assert page.until("details", "3 calls").startswith(EVIL)
    assert page.run("return document.querySelectorAll('script').length") == 3


def test_narrow_windows_need_no_scrolling_sideways(small: Page) -> None:
    small.look(400, 800)
    assert small.run("return document.documentElement.scrollWidth") <= 400
    small.when(lambda: small.box("all")[0] < 400)
    small.look()


def test_dark_and_light(small: Page) -> None:
    back = "return getComputedStyle(document.body).backgroundColor"
    light = (small.run(back), small.fill("a"))
    small.look(dark=True)
    dark = (small.run(back), small.fill("a"))
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] == "rgb(20, 23, 27)"
    assert light[1] != dark[1]
    assert light[1].startswith("rgb")


def test_narrow_frames_are_told_and_stay_in_the_totals(page: Page) -> None:
    page.look()
    rows = [Count(stack("f", f"rare{index}", "root"), 1) for index in range(50)]
    page.open(html_of(profile(Count(stack("f", "hot", "root"), 100_000), *rows)))
    assert "rare1" not in page.drawn()
    assert page.text("left").startswith("Frames narrower than a pixel are not drawn: 100 of 104;")
    page.hover("root")
    page.until("details", "100,050 calls")
    page.search("rare1*")
    page.until("found", "11 frames, 11 calls")
    page.by_id("search").send_keys(Keys.ENTER)
    page.until("details", "1 call, ")
    assert "rare1" in page.drawn()
    assert page.text("left") == ""


def test_details_of_one_call_are_in_the_singular(page: Page) -> None:
    page.look()
    page.open(html_of(profile(Count(stack("a", "root"), 1), Count(stack("root"), 1))))
    page.hover("root")
    assert "2 calls, 100.0 % of all that are shown; 1 ends here" in page.until("details", "root")
    page.hover("a")
    assert "1 call, 50.0 % of all that are shown" in page.until("details", "1 call,")
    page.search("a")
    page.until("found", "1 frame, 1 call through it, 50.0 %")


def test_empty_recording_says_nothing_to_draw(page: Page) -> None:
    page.open(html_of(profile(recursion=3)))
    assert "nothing to draw" in page.text("chart")
    page.search("x")
    page.toggle("callers")
    assert page.errors() == []


def test_difference_is_red_and_blue(page: Page) -> None:
    page.look()
    page.open("".join(page_of({"": changed()}, Header("a against b"), change=True)))
    red, blue = page.fill("new"), page.fill("less")
    assert color(red)[0] > color(red)[2]
    assert color(blue)[0] < color(blue)[2]
    assert max(color(page.fill("all"))) - min(color(page.fill("all"))) < 30
    assert "gone" not in page.drawn()
    assert "\u201cWidths before\u201d shows those that are gone" in page.text("left")
    page.hover("more")
    told = page.until("details", "more")
    assert "after 40 calls (40.0 %), before 20 (20.0 %): +20, \u00d72.00" in told
    page.toggle("before")
    assert "new" not in page.drawn()
    assert color(page.fill("gone"))[0] < color(page.fill("gone"))[2]
    assert page.paths() == (100, {("gone",): 49.5, ("less",): 30.5, ("more",): 20})
    page.hover("gone")
    assert "after 0 calls (0.0 %), before 49.5 (49.5 %): \u221249.5, gone" in page.until(
        "details", "gone"
    )


def color(text: str) -> list[int]:
    """Red, green and blue of what CSS calls ``rgb(1, 2, 3)``."""
    return [int(part) for part in text.removeprefix("rgb(").removesuffix(")").split(",")]
