# SPDX-License-Identifier: MIT
"""A headless Chromium to look at pages with, and what tests do in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flamed import Paths
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
# All frames below a node, as [names from the root, total, calls that end there].
_WALK = """
const names = JSON.parse(document.getElementById("data").textContent).names, rows = [];
const walk = (node, path) => {
  const below = (node.c || []).reduce((sum, child) => sum + child.v, 0);
  rows.push([path, node.v, node.v - below]);
  for (const child of node.c || []) walk(child, [...path, names[child.n]]);
};
const root = document.getElementById("chart").__data__;
if (root) walk(root.data, []);
return rows;
"""


def missing() -> str:
    """What is not installed, as a reason to skip; "" if all is there."""
    lacking = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(lacking)} not installed" if lacking else ""


class Page:
    """A page in the browser."""

    def __init__(self, folder: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(
            options=options, service=Service(shutil.which("chromedriver"))
        )
        self._file = folder / "page.html"
        self.look()

    def look(self, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window, and which colours are preferred."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})

    def open(self, html: str) -> None:
        """Load a page; it must cause no error and ask for nothing."""
        self.load(html)
        assert self.errors() == []
        assert self.run("return performance.getEntriesByType('resource').length") == 0

    def load(self, html: str) -> None:
        """Load a page as it is."""
        self._file.write_text(html, encoding="utf-8")
        self.driver.get(self._file.as_uri())

    def errors(self) -> list[str]:
        """What the browser complained of since it was asked last, such as a load it refused."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def run(self, script: str, *args: object) -> Any:
        """Return what JavaScript returns."""
        return self.driver.execute_script(script, *args)

    def by_id(self, name: str) -> WebElement:
        """An element."""
        return self.driver.find_element(By.ID, name)

    def text(self, name: str) -> str:
        """What an element shows."""
        return self.by_id(name).text

    def when(self, condition: Callable[[], bool]) -> None:
        """Wait until this is so."""
        WebDriverWait(self.driver, 20, 0.05).until(lambda _: condition())

    def until(self, name: str, part: str) -> str:
        """Wait until an element shows this, and return all that it shows."""
        WebDriverWait(self.driver, 20, 0.05).until(
            lambda _: part in self.text(name), f"{part} in {name}"
        )
        return self.text(name)

    def frame(self, name: str) -> WebElement:
        """The first frame of a function that is drawn."""
        return self.driver.find_element(By.CSS_SELECTOR, f'#chart g[name="{name}"]')

    def box(self, name: str) -> tuple[int, int]:
        """Width and top of a frame, in pixels."""
        found = self.run(
            "const b = arguments[0].querySelector('rect').getBoundingClientRect();"
            "return [Math.round(b.width), Math.round(b.top)]",
            self.frame(name),
        )
        return found[0], found[1]

    def drawn(self) -> list[str]:
        """The names of all frames that are drawn, from the root on."""
        found = self.run(
            "return [...document.querySelectorAll('#chart g')].map(g=>g.getAttribute('name'))"
        )
        return list(map(str, found))

    def fill(self, name: str) -> str:
        """The colour of a frame, as the browser computes it."""
        return str(self.run(
            "return getComputedStyle(arguments[0].querySelector('rect')).fill", self.frame(name)
        ))  # fmt: skip

    def paths(self) -> tuple[float, Paths]:
        """All calls of the tree that the page built, and how many end at each path."""
        rows = self.run(_WALK)
        found: Paths = {}
        for path, _, own in rows:
            if own:  # A group may have the name of a function: then there are two such paths.
                found[tuple(path)] = found.get(tuple(path), 0) + own
        return (rows[0][1] if rows else 0), found

    def click(self, name: str) -> None:
        """Click on a frame, wherever it can be seen."""
        ActionChains(self.driver).move_to_element(self.frame(name)).click().perform()

    def hover(self, name: str) -> None:
        """Point at a frame."""
        ActionChains(self.driver).move_to_element(self.frame(name)).perform()

    def hover_off(self) -> None:
        """Point at no frame."""
        ActionChains(self.driver).move_to_element(self.by_id("search")).perform()

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def toggle(self, name: str) -> None:
        """Click on a button and wait until the tree is built anew."""
        self.by_id(name).click()
        self.rebuilt()

    def rebuilt(self) -> None:
        """Wait until no tree is being built."""
        WebDriverWait(self.driver, 20, 0.05).until(
            lambda _: self.by_id("chart").get_attribute("aria-busy") is None, "the tree"
        )

    def search(self, term: str) -> None:
        """Write into the search field."""
        self.by_id("search").send_keys(Keys.CONTROL, "a")
        self.by_id("search").send_keys(term or Keys.DELETE)

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()
