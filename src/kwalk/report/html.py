# SPDX-License-Identifier: MIT
"""Pages of HTML that refer to nothing outside themselves: what all of them have in common."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib import resources
from string import Template

from kwalk.support.printable import plain

# Nothing is ever loaded, run or sent, whatever a name in a page contains.
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:"


def page(title: str, css: str, body: str, scripts: Sequence[str] = ()) -> str:
    """Return a page.

    Its policy has the hashes of its style sheet and scripts: others, ``style`` attributes among
    them, have no effect.

    :param title: As text.
    :param css: What the page has beside ``page.css``.
    :param body: As HTML.
    :param scripts: The contents of each script element in the body that is to be run.
    """
    sheet = "\n" + file("page.css") + css.rstrip() + "\n"
    policy = f"{_POLICY}; style-src {_hash(sheet)}"
    if scripts:
        policy += f"; script-src {' '.join(map(_hash, scripts))}"
    return template("page.html").substitute(
        title=escape(title), policy=policy, css=sheet, body=body.rstrip()
    )


def _hash(text: str) -> str:
    """Return a source of Content-Security-Policy that stands for this very element."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


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
    """Return text without what HTML and XML cannot hold, or a terminal would obey."""
    return plain(text, "\N{REPLACEMENT CHARACTER}", kept="\t\n")
