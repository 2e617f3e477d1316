"""Memory that the process that reads documents shares with its parent.

Its first page holds where the work is: the parent looks there now and then, and after a death,
and is not woken by every step. What lies behind are the large arrays of an answer, which would
take much longer through a socket.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.common.errors import Stage

_STAGES = tuple(Stage)
_NOTE = struct.Struct("=iI")
_HEAD = mmap.PAGESIZE

_LARGE = 1 << 16
"""Bytes of an array above which it goes this way."""

_KEPT = 1 << 24
"""Bytes that stay allocated between two answers."""


class SharedMemory:
    """The memory, from either side.

    Args:
        descriptor: of the memory that the other side has made; None to make it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("patchlight")
            os.ftruncate(descriptor, _HEAD)
        self.descriptor = descriptor
        self._head = mmap.mmap(descriptor, _HEAD)

    def note(self, stage: Stage, ocr_timeout_s: int) -> None:
        """Write down where the work is, and the seconds that Tesseract may take; 0 without it."""
        _NOTE.pack_into(self._head, 0, _STAGES.index(stage), ocr_timeout_s)

    def noted(self) -> tuple[Stage, int]:
        """Return what was written down last."""
        number, ocr_timeout_s = _NOTE.unpack_from(self._head, 0)
        return _STAGES[number % len(_STAGES)], ocr_timeout_s

    def dumps(self, message: Any) -> bytes:
        """Pickle a message, but for its large arrays, which are put here."""
        large: list[memoryview] = []

        def keep_inside(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes >= _LARGE:
                large.append(raw)
            return raw.nbytes < _LARGE

        pickled = pickle.dumps(message, pickle.HIGHEST_PROTOCOL, buffer_callback=keep_inside)
        at = _HEAD
        for array in large:
            at += _write(self.descriptor, array, at)
        return pickle.dumps((pickled, [array.nbytes for array in large]))

    def loads(self, message: bytes) -> Any:
        """Return what the other side has pickled, with arrays of our own."""
        pickled, sizes = pickle.loads(message)
        return pickle.loads(pickled, buffers=self._arrays(sizes))

    def close(self) -> None:
        """Let go of it."""
        self._head.close()
        os.close(self.descriptor)

    def _arrays(self, sizes: Sequence[int]) -> list[NDArray[np.uint8]]:
        arrays, at = [], _HEAD
        for size in sizes:
            array = np.empty(size, dtype=np.uint8)  # in huge pages, unlike a bytearray
            if os.preadv(self.descriptor, [array.data], at) != size:
                raise EOFError("an array ends too soon")
            arrays.append(array)
            at += size
        if at > _KEPT:
            os.ftruncate(self.descriptor, _HEAD)
        return arrays


def _write(descriptor: int, array: memoryview, at: int) -> int:
    """Write all of an array; returns its size."""
    done = 0
    while done < array.nbytes:
        done += os.pwrite(descriptor, array[done:], at + done)
    return done
