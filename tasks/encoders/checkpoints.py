"""Which model a name means: finds a checkpoint, checks it, and says what it is, unloaded.

A checkpoint is a folder as transformers saves it: a whole model, or a LoRA adapter with the name
of the base model it belongs on. It comes from a folder, or from a hub by way of its cache on
this machine. Nothing of it is run, and what would leave weights at random is an error: a model
without its trained projection loads, and gives vectors that mean nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from patchlight.tasks.common.errors import EncoderUnavailable
from patchlight.tasks.encoders import hub
from patchlight.tasks.encoders.families import FAMILIES, Family
from patchlight.tasks.encoders.weightfiles import (
    ADAPTER_CONFIG,
    PROCESSORS,
    Tensor,
    Unusable,
    check_settings,
    lacking,
    read_json,
    read_weights,
    samples,
    tokenizer_files,
)

_FILES = (
    "config.json",
    ADAPTER_CONFIG,
    *PROCESSORS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
)
"""Files, beside the weights, that can move a vector."""

_VOLATILE = {
    "_commit_hash",
    "_name_or_path",
    "base_model_name_or_path",
    "name_or_path",
    "peft_version",
    "revision",
    "transformers_version",
}
"""Keys of JSON files that say where something came from, not what it is."""

_PROCESSOR_FILES = (*PROCESSORS, "tokenizer_config.json")

_FLOATS = ("BF16", "F16", "F32", "F64")

_BY_MODEL = {family.model: family for family in FAMILIES.values()}
_BY_PROCESSOR = {family.processor: family for family in FAMILIES.values()}

_SINGLE_VECTOR = re.compile(r"Bi(Pali|Qwen|Idefics|ModernVBert|Gemma)\w*")
_OMNI = re.compile(r"ColQwen2_5Omni\w*")
_FOR_RETRIEVAL = re.compile(r"(Col\w+)ForRetrieval")
_MODEL_TYPES = {
    "colpali": "ColPaliForRetrieval",
    "colqwen2": "ColQwen2ForRetrieval",
    "colmodernvbert": "ColModernVBertForRetrieval",
}
"""``model_type`` of transformers' own forms -> their class."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this machine, described without loading it; picklable.

    Attributes:
        name: what finds it again: ``owner/name@<commit>`` of the hub, or the absolute path of a
            folder; after it ``+<owner/base>@<commit>`` if it adapts a base model of the hub.
        folder: where its weights are, or those of its LoRA adapter.
        base: folder of the model that ``folder`` adapts; None when ``folder`` is no adapter.
        family: which classes load it.
        dim: length of a vector.
        digest: 16 hexadecimal digits that recognise its content, wherever it lies.
        parameters: numbers in its weights, those of base and adapter together.
    """

    name: str
    folder: Path
    base: Path | None
    family: Family
    dim: int
    digest: str
    parameters: int

    @property
    def processor(self) -> Path:
        """Where its processor is: an adapter's own if it has one, otherwise the base's."""
        own = (self.folder / "tokenizer_config.json").exists() and not lacking(self.folder)
        return self.folder if own or self.base is None else self.base


def resolve(name: str) -> Checkpoint:
    """Find a checkpoint and say what it is; fetches what is not on this machine.

    What has a commit in its name, and is in the hub's cache, is resolved without the network;
    what has none is looked up, and taken from the cache where the hub cannot be reached. The base
    of an adapter that is named by its commit alone is the one that the cache knows, if it does.

    Args:
        name: a folder, or ``owner/name`` or ``owner/name@revision`` on the hub: a branch, a tag
            or a commit. What is there as a folder is a folder. ``+owner/base`` or
            ``+owner/base@revision`` after it says from where, and at which revision, the base of
            an adapter is to be had.

    Raises:
        EncoderUnavailable: there is none, it cannot be had here, or it is none that patchlight
            runs; the message says what to do.
    """
    try:
        return _resolve(name)
    except Unusable as error:
        raise EncoderUnavailable(f"encoder {name}: {error}") from error
    except OSError as error:
        raise EncoderUnavailable(
            f"encoder {name}: cannot be read ({error}); check that the files are whole and may be "
            "read by you"
        ) from error


def same_source(asked: str, stored: str) -> bool:
    """Whether a name that was asked for means the source of a stored one.

    ``owner/name`` means every commit of it; ``owner/name@revision`` only what is spelled alike.
    Without a base, every one is meant.

    >>> same_source("a/b", "a/b@01+c/d@23"), same_source("a/b@01", "a/b@01+c/d@23")
    (True, True)
    >>> same_source("a/b@main", "a/b@01"), same_source("a/b+c/d@45", "a/b@01+c/d@23")
    (False, False)
    """
    if asked == stored:
        return True
    (source, base), (kept, kept_base) = _parts(asked), _parts(stored)
    if base and not (kept_base and _covers(base, kept_base)):
        return False
    if not _absolute(source).is_dir() and hub.split(source):
        return _covers(source, kept)
    return str(_absolute(source)) == kept


def needs_engine() -> None:
    """Check that the libraries that run checkpoints are installed; imports none of them.

    Raises:
        EncoderUnavailable: they are not.
    """
    missing = [name for name in ("colpali_engine", "torch") if find_spec(name) is None]
    if missing:
        raise EncoderUnavailable(
            f"this encoder needs {' and '.join(missing)}, not installed here; "
            "run 'make install' in the checkout of patchlight, or use --encoder text-patch"
        )


def _resolve(name: str) -> Checkpoint:
    place, pin = _parts(name)
    source, folder = _find(place)
    adapts = (folder / ADAPTER_CONFIG).exists()
    if not (adapts or (folder / "config.json").exists()):
        raise Unusable(
            f"{folder} holds no config.json and no {ADAPTER_CONFIG}; give the folder that does"
        )
    if pin and not adapts:
        raise Unusable(f"{source} is not an adapter, so it has no base model; leave out +{pin}")
    check_settings(folder)
    base = None
    if adapts:
        # A fixed adapter is to stay what it is: its base is not looked up anew.
        origin, base = _base_of(folder, pin, hub.is_commit((hub.split(place) or ("", ""))[1]))
        source = f"{source}+{origin}" if origin else source
        check_settings(base)
    family = _family(folder, base)
    own, below = read_weights(folder), read_weights(base) if base else {}
    tensors = {("adapter:" if base else "") + key: value for key, value in own.items()} | below
    found = Checkpoint(
        name=source,
        folder=folder,
        base=base,
        family=family,
        dim=_dim(family, base or folder, own, below),
        digest=_digest(folder, base, tensors),
        parameters=sum(tensor.numbers for tensor in tensors.values()),
    )
    if missing := lacking(found.processor):
        raise Unusable(
            f"{found.processor} lacks {', and '.join(missing)}; take a checkpoint that holds them"
        )
    return found


def _parts(name: str) -> tuple[str, str | None]:
    """Split a name into the checkpoint and, if it says so, the base model on the hub.

    Folders may have a ``+`` in their names; an id of the hub and a revision have none here.

    >>> _parts("a/b@01+c/d@23"), _parts("a/b")
    (('a/b@01', 'c/d@23'), ('a/b', None))
    """
    place, plus, base = name.rpartition("+")
    if not plus or hub.split(base) is None or _absolute(name).is_dir():
        return name, None
    return (place, base) if hub.split(place) or _absolute(place).is_dir() else (name, None)


def _covers(asked: str, stored: str) -> bool:
    """Whether an id of the hub means a pinned one."""
    return asked == stored or ("@" not in asked and stored.startswith(f"{asked}@"))


def _find(name: str) -> tuple[str, Path]:
    """Return the name that finds a checkpoint again, and its folder."""
    folder = _absolute(name)
    if folder.is_dir():
        return str(folder), folder
    parts = hub.split(name)
    if parts is None:
        raise Unusable(
            "there is no such folder, and it is not an id of a hub; give a folder that holds a "
            f"checkpoint, owner/name or owner/name@revision of a hub, or text-patch. {_known()}"
        )
    repo, revision = parts
    try:
        folder = hub.fetch(repo, revision)
    except hub.NotHad as error:
        if revision:
            raise
        raise Unusable(f"there is no folder {folder}; and as an id of the hub: {error}") from error
    return f"{repo}@{hub.commit_of(folder)}", folder


def _absolute(name: str) -> Path:
    try:
        return Path(name).expanduser().resolve()
    except RuntimeError:  # ~somebody who is not known here: a name like any other
        return Path(name).resolve()


def _base_of(folder: Path, pin: str | None, fixed: bool) -> tuple[str | None, Path]:
    """Find the model that an adapter belongs on: as a path, near the adapter, on the hub.

    Args:
        folder: of the adapter.
        pin: id of the base on the hub, if the name says so; it is taken from there.
        fixed: whether the adapter is named by its commit.

    Returns:
        The base's id and commit, None where it is not from the hub; and its folder.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise Unusable(
            f"{folder / ADAPTER_CONFIG} does not say which base model it adapts; "
            "write it there as base_model_name_or_path"
        )
    named = hub.split(base)
    if pin:
        repo, revision = hub.split(pin) or (pin, None)
        if named and named[0] != repo:
            raise Unusable(f"it adapts {named[0]}, not {repo}; leave out +{pin}")
        try:
            return _fetched_base(repo, revision, cache_first=False)
        except Unusable as error:
            raise Unusable(f"its base model: {error}") from error
    last = re.split(r"[/\\]", base.rstrip("/\\"))[-1]
    # The adapter's folder comes first, so that a path means the same wherever we are called.
    places = [folder / base, folder / last, folder.parent / last]
    for place in places:
        if (place / "config.json").exists() and place.resolve() != folder:
            found = place.resolve()
            if (found / ADAPTER_CONFIG).exists():
                raise Unusable(
                    f"its base model {found} is an adapter itself; merge that into its own base"
                )
            return None, found
    looked = ", ".join(dict.fromkeys(map(str, places)))
    if named is None:
        raise Unusable(
            f"its base model {base} is not at {looked}; put its folder at one of these places"
        )
    asked = config.get("revision")
    revision = named[1] or (asked if isinstance(asked, str) and asked else None)
    try:
        return _fetched_base(named[0], revision, cache_first=fixed)
    except Unusable as error:
        raise Unusable(f"its base model is not at {looked}, and {error}") from error


