"""From what was named on the command line to files, by content."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from patchlight.storage.records import Source
from patchlight.tasks.common.errors import EmptyDocument, InputError, MissingSource, SourceError
from patchlight.tasks.common.safetext import composed

READ_SUFFIXES = frozenset({".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"})
_CHUNK = 1 << 20
FILE_SCHEME = "file://"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to ingest.

    Attributes:
        source: its URI, and the name it was given by.
        path: where it is on this machine.
    """

    source: Source
    path: str


@dataclass(slots=True)
class Expansion:
    """What the SOURCE arguments stand for.

    Attributes:
        files: files to read, sorted within a folder, each path once.
        skipped: suffix -> files found in folders whose type is not read.
        missing: one error for each argument, or folder it stands for, without a file to read, and
            for each folder below that could not be looked into.
        folders: URIs of the folders that were looked through and hold a file to read.
        looked_into: URIs of all folders that could be, those below among them.
    """

    files: list[SourceFile] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    missing: list[tuple[Source, SourceError]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    looked_into: set[str] = field(default_factory=set)


def to_uri(path: str) -> str:
    """Return the absolute ``file://`` URI of a path; symbolic links are kept."""
    return Path(os.path.abspath(path)).as_uri()  # noqa: PTH100 - Path.resolve follows links


def to_path(uri: str) -> str:
    """Return the path of a ``file://`` URI made by ``to_uri``."""
    return os.fsdecode(unquote(urlsplit(uri).path, errors="surrogateescape"))


def shown(text: str) -> str:
    """Return a text that may hold a path as one that can be stored, and compared.

    A file name is bytes; those that are not UTF-8 are shown by their numbers. Some systems write
    a letter and its mark as two characters and others as one: here it is one.
    """
    return composed(text.encode("utf-8", "backslashreplace").decode())


def portable(argument: str) -> str:
    """Return an argument that may hold a path as one that means the same and is UTF-8.

    That is a URI, but for what is neither there nor a glob: that may be a name, and is shown.
    """
    try:
        argument.encode()
    except UnicodeEncodeError:
        pass
    else:
        return argument
    is_path = os.path.lexists(argument) or glob.has_magic(argument)
    return to_uri(argument) if is_path else shown(argument)


def expand(arguments: Sequence[str]) -> Expansion:
    """Find the files that files, folders (recursive) and globs stand for.

    A file named explicitly is always taken, whatever its name; in a folder only those with a
    suffix in ``READ_SUFFIXES`` are, and the others are counted.

    Args:
        arguments: paths, ``file://`` URIs, or globs (``**`` crosses folders).

    Raises:
        InputError: there is not one file to read; says of each argument why.
    """
    found = Expansion()
    seen: set[str] = set()
    for argument in arguments:
        given = to_path(argument) if argument.startswith(FILE_SCHEME) else argument
        matches = (
            [given] if os.path.lexists(given) else sorted(glob.glob(given, recursive=True))  # noqa: PTH207 - keeps names as given
        )
        if not matches:
            source = Source(to_uri(given), shown(argument))
            problem = f"{source.name}: no such file or folder, and no match as a glob"
            found.missing.append((source, MissingSource(problem)))
        for match in matches:
            unseen = len(found.missing)
            if not _take(match, found, seen) and len(found.missing) == unseen:
                folder = Source(to_uri(match), shown(match))
                problem = f"{folder.name}: there is no document of a type that is read in it"
                found.missing.append((folder, EmptyDocument(problem)))
    if not found.files:
        raise InputError(_nothing(found))
    return found


def gone_from(folders: Sequence[str], known: Iterable[str], found: Collection[str]) -> list[str]:
    """Return the known URIs whose files are no more in folders that were looked through.

    A file that cannot be looked at, for example because a folder may not be read, is not gone.

    Args:
        folders: URIs of folders, as in ``Expansion``. One without any file to read is not among
            them: it may be a disk that is not mounted.
        known: URIs of files that were there once.
        found: URIs of the files that are there.
    """
    below = tuple(f"{folder.rstrip('/')}/" for folder in folders)
    missing = (uri for uri in known if uri not in found and uri.startswith(below))
    return sorted(uri for uri in missing if not _is_there(to_path(uri)))


def _is_there(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def describe_skipped(skipped: Mapping[str, Sequence[str]]) -> str:
    """Say how many files of which type were left out, most first."""
    order = sorted(skipped.items(), key=lambda item: (-len(item[1]), item[0]))
    return ", ".join(f"{len(names)} {suffix or '(no suffix)'}" for suffix, names in order)


def _nothing(found: Expansion) -> str:
    kinds = ", ".join(sorted(READ_SUFFIXES))
    problems = "; ".join(str(error) for _, error in found.missing)
    others = f" Found instead: {describe_skipped(found.skipped)}." if found.skipped else ""
    return f"{problems}. Supported file types: {kinds}.{others}"


def sha256_of(path: str) -> tuple[str, int]:
    """Return the SHA-256 of a file's bytes (64 hexadecimal digits) and its size in bytes.

    Raises:
        MissingSource: the file is not there or may not be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for for ever
            raise MissingSource(f"{path}: is not a regular file; name a file, or a folder of them")
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise MissingSource(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest(), size


def stamp_of(path: str) -> tuple[int, int]:
    """Return a file's size in bytes and the time of its last change in nanoseconds.

    Raises:
        MissingSource: the file is not there.
    """
    try:
        state = Path(path).stat()
    except OSError as error:
        problem = f"{shown(path)}: cannot be read ({error.strerror or error})"
        raise MissingSource(problem) from error
    return state.st_size, state.st_mtime_ns


def _take(match: str, found: Expansion, seen: set[str]) -> bool:
    """Take a file, or what is in a folder; False for a folder with nothing to read."""
    if not Path(match).is_dir():
        _add(match, found, seen)
        return True
    any_read = False
    for path in _walk(match, found):
        suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
        if suffix in READ_SUFFIXES:
            any_read = True
            _add(path, found, seen)
        else:
            found.skipped.setdefault(shown(suffix), []).append(shown(path))
    if any_read:
        found.folders.append(to_uri(match))
    return any_read


def _add(path: str, found: Expansion, seen: set[str]) -> None:
    uri = to_uri(path)
    if uri not in seen:
        seen.add(uri)
        found.files.append(SourceFile(Source(uri, shown(path)), to_path(uri)))


def _walk(folder: str, found: Expansion) -> Iterator[str]:
    def cannot_look(error: OSError) -> None:
        place = os.fspath(error.filename)
        problem = f"{shown(place)}: cannot be looked into ({error.strerror or error})"
        source = Source(to_uri(place), shown(place))
        found.missing.append((source, MissingSource(f"{problem}; nothing in it was read")))

    # Links to folders are not followed: a loop of them would never end.
    for parent, folders, names in os.walk(folder, onerror=cannot_look):
        found.looked_into.add(to_uri(parent))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.join(parent, name)  # noqa: PTH118 - keeps the name as given
