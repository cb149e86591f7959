# SPDX-License-Identifier: MIT
"""Self-contained HTML pages: the frame, security policy and escaping common to all of them."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib import resources
from string import Template

from kwalk.support.printable import plain

# Nothing is loaded, run or sent, whatever the names in a page contain.
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:"


def page(title: str, css: str, body: str, scripts: Sequence[str] = ()) -> str:
    """Return a page.

    Its Content-Security-Policy allows only this style sheet and these scripts, by their hashes;
    ``style`` attributes have no effect.

    :param title: Plain text.
    :param css: Style sheet, added to ``page.css``.
    :param body: HTML.
    :param scripts: Contents of each script element in the body that may run.
    """
    sheet = "\n" + file("page.css") + css.rstrip() + "\n"
    policy = f"{_POLICY}; style-src {_hash(sheet)}"
    if scripts:
        policy += f"; script-src {' '.join(map(_hash, scripts))}"
    return template("page.html").substitute(
        title=escape(title), policy=policy, css=sheet, body=body.rstrip()
    )


def _hash(text: str) -> str:
    """Return the Content-Security-Policy source for an inline element: ``'sha256-...'``."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def template(name: str) -> Template:
    """Return a file of ``report/`` as a ``string.Template``."""
    return Template(file(name))


def file(name: str) -> str:
    """Return the text of a file of ``report/``."""
    return resources.files("kwalk.report").joinpath(name).read_text(encoding="utf-8")


def escape(text: str) -> str:
    """Return text escaped for HTML or XML."""
    return html.escape(clean(text))


def clean(text: str) -> str:
    """Return text with control characters replaced, which HTML, XML and terminals can't take."""
    return plain(text, "\N{REPLACEMENT CHARACTER}", kept="\t\n")
