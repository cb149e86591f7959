# SPDX-License-Identifier: MIT
"""A page of HTML, read."""

from __future__ import annotations

from html.parser import HTMLParser

_EMPTY = {"meta", "link", "br", "input"}
_LINKS = {"src", "href", "xlink:href", "srcset", "action"}


class Elements(HTMLParser):
    """The elements of a page, each of which must have its end.

    :ivar found: The attributes of all elements, by tag.
    :ivar links: What they refer to.
    :ivar text: What can be read.
    :ivar css: The style sheet.
    :ivar cells: Class and text of each ``div``.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, list[dict[str, str | None]]] = {}
        self.links: list[str] = []
        self.text = ""
        self.css = ""
        self.cells: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found.setdefault(tag, []).append(given)
        self.links += [given[name] or "" for name in given if name in _LINKS]
        if tag not in _EMPTY:
            self._open.append(tag)
        if tag == "div":
            self.cells.append((given.get("class") or "", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _EMPTY:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.css += data
        elif "script" not in self._open:
            self.text += data
        if self._open and self._open[-1] == "div":
            self.cells[-1] = (self.cells[-1][0], data)
