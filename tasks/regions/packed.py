"""A page's regions on their way between processes: as columns in bytes, until they are looked at.

A page has hundreds of regions. As objects they take longer to cross than their text layer takes
to read, and they cross several processes that do not look at them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import overload

import numpy as np

from storage.records import Region, RegionKind

_KINDS = tuple(RegionKind)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_WHOLE = ("index", "parent", "order")
_REAL = ("x0", "y0", "x1", "y1", "confidence")
_columns = attrgetter("kind", "text", *_WHOLE, *_REAL)


class PackedRegions(Sequence[Region]):
    """The regions of a page, in order.

    Args:
        regions: the regions.
    """

    __slots__ = ("_packed", "_regions")

    def __init__(self, regions: Sequence[Region]) -> None:
        self._regions: tuple[Region, ...] | None = tuple(regions)
        self._packed: bytes | None = None

    @classmethod
    def from_bytes(cls, packed: bytes) -> PackedRegions:
        """Take regions as they were pickled."""
        made = cls(())
        made._regions, made._packed = None, packed
        return made

    @overload
    def __getitem__(self, index: int) -> Region: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Region, ...]: ...

    def __getitem__(self, index: int | slice) -> Region | tuple[Region, ...]:
        return self._unpacked()[index]

    def __len__(self) -> int:
        return len(self._unpacked())

    def __iter__(self) -> Iterator[Region]:
        return iter(self._unpacked())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._unpacked() == tuple(other)

    def __hash__(self) -> int:
        return hash(self._unpacked())

    def __repr__(self) -> str:
        return repr(self._unpacked())

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        if self._packed is None:
            self._packed = _pack(self._unpacked())
        return PackedRegions.from_bytes, (self._packed,)

    def _unpacked(self) -> tuple[Region, ...]:
        if self._regions is None:
            self._regions = _unpack(self._packed or b"")
        return self._regions


def _pack(regions: Sequence[Region]) -> bytes:
    if not regions:
        return b""
    kinds, texts, *rest = zip(*map(_columns, regions), strict=True)
    whole = np.array(rest[: len(_WHOLE)], dtype=np.int64)
    real = np.array(rest[len(_WHOLE) :], dtype=np.float64)
    parts = bytes(_NUMBERS[kind] for kind in kinds), texts, whole.tobytes(), real.tobytes()
    return pickle.dumps(parts, pickle.HIGHEST_PROTOCOL)


def _unpack(packed: bytes) -> tuple[Region, ...]:
    if not packed:
        return ()
    kinds, texts, whole, real = pickle.loads(packed)
    index, parent, order = np.frombuffer(whole, np.int64).reshape(len(_WHOLE), -1).tolist()
    x0, y0, x1, y1, trust = np.frombuffer(real, np.float64).reshape(len(_REAL), -1).tolist()
    kind = [_KINDS[number] for number in kinds]
    return tuple(map(Region, index, kind, parent, order, x0, y0, x1, y1, texts, trust))
