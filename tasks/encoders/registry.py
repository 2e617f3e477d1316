"""Which encoders there are, and how each is made."""

from __future__ import annotations

from collections.abc import Callable

from storage.database import Database
from storage.errors import DatabaseNotFound, EncoderMismatch
from storage.records import EncoderIdentity
from tasks.encoders.protocol import Encoder
from tasks.errors import EncoderUnavailable


def _text_patch() -> Encoder:
    from tasks.encoders.textpatch import TextPatchEncoder

    return TextPatchEncoder()


_ENCODERS: dict[str, Callable[[], Encoder]] = {"text-patch": _text_patch}


def names() -> list[str]:
    """Names that ``--encoder`` takes."""
    return sorted(_ENCODERS)


def load(name: str) -> Encoder:
    """Make an encoder, with its weights.

    Raises:
        EncoderUnavailable: there is none of this name, or it cannot be loaded here.
    """
    make = _ENCODERS.get(name)
    if make is None:
        raise EncoderUnavailable(
            f"--encoder {name}: there is no such encoder; there is {', '.join(names())}"
        )
    return make()


def identity_of(encoder: Encoder) -> EncoderIdentity:
    """Return what a database keeps of its encoder."""
    return EncoderIdentity(encoder.name, encoder.fingerprint(), encoder.dim)


def load_for(identity: EncoderIdentity) -> Encoder:
    """Make the encoder a database belongs to, for queries.

    Raises:
        EncoderUnavailable: it cannot be loaded here.
        EncoderMismatch: what can be loaded here has other vectors than the database.
    """
    if identity.name not in _ENCODERS:
        raise EncoderMismatch(
            f"the database belongs to encoder {identity.name}, which this patchlight does not "
            f"have; it has {', '.join(names())}"
        )
    encoder = load(identity.name)
    here = identity_of(encoder)
    if here != identity:
        raise EncoderMismatch(
            f"the database was made with encoder {identity.name} ({identity.fingerprint}), and "
            f"the one installed here is {here.fingerprint}; use the patchlight that made it, or "
            "ingest into a new --db"
        )
    return encoder


def check(name: str, identity: EncoderIdentity) -> None:
    """Check that the encoder asked for is the one a database belongs to.

    Raises:
        EncoderUnavailable: there is none of this name.
        EncoderMismatch: it is another one.
    """
    asked = identity_of(load(name))
    if asked != identity:
        raise EncoderMismatch(
            f"the database belongs to encoder {identity.name} ({identity.fingerprint}), not to "
            f"{asked.name} ({asked.fingerprint}); ingest with --encoder {identity.name}, or into "
            "a new --db"
        )


def name_in(db: str) -> str | None:
    """Return the encoder a database belongs to; None if there is no database yet."""
    try:
        return Database.open(db).encoder.name
    except DatabaseNotFound:
        return None
