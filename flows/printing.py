"""Standard output, which may be a full disk, a reader that has left, or nothing at all."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from patchlight.tasks.common.errors import UsageError


class _Output(io.FileIO):
    """Standard output as bytes. Once it cannot be written, it is written to no more.

    Attributes:
        left: whether what reads it, e.g. ``head``, has seen enough.
    """

    left = False

    def write(self, data: Any) -> int:
        """Write bytes.

        Raises:
            UsageError: they cannot be written, e.g. for want of room.
        """
        try:
            return super().write(data)
        except BrokenPipeError:
            self.left = True
            self._give_up()
            return len(data)
        except OSError as error:
            self._give_up()
            raise UsageError(
                f"standard output cannot be written ({error.strerror or error}); "
                "what the command has done stays"
            ) from error

    def _give_up(self) -> None:
        """Lead to nowhere what Python still has to write, at its end too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def open_output() -> None:
    """Take over standard output and error: what cannot be encoded or written ends no command.

    A command whose reader leaves does its work and ends with its own code.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the process was started without it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if name == "stdout":
                stream.flush()
                sys.stdout = io.TextIOWrapper(
                    io.BufferedWriter(_Output(stream.fileno(), "wb", closefd=False)),
                    encoding=stream.encoding,
                    errors="backslashreplace",
                    line_buffering=stream.line_buffering,
                )


def has_reader() -> bool:
    """Whether it makes sense to print more."""
    buffer = getattr(sys.stdout, "buffer", None)
    return not getattr(getattr(buffer, "raw", None), "left", False)
