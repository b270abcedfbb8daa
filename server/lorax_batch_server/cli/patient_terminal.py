"""A terminal that is written to without ever waiting for it: what it does not take is left out."""

import io
import os
import select
import time
from typing import Final

CONTROL_LENGTH: Final = 256
"""Shorter texts are control codes, as those that leave the alternate screen: they wait until they are taken."""
CLOSE_S: Final = 1.0
"""So long the last codes may wait at the end."""


class PatientTerminal(io.TextIOBase):
    """Stands for standard output; a whole frame is dropped while an earlier one is still to be taken.

    A terminal that nobody reads (Ctrl-S, a hung connection) would otherwise hold up whoever writes, and Ctrl-C too.

    *Resources*: a file of its own, so that what shares the terminal goes on blocking; `close` gives it back.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        self._pending = b""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What texts are written as."""
        return "utf-8"

    def isatty(self) -> bool:
        """Tell rich that colours are welcome."""
        return True

    def fileno(self) -> int:
        """Return the file, for its size to be asked."""
        return self._file

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Write what the terminal takes now; the rest of a begun frame and control codes follow later."""
        self._push()
        if not self._pending or len(text) < CONTROL_LENGTH:
            self._pending += text.encode()
            self._push()
        return len(text)

    def flush(self) -> None:
        """Write on, if anything is left."""
        if not self.closed:
            self._push()

    def close(self) -> None:
        """Give what is left a last moment."""
        if self.closed:
            return
        deadline = time.monotonic() + CLOSE_S
        while self._pending and (left_s := deadline - time.monotonic()) > 0:
            select.select([], [self._file], [], left_s)
            self._push()
        super().close()
        os.close(self._file)

    def _push(self) -> None:
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._file, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._pending = b""  # the terminal is gone, and this process is about to be told
