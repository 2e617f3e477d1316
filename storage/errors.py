"""Errors of the storage layer, and the base and exit codes that all of patchlight shares.

The whole tree is drawn in ``tasks.common.errors``, which continues it.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line's exit status means; documented in docs/errors.md."""

    OK = 0
    """Done; nothing failed."""
    INTERNAL = 1
    """A fault of patchlight itself, or of a library under it."""
    USAGE = 2
    """The command line is wrong: an unknown option, a value out of range, a bad SQL query."""
    BAD_INPUT = 3
    """Nothing could be done with what was given: no such file, an empty folder, no good row."""
    DONE_WITH_FAILURES = 4
    """Done, but some documents, pages or query rows could not be; they are listed."""
    DONE_WITHOUT_PICTURES = 5
    """All results are there, but some overlays could not be drawn from their sources."""
    DATABASE = 6
    """The database is missing, of another schema, encoder or form, or cannot be read or written."""
    INTERRUPTED = 130
    """Stopped by the user; what was committed stays."""


class PatchlightError(Exception):
    """Base of every error patchlight raises on purpose.

    The message names the file (and page or line) and says what to do.

    Attributes:
        exit_code: of a command that ends with it.
        retryable: whether the same may go well a moment later.
    """

    exit_code: ExitCode = ExitCode.INTERNAL
    retryable: bool = False


class StorageError(PatchlightError):
    """Something is wrong with the database."""

    exit_code = ExitCode.DATABASE


class DatabaseNotFound(StorageError):
    """There is no patchlight database at the URI."""


class SchemaMismatch(StorageError):
    """The database was written with another schema version, or is not a patchlight database."""


class MigrationUnfinished(StorageError):
    """The database is being made of one of an older schema, or that was interrupted."""


class DatabaseInUse(StorageError):
    """Another process is at work on a database that must be at rest."""


class EncoderMismatch(StorageError):
    """The database belongs to another encoder."""


class FormMismatch(StorageError):
    """The database stores its vectors in another form."""


class StorageUnavailable(StorageError):
    """The database could not be read or written (permissions, disk full, damaged files)."""

    retryable = True


class LeaseLost(StorageError):
    """Another run took over from this one, which had not been heard of for too long."""


class SqlError(StorageError):
    """A SQL query is wrong or not allowed."""

    exit_code = ExitCode.USAGE
