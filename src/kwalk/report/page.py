# SPDX-License-Identifier: MIT
"""Pages of HTML that refer to nothing outside themselves: what all of them have in common."""

from __future__ import annotations

import html
from importlib import resources
from string import Template

# Nothing is ever loaded, whatever a name in a page contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SCRIPTS = "; script-src 'unsafe-inline'"


def page(title: str, css: str, body: str, scripts: bool = False) -> str:
    """Return a page.

    :param title: As text.
    :param css: What the page has beside ``page.css``.
    :param body: As HTML.
    :param scripts: Scripts in the body are run.
    """
    return template("page.html").substitute(
        title=escape(title),
        policy=_POLICY + _SCRIPTS * scripts,
        css=file("page.css") + css.rstrip(),
        body=body.rstrip(),
    )


def template(name: str) -> Template:
    """Return a file of this folder as a template."""
    return Template(file(name))


def file(name: str) -> str:
    """Return a file of this folder."""
    return resources.files("kwalk.report").joinpath(name).read_text(encoding="utf-8")


def escape(text: str) -> str:
    """Return text as HTML or XML."""
    return html.escape(clean(text))


def clean(text: str) -> str:
    """Return text without what neither HTML nor XML can hold: names of tasks can be any bytes."""
    return "".join(
        char
        if char in "\t\n"
        or (" " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd")
        or char > "\uffff"
        else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
