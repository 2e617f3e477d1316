"""What is in the files of a checkpoint, read without loading them and without their library.

A safetensors file is: 8 bytes, the length n of the header, little-endian; n bytes of JSON, tensor
name -> ``dtype``, ``shape`` and ``data_offsets`` from the end of the header; the numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ADAPTER_CONFIG = "adapter_config.json"
"""The file that makes a folder an adapter."""

SAMPLE_BYTES = 4096
"""Bytes sampled at the start, in the middle and at the end of a tensor."""

_HEADER_LIMIT = 100_000_000
"""Most bytes of a header, by the format's own rule; more is no safetensors file."""

_LFS_POINTER = b"version https://git-lfs"

_SHARD = re.compile(r"[\w.-]+\.safetensors", re.ASCII)

PROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""The files of which one says how pictures are prepared."""

TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
"""The files of a tokenizer; the first of these that are there are the ones that are read."""

_SETTINGS = ("config.json", ADAPTER_CONFIG, *PROCESSORS, "tokenizer_config.json")

_ELSEWHERE = {
    "transformers_weights": "another file of weights",
    "configuration_files": "another configuration",
    "fast_tokenizer_files": "another tokenizer",
    "audio_tokenizer": "another model",
    "megatron_config": "a module of Python",
}
"""Keys, in any of ``_SETTINGS``, by which transformers and peft load more than the files that we
read: what it is."""

_IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")
"""Keys, also after an underscore, that may hold the name of a repository with code to run."""

_OTHER_FORM = re.compile(
    r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors|audio_tokenizer_config\.json"
)
"""Files that transformers takes, where they are there, beside or instead of those we read."""


class Unusable(Exception):
    """A checkpoint cannot be used; the message says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        file: which.
        dtype: as the header calls it, e.g. ``BF16``.
        shape: its dimensions.
        start, end: where its bytes are in the file.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the headers of the weights of a model, in one file or several, or of an adapter.

    Returns:
        Name -> tensor.

    Raises:
        Unusable: there is no safetensors file, one is missing or cut off, or one lacks a tensor
            that the index says it holds.
    """
    stem = "adapter_model" if (folder / ADAPTER_CONFIG).exists() else "model"
    whole = folder / f"{stem}.safetensors"
    if whole.exists():
        return _header(whole)
    index = folder / f"{stem}.safetensors.index.json"
    if not index.exists() or stem == "adapter_model":  # the libraries read adapters in one file
        raise Unusable(_no_weights(folder, stem))
    where = read_json(index).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise Unusable(f"{index} names no file of weights; fetch it again")
    found: dict[str, Tensor] = {}
    for name in sorted(set(map(str, where.values()))):
        shard = folder / name
        if not _SHARD.fullmatch(name):
            raise Unusable(f"{index} names {name}, which is not a safetensors file beside it")
        if not shard.exists():
            raise Unusable(f"{shard} is missing, which {index.name} names; fetch it again")
        found |= _header(shard)
    absent = sorted(set(where) - set(found))
    if absent:
        raise Unusable(
            f"{folder / where[absent[0]]} lacks {absent[0]}, which {index.name} says it holds; "
            "fetch both again"
        )
    return found


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON file that holds an object.

    Raises:
        Unusable: it cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unusable(f"{path} cannot be read ({error}); fetch it again") from error
    if not isinstance(found, dict):
        raise Unusable(f"{path} is not a JSON object; fetch it again")
    return found


def check_settings(folder: Path) -> None:
    """Check that a folder's settings have nothing loaded but the files that are read here.

    Raises:
        Unusable: they name other files, models or code, or it is not LoRA that adapts the model.
    """
    for name in _SETTINGS:
        path = folder / name
        if not path.exists():
            continue
        settings = read_json(path)
        for key, value in _pairs(settings):
            if key in _ELSEWHERE and value is not None:
                raise Unusable(
                    f"{path} has {key}, which would load {_ELSEWHERE[key]} unchecked; take a "
                    "checkpoint without it"
                )
            if key.lstrip("_") in _IMPLEMENTATIONS and "/" in json.dumps(value):
                raise Unusable(
                    f"{path} has {key}, which would run code of a hub; take a checkpoint without it"
                )
            if key == "quantization_config" and value is not None:
                raise Unusable(
                    f"{path} has {key}; take a checkpoint whose weights are not quantised"
                )
        if name == ADAPTER_CONFIG and settings.get("peft_type") != "LORA":
            raise Unusable(
                f"{path} has peft_type {settings.get('peft_type')}; take an adapter made by LoRA"
            )
    for path in sorted(folder.iterdir()):
        if _OTHER_FORM.fullmatch(path.name):
            raise Unusable(
                f"{path} would be loaded beside or instead of what is checked here; take "
                "a checkpoint without it"
            )


def _pairs(value: object) -> Iterator[tuple[str, object]]:
    """Yield all keys of JSON at any depth, with their values."""
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _pairs(item)


def lacking(folder: Path) -> list[str]:
    """Return what is not in a folder of that which prepares pages and queries for a model."""
    found = []
    if not any((folder / name).exists() for name in PROCESSORS):
        found.append(" or ".join(PROCESSORS))
    if not tokenizer_files(folder):
        found.append(" or ".join(" with ".join(names) for names in TOKENIZERS))
    return found


def tokenizer_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files of a folder's tokenizer; none where one is missing."""
    whole = (names for names in TOKENIZERS if all((folder / name).exists() for name in names))
    return next(whole, ())


