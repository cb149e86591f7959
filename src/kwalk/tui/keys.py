# SPDX-License-Identifier: MIT
"""Decoder of a terminal's input."""

from __future__ import annotations

import codecs

# Escape sequences, without ESC, of xterm and the Linux console.
_SEQUENCES = {
    "[A": "up", "OA": "up", "[B": "down", "OB": "down", "[C": "right", "OC": "right",
    "[D": "left", "OD": "left", "[H": "home", "OH": "home", "[1~": "home", "[7~": "home",
    "[F": "end", "OF": "end", "[4~": "end", "[8~": "end", "[5~": "pageup", "[6~": "pagedown",
    "[3~": "delete",
}  # fmt: skip
_NAMES = {
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\t": "tab",
    "\x15": "clear", "\x06": "pagedown", "\x02": "pageup", "\x0e": "down", "\x10": "up",
    "\x0c": "redraw",
}  # fmt: skip
ESC = "\x1b"


class Decoder:
    """Incremental decoder from bytes to keys: characters, or names of keys."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    @property
    def waits(self) -> bool:
        """Whether the last bytes may begin a longer sequence."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[str]:
        """Decode bytes and return the keys that they complete."""
        keys = []
        for char in self._text.decode(data):
            held = self._held + char
            if not self._held:
                if char == ESC:
                    self._held = ESC
                elif char in _NAMES:
                    keys.append(_NAMES[char])
                elif char.isprintable():
                    keys.append(char)
            elif held == ESC + ESC:
                keys.append("esc")
            elif held in (ESC + "[", ESC + "O") or (held[1] == "[" and not "@" <= char <= "~"):
                self._held = held if len(held) < 16 else ""
            else:  # complete, known or not
                self._held = ""
                name = _SEQUENCES.get(held[1:], "")
                keys += [name] if name else []
        return keys

    def rest(self) -> list[str]:
        """Return the key of an incomplete sequence, once no more bytes follow: ``esc`` or none."""
        held, self._held = self._held, ""
        return ["esc"] if held == ESC else []