def _fetched_base(repo: str, revision: str | None, *, cache_first: bool) -> tuple[str, Path]:
    found = hub.fetch(repo, revision, cache_first=cache_first)
    if (found / ADAPTER_CONFIG).exists():
        raise Unusable(f"{repo} is an adapter itself; merge that into its own base")
    if not (found / "config.json").exists():
        raise Unusable(f"{repo} holds no config.json")
    return f"{repo}@{hub.commit_of(found)}", found


def _family(folder: Path, base: Path | None) -> Family:
    """Tell from a checkpoint's own files which classes load it.

    Classes of models say it best: the one an adapter was made for, then those of the
    configurations. Classes of processors come last: some adapters name no other.
    """
    own, below = _classes(folder), _classes(base) if base else _Classes((), ())
    for name in (*own.models, *own.processors, *below.models):
        if _SINGLE_VECTOR.fullmatch(name):
            raise Unusable(
                f"{name} gives one vector for a page, so there are no patches. {_known()}"
            )
        if _OMNI.fullmatch(name):
            raise Unusable(f"{name} is not among the models that patchlight runs. {_known()}")
        if form := _FOR_RETRIEVAL.fullmatch(name):
            same = _BY_MODEL.get(form[1])
            instead = f"take {same.examples[0]}, or a" if same else "take a"
            raise Unusable(
                f"{name} is transformers' own form of the model; {instead} checkpoint made with "
                f"colpali-engine. {_known()}"
            )
    for names, known in (
        ((*own.models, *below.models), _BY_MODEL),
        ((*own.processors, *below.processors), _BY_PROCESSOR),
    ):
        for name in names:
            if name in known:
                return known[name]
    named = (*own.models, *below.models, *own.processors, *below.processors)
    raise Unusable(
        f"its class {named[0]} is not one of the ColVision models. {_known()}"
        if named
        else f"its configuration does not say which model it is. {_known()}"
    )