def samples(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, bytes]]:
    """Read a sample of every tensor's bytes, by name: its start, its middle and its end.

    Short tensors are read whole. Of a model of 3 G numbers 10 MB are read.
    """
    # One file after another, for the disk's sake; then in the order of names, which does not
    # depend on how they are cut into files.
    read: dict[str, bytes] = {}
    for file in sorted({tensor.file for tensor in tensors.values()}):
        with file.open("rb", buffering=0) as data:
            for name, tensor in tensors.items():
                if tensor.file == file:
                    parts = []
                    for start, end in _spans(tensor.start, tensor.end):
                        data.seek(start)
                        parts.append(data.read(end - start))
                    read[name] = b"".join(parts)
    for name in sorted(tensors):
        yield name, tensors[name], read[name]


def _spans(start: int, end: int) -> list[tuple[int, int]]:
    if end - start <= 3 * SAMPLE_BYTES:
        return [(start, end)]
    middle = (start + end - SAMPLE_BYTES) // 2
    starts = (start, middle, end - SAMPLE_BYTES)
    return [(first, first + SAMPLE_BYTES) for first in starts]


def _header(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as data:
            size = path.stat().st_size
            first = data.read(8)
            length = int.from_bytes(first, "little")
            if _LFS_POINTER.startswith(first) and len(first) == 8:
                raise Unusable(
                    f"{path} is a pointer of Git LFS, not the weights; fetch them by git lfs pull"
                )
            if not 0 < length <= min(_HEADER_LIMIT, size - 8):
                raise Unusable(f"{path} is cut off or not a safetensors file; fetch it again")
            entries = json.loads(data.read(length))
        found = {
            name: _tensor(path, entry, 8 + length)
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except OSError as error:
        raise Unusable(f"{path} cannot be read ({error}); fetch it again") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unusable(f"{path} is damaged ({error}); fetch it again") from error
    needed = max((tensor.end for tensor in found.values()), default=0)
    if not found or size < needed:
        raise Unusable(f"{path} is cut off: {size:,} of {needed:,} bytes; fetch it again")
    return found


def _tensor(path: Path, entry: dict[str, object], base: int) -> Tensor:
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2):
        raise ValueError(f"a tensor is described by {entry}")
    start, end = (int(offset) for offset in offsets)
    if not 0 <= start <= end:
        raise ValueError(f"a tensor lies at {start} to {end}")
    return Tensor(path, str(entry["dtype"]), tuple(map(int, shape)), base + start, base + end)


def _no_weights(folder: Path, stem: str) -> str:
    others = sorted(path.name for path in folder.glob("*.bin"))
    instead = f" but {others[0]}, and that format can run code when it is read" if others else ""
    return (
        f"{folder} holds no {stem}.safetensors{instead}; take a checkpoint or a revision that has "
        "safetensors files"
    )
