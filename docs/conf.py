# SPDX-License-Identifier: MIT
"""The documentation as a site: `make docs`. Nothing in it is loaded from elsewhere."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "tools"))

import reference  # noqa: E402

from kwalk import __version__  # noqa: E402

project = "kwalk"
author = "the kwalk authors"
copyright = "2026 the kwalk authors"
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["tools"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
smartquotes = False
option_emphasise_placeholders = False

html_theme = "furo"
html_title = f"kwalk {version}"
html_static_path = ["static"]
html_css_files = ["kwalk.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

# Files beside this folder that pages refer to; here they are pages themselves.
OUTSIDE = {
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "SECURITY.md": "security",
}


def _write_pages(app: Any) -> None:
    folder = HERE / "reference"
    reference.write(folder)
    for name, page in OUTSIDE.items():
        shutil.copyfile(HERE.parent / name, folder / f"{page}.md")


def _mend_links(app: Any, page: str, source: list[str]) -> None:
    """Let links fit the place that a page has on the site."""
    if page.removeprefix("reference/") in OUTSIDE.values():
        source[0] = source[0].replace("](docs/", "](../")
    for name, other in OUTSIDE.items():
        source[0] = source[0].replace(f"](../{name})", f"](reference/{other}.md)")
        source[0] = source[0].replace(f"]({name})", f"]({other}.md)")


def setup(app: Any) -> None:
    """Have the pages written that are made of something else."""
    app.connect("builder-inited", _write_pages)
    app.connect("source-read", _mend_links)
