"""Making a database of the present schema of an older one, without reading a document again.

The old database is only read. The new one is nobody's to use before it is whole: its row in
``meta`` comes last. Cut off at any point, the next migration goes on: a page is stored whole or not
at all, and the narrow tables are written in one commit each.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

from patchlight.storage import identity, moving
from patchlight.storage.database import Database
from patchlight.storage.engine import database_uri
from patchlight.storage.errors import (
    DatabaseInUse,
    MigrationUnfinished,
    StorageUnavailable,
)
from patchlight.storage.locks import is_local, making_alone, nobody_writing
from patchlight.storage.schema import MIGRATED_VERSION, SCHEMA_VERSION
from patchlight.storage.schema3 import OF_PAGES, OldDatabase
from patchlight.tasks.admin.carrying import MigrationReport, fill, made_of
from patchlight.tasks.common.errors import InputError, UsageError
from patchlight.tasks.requests.migrate import MigrateRequest

logger = logging.getLogger("patchlight.migration")


def migrate(request: MigrateRequest) -> MigrationReport:
    """Make a database of the present schema.

    Args:
        request: of which, and where.

    Raises:
        DatabaseInUse: a run is at work on the old database, or another migration on the new one.
        DatabaseNotFound: there is no database.
        InputError: something else is in a place that is needed.
        SchemaMismatch: it is of a schema that is not migrated.
        StorageUnavailable: it cannot be read or written, or was changed meanwhile.
        UsageError: the new one must have another place.
    """
    began, db = time.monotonic(), database_uri(request.db)
    place, in_place = _place(db, request.to), request.to is None
    if not _is_half_moved(db, in_place) and _old(db) is None:
        return _nothing(db)
    with _alone(place):
        # Asked again: another migration may have been done meanwhile.
        if _is_half_moved(db, in_place):
            return _moved(db)
        old = _old(db)
        if old is None:
            return _nothing(db)
        report = _migrated(old, place, in_place=in_place)
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _migrated(old: OldDatabase, place: str, *, in_place: bool) -> MigrationReport:
    """Make the new database, and give it its place; no other migration is at work."""
    db = old.uri
    if in_place and (kept := moving.kept(db, MIGRATED_VERSION)):
        raise InputError(f"{kept} is in the way: the old database is to be kept there; move it")
    _check_at_rest(old)
    state = _state(place, old, in_place=in_place)
    report = MigrationReport(
        db if in_place else place,
        db,
        done=in_place or state is not _State.WHOLE,
        went_on=state is not _State.NEW,
    )
    if not report.done:
        return report
    if state is not _State.WHOLE:
        fill(place, old, report)
    with nobody_writing(db):
        _check_at_rest(old)
        if not old.is_unchanged():
            raise StorageUnavailable(
                f"database {db} was changed while it was migrated. Stop what uses it, and run "
                "'patchlight migrate' again"
            )
        if state is not _State.WHOLE:
            identity.finish(place, old.identity)
        if in_place:
            moving.put_aside(db, MIGRATED_VERSION)
    if in_place:
        moving.put_in_place(db)
        report.old = moving.kept(db, MIGRATED_VERSION)
    return report


def _is_half_moved(db: str, in_place: bool) -> bool:
    """Whether a migration was cut off between its two renames."""
    return (
        in_place and moving.is_half_moved(db, MIGRATED_VERSION) and identity.read_meta(db) is None
    )


def _old(db: str) -> OldDatabase | None:
    """The database to migrate; None for one of the present schema."""
    row = identity.read_meta(db)
    if row is not None and row["schema_version"] == SCHEMA_VERSION:
        identity.read_identity(db)  # refuses one of a newer minor version
        return None
    return OldDatabase.open(db)


def _nothing(db: str) -> MigrationReport:
    return MigrationReport(db, moving.kept(db, MIGRATED_VERSION), done=False)


class _State(Enum):
    """Of the place where the new database is made."""

    NEW = "nothing is there"
    BEGUN = "pages may be there"
    WHOLE = "all is there"


def _place(db: str, to: str | None) -> str:
    if to is None:
        if not is_local(db):
            raise UsageError(
                f"--to is needed: {db} is in an object store, where nothing can be renamed. Name "
                "a place for the new database; the old one stays where it is"
            )
        return moving.work_place(db)
    place = database_uri(to)
    if f"{place}/".startswith(f"{db}/") or f"{db}/".startswith(f"{place}/"):
        raise UsageError(f"--to {to}: is in the place of the old database; name another one")
    return place


@contextmanager
def _alone(place: str) -> Iterator[None]:
    """Keep other migrations from a place; a folder that is made for that and not used goes."""
    with making_alone(place) as alone:
        if not alone:
            raise DatabaseInUse(f"another migration is at work on {place}; wait until it is done")
        try:
            yield
        finally:
            if is_local(place):
                with suppress(OSError):  # it is in use, or has its place
                    Path(place).rmdir()


def _moved(db: str) -> MigrationReport:
    """Do the second rename, which an earlier migration was cut off before."""
    kept, place = moving.kept(db, MIGRATED_VERSION), moving.work_place(db)
    for where, version in ((kept, MIGRATED_VERSION), (place, SCHEMA_VERSION)):
        row = identity.read_meta(where)
        if row is None or row["schema_version"] != version:
            raise InputError(
                f"there is nothing at {db}, and no database of schema {version} at {where}. Give "
                "the one that you want its name back, and run 'patchlight migrate' again"
            )
    moving.put_in_place(db)
    return MigrationReport(db, kept, went_on=True)


def _check_at_rest(old: OldDatabase) -> None:
    if live := old.live_runs():
        raise DatabaseInUse(
            f"run {live[0].run_id} is at work on database {old.uri}, process {live[0].pid} on "
            f"{live[0].host}. Wait until it is done; one that was killed elsewhere counts as at "
            f"work for {live[0].lease_s} s"
        )


def _state(place: str, old: OldDatabase, *, in_place: bool) -> _State:
    """Look at a place, and make it ready to go on with, or to begin.

    Raises:
        InputError: something else is there.
    """
    try:
        row = identity.read_meta(place)
        if row is None:
            return _State.NEW
        whole, ours = True, row["schema_version"] == SCHEMA_VERSION
    except MigrationUnfinished:
        whole, ours = False, True
    made = made_of(Database(place, old.identity)) if ours else []
    if any(one["from"] != old.uri for one in made) or (whole and not made):
        raise InputError(
            f"{place} is in the way: it holds another database, or one that is made of another. "
            "Name another place with --to, or remove it"
        )
    now = dict(old.versions)
    if whole and made[-1]["versions"] == now:
        return _State.WHOLE
    if whole and not in_place:
        raise InputError(
            f"{place} was made of {old.uri}, which was changed since. Remove it, or name another "
            "place with --to"
        )
    if any(one["versions"][t.value] != now[t.value] for one in made for t in OF_PAGES):
        logger.warning("%s was changed since its migration began; it begins anew", old.uri)
        identity.discard(place)
        return _State.NEW
    if whole:
        identity.withdraw(place)
    return _State.BEGUN
