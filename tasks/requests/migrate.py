"""Which database is made anew in the present schema, and where."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from patchlight.tasks.requests.fields import OF_SETTINGS, Database, Request, Shown, a_database


class MigrateRequest(Request):
    """A database of an older schema that one of the present schema is made of."""

    db: Database = OF_SETTINGS
    to: Annotated[
        str | None,
        AfterValidator(a_database),
        Shown(metavar="URI", usual="in place of the old one"),
    ] = Field(
        default=None,
        description="Where the new database goes; the old one stays where it is. Needed in an "
        "object store.",
    )