@dataclass(frozen=True, slots=True)
class _Classes:
    """Names of classes in the configuration files of a folder."""

    models: tuple[str, ...]
    processors: tuple[str, ...]


def _classes(folder: Path) -> _Classes:
    found: list[object] = []
    if (folder / ADAPTER_CONFIG).exists():
        mapping = read_json(folder / ADAPTER_CONFIG).get("auto_mapping")
        found.append(mapping.get("base_model_class") if isinstance(mapping, dict) else None)
    if (folder / "config.json").exists():
        config = read_json(folder / "config.json")
        architectures = config.get("architectures")
        found += architectures if isinstance(architectures, list) else []
        found.append(_MODEL_TYPES.get(str(config.get("model_type"))))
    processors = [
        read_json(folder / file).get("processor_class")
        for file in _PROCESSOR_FILES
        if (folder / file).exists()
    ]
    return _Classes(_strings(found), _strings(processors))


def _strings(found: list[object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in found if isinstance(name, str)))


def _known() -> str:
    examples = ", ".join(f"{family.model} ({family.examples[0]})" for family in FAMILIES.values())
    return f"These work: {examples}"


def _dim(
    family: Family, configured: Path, own: Mapping[str, Tensor], below: Mapping[str, Tensor]
) -> int:
    """Read the length of a vector from the shape of the projection's weight."""
    # An adapter may hold the projection as a whole, in place of its base model's.
    found = [
        (name, tensor)
        for name, tensor in (*own.items(), *below.items())
        if _bare(name) in family.projection
    ]
    if not found:
        raise Unusable(
            f"it holds no {family.projection[0]}, the trained projection of a {family.model}; "
            f"its vectors would be random. Take a checkpoint that holds it. {_known()}"
        )
    name, tensor = found[0]
    if tensor.dtype not in _FLOATS or len(tensor.shape) != 2:
        raise Unusable(
            f"{name} is stored as {tensor.dtype} {list(tensor.shape)}; take a checkpoint whose "
            "weights are not quantised"
        )
    dim = tensor.shape[0]
    expected = family.dim or read_json(configured / "config.json").get("dim", 128)
    if dim != expected:
        raise Unusable(
            f"its vectors have {dim} numbers, and {family.model} of colpali-engine makes "
            f"{expected}; take another checkpoint. {_known()}"
        )
    return dim


