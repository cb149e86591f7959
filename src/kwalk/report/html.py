# SPDX-License-Identifier: MIT
"""Self-contained HTML pages, rendered from ``templates/`` by jinja2.

Every text that a template prints is cleaned and escaped; ``safe`` marks the policy and the
contents of style sheets and scripts, which are kwalk's own.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from kwalk.support.printable import plain

if TYPE_CHECKING:  # imported late: pictures only escape text
    from jinja2 import Environment

# Nothing is loaded, run or sent, whatever the names in a page contain.
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:"


def page(name: str, title: str, css: str, scripts: Sequence[str] = (), **data: Any) -> str:
    """Return the page that a template makes.

    Its Content-Security-Policy allows only this style sheet and these scripts, by their hashes;
    ``style`` attributes have no effect.

    :param name: File name of the template, which extends ``page.html``.
    :param title: The page's title, plain text.
    :param css: Style sheet of this page, after ``page.css``.
    :param scripts: Contents of each script element of the page that the browser may run.
    :param data: Variables of the template.
    """
    sheet = "\n" + file("templates/page.css") + css.rstrip() + "\n"
    policy = f"{_POLICY}; style-src {_hash(sheet)}"
    if scripts:
        policy += f"; script-src {' '.join(map(_hash, scripts))}"
    return template(name, title=title, policy=policy, css=sheet, **data)


def template(name: str, **data: Any) -> str:
    """Return a file of ``templates/``, rendered.

    :raises jinja2.UndefinedError: if the template has a variable that ``data`` lacks.
    """
    return _environment().get_template(name).render(data)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("kwalk.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_cleaned,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def _cleaned(value: Any) -> Any:
    """Return a value that a template prints; text without characters that HTML cannot hold."""
    marked = hasattr(value, "__html__")  # by ``safe``
    return clean(value) if isinstance(value, str) and not marked else value


def _hash(text: str) -> str:
    """Return the Content-Security-Policy source that allows the element with this text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def file(name: str) -> str:
    """Return the text of a file of this package."""
    return resources.files("kwalk.report").joinpath(name).read_text(encoding="utf-8")


def escape(text: str) -> str:
    """Return text escaped for HTML or XML."""
    return html.escape(clean(text))


def clean(text: str) -> str:
    """Return text without characters that HTML and XML cannot hold, or a terminal would obey."""
    return plain(text, "\N{REPLACEMENT CHARACTER}", kept="\t\n")
