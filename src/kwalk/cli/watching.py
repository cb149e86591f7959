# SPDX-License-Identifier: MIT
"""The loop of ``kwalk top``: read the counts once per interval, show them, handle keys."""

from __future__ import annotations

import math
import os
import time
from typing import Any, Protocol

from kwalk.cli.cost import Meter
from kwalk.cli.extensions import promises_report
from kwalk.cli.recorder import Recorder
from kwalk.cli.tracing import TracingSession
from kwalk.errors import KwalkError
from kwalk.support.outlet import Patience
from kwalk.support.stdio import Printer
from kwalk.support.text import plural
from kwalk.tui.control import Request, press
from kwalk.tui.lines import block
from kwalk.tui.look import Look, paint
from kwalk.tui.model import Model
from kwalk.tui.terminal import Terminal
from kwalk.tui.view import View

# Share of a CPU that reading and drawing may take; with thousands of stacks intervals get longer.
MOST_CPU = 0.2


class Face(Protocol):
    """Display of the model, and source of keys."""

    def pressed(self) -> list[str]:
        """Return the keys pressed since the last call."""

    def show(self, model: Model, anew: bool) -> bool:
        """Show the model; return False if the reader has gone.

        :param anew: The model has changed.
        """


class Screen:
    """The live view on a terminal."""

    def __init__(self, terminal: Terminal, look: Look, colors: bool) -> None:
        self._terminal = terminal
        self._view = View(look)
        self._colors = colors

    def pressed(self) -> list[str]:
        """See ``Face``."""
        keys = self._terminal.keys()
        if "redraw" in keys:
            self._terminal.forget()
        return keys

    def show(self, model: Model, anew: bool) -> bool:
        """See ``Face``."""
        if self._terminal.heed() or anew:
            lines = self._view.draw(model, *self._terminal.size())
            self._terminal.draw([paint(line, self._colors) for line in lines])
        return not self._terminal.gone


class LineView:
    """A block of lines per interval on standard output.

    :param patience: Whether to wait for a slow reader.
    """

    def __init__(self, printer: Printer, width: int, look: Look, patience: Patience) -> None:
        self._printer, self._patience = printer, patience
        self._width, self._look = width, look
        self._tick = 0

    def pressed(self) -> list[str]:
        """Return none."""
        return []

    def show(self, model: Model, anew: bool) -> bool:
        """See ``Face``."""
        if model.tick == self._tick:
            return True
        self._tick = model.tick
        text = block(model, self._width, self._look, time.time())
        return self._printer.write(text, self._patience)


class Watcher:
    """Feeds a model from a capture.

    :param facts: Metadata of recordings; see ``ProfileData.facts``.
    :param saved: Extended by a line for each recording that is saved.
    """

    def __init__(
        self,
        session: TracingSession,
        model: Model,
        meter: Meter,
        facts: dict[str, Any],
        saved: list[str],
    ) -> None:
        self._session, self._model, self._meter = session, model, meter
        self._facts, self._saved = facts, saved
        self._started = session.capture.started

    def run(self, face: Face, duration: float | None = None) -> None:
        """Run until told to stop.

        :param duration: Stop after this many seconds.
        :raises OutputError: from ``face``.
        """
        session, model = self._session, self._model
        session.say = model.say
        last = rested = self._started
        anew = True

        def due(now: float) -> float:
            return math.inf if model.frozen else max(last + model.interval, rested)

        for now in session.looks(session.end(duration), due):
            for key in face.pressed():
                anew = True
                request = press(model, key)
                if request and not request.save:
                    return
                self._heed(request)
            spent = time.process_time()
            fed = now >= due(now)
            if fed:
                self._feed(now - last)
                last, anew = now, True
            if not face.show(model, anew):
                return
            anew = False
            if fed:
                spent = time.process_time() - spent
                rested = time.monotonic() + spent * (1 / MOST_CPU - 1)

    def _feed(self, seconds: float) -> None:
        capture = self._session.capture
        # Counts first: their hits are then in the summary.
        counts = capture.counts()
        self._model.feed(counts, seconds, capture.summary(), self._meter.look())
        self._model.name_for_file = time.strftime("kwalk-top-%Y%m%d-%H%M%S.rec")

    def _heed(self, request: Request | None) -> None:
        if not request:
            return
        try:
            self._model.say(self._save(request.save))
        except KwalkError as error:
            self._model.say(f"not saved: {error.what}")

    def _save(self, path: str) -> str:
        if os.path.lexists(path) or path == "-":
            return f"not saved: there is a file {path} already; w asks for another name"
        if promises_report(path):
            return f"not saved: {path} is not a name for a recording; w asks for another one"
        capture = self._session.capture
        with Recorder(path) as recorder:
            counts, summary = capture.counts(), self._session.summary()
            recorder.begin(self._facts, summary)
            # Hits in progress, or after the counts were read.
            summary.ledger.close("after_snapshot")
            recorder.end(counts, time.monotonic() - self._started, summary)
        text = f"saved {plural(len(counts), 'stack')}; `kwalk report {path}` shows them"
        self._saved.append(text)
        return text