def _bare(name: str) -> str:
    """Return a weight's name in the model that saved it, without what wraps that model.

    >>> _bare("base_model.model.custom_text_proj.modules_to_save.default.weight")
    'custom_text_proj.weight'
    """
    name = re.sub(r"\.modules_to_save(\.default)?(?=\.)", "", name)
    return name.removeprefix("base_model.model.").removeprefix("model.")


def _digest(folder: Path, base: Path | None, tensors: Mapping[str, Tensor]) -> str:
    """Recognise a checkpoint by its content, not by where it lies or how it is cut into files.

    Of each tensor 12 KiB are read, not all: that takes 0.1 s for a model of 7 GB, at every start
    of every process. It is enough to tell models apart, because training moves practically every
    number of a tensor. A file damaged elsewhere is not noticed.
    """
    digest = hashlib.sha256()

    def add(*parts: bytes) -> None:
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)

    for role, place in (("base", base), ("own", folder)):
        for file in _content_files(place) if place else ():
            add(f"{role}/{file.name}".encode(), _canonical(file))
    for name, tensor, sample in samples(tensors):
        add(name.encode(), tensor.dtype.encode(), repr(tensor.shape).encode(), sample)
    return digest.hexdigest()[:16]


def _content_files(folder: Path) -> Iterator[Path]:
    for name in (*_FILES, *tokenizer_files(folder)):
        if (folder / name).exists():
            yield folder / name


def _canonical(file: Path) -> bytes:
    """Return a file's content without what differs between copies of the same thing."""
    if file.suffix != ".json" or file.name == "tokenizer.json":  # tens of MB, and never rewritten
        return file.read_bytes()
    return json.dumps(_settled(read_json(file)), sort_keys=True).encode()


def _settled(value: object) -> object:
    if isinstance(value, dict):
        return {key: _settled(item) for key, item in value.items() if key not in _VOLATILE}
    return [_settled(item) for item in value] if isinstance(value, list) else value
