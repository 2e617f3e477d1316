"""Which encoders there are, and how each is made.

An encoder is named ``text-patch``, by the id of a checkpoint on a model hub, or by a folder.
It is described first, which is cheap, and loaded where it is to work.
"""

from __future__ import annotations

from patchlight.storage.database import Database
from patchlight.storage.errors import EncoderMismatch
from patchlight.storage.records import EncoderIdentity
from patchlight.tasks.common.errors import EncoderUnavailable, UsageError
from patchlight.tasks.encoders import checkpoints, colvision, textpatch
from patchlight.tasks.encoders.protocol import Encoder, EncoderInfo


def describe(name: str, visual_tokens: int | None = None) -> EncoderInfo:
    """Say what an encoder is; fetches its checkpoint if it is not on this machine.

    Args:
        name: ``text-patch``, a hub id ``owner/name`` or ``owner/name@revision``, or a folder.
        visual_tokens: most patches a page is cut into; None for the encoder's own number.

    Raises:
        EncoderUnavailable: there is none of this name, or it cannot be had here.
        UsageError: the encoder has no choice of visual tokens.
    """
    if name == textpatch.NAME:
        if visual_tokens:
            raise UsageError("--visual-tokens: text-patch has a grid of its own; leave it out")
        textpatch.check_installed()
        return textpatch.describe()
    return colvision.describe(name, visual_tokens)


def load(
    info: EncoderInfo,
    *,
    device: str | None = None,
    gpu_share: float = 1.0,
    threads: int | None = None,
    batch_tokens: int | None = None,
) -> Encoder:
    """Make an encoder, with its weights.

    Args:
        info: which.
        device: ``cuda`` or ``cpu``; None for a GPU if there is one.
        gpu_share: part of the GPU's memory that it may take.
        threads: CPU threads its arithmetic may use; None for the library's choice.
        batch_tokens: most tokens of a batch; None to find out.

    Raises:
        EncoderUnavailable: it cannot be loaded here, or other weights are.
    """
    if info.identity.name == textpatch.NAME:
        return textpatch.TextPatchEncoder()
    return colvision.load(
        info, device=device, gpu_share=gpu_share, threads=threads, batch_tokens=batch_tokens
    )


def for_queries(identity: EncoderIdentity, name: str | None = None) -> EncoderInfo:
    """Describe the encoder a database belongs to.

    Args:
        identity: what the database keeps of it.
        name: where to take it from instead of where it was taken from at ingest.

    Raises:
        EncoderUnavailable: it cannot be had here.
        EncoderMismatch: what can be had has other vectors than the database.
    """
    wanted = name or identity.name
    if checkpoints.same_source(wanted, identity.name):
        wanted = identity.name  # pinned to the revision the database was made with
    try:
        info = describe(wanted)
        if info.identity.visual_tokens and identity.visual_tokens:
            info = describe(wanted, identity.visual_tokens)
    except EncoderUnavailable as error:
        if name:
            raise
        raise EncoderUnavailable(
            f"the encoder of the database: {error}; or name a folder that holds it with --encoder"
        ) from error
    here = info.identity
    if (here.fingerprint, here.dim) != (identity.fingerprint, identity.dim):
        raise EncoderMismatch(
            f"the database was made with encoder {identity.name} ({identity.fingerprint}), "
            f"but {here.name} here is {here.fingerprint}; name that encoder with --encoder, "
            "or ingest into a new --db"
        )
    return info


def for_ingest(db: str, name: str | None, visual_tokens: int | None, default: str) -> EncoderInfo:
    """Describe the encoder that an ingest is to use.

    Args:
        db: the database; one that is there already has its encoder.
        name: the one asked for, or None.
        visual_tokens: most patches a page, or None.
        default: the encoder of a new database.

    Raises:
        EncoderUnavailable: there is none of this name, or it cannot be had here.
        EncoderMismatch: another one than the database's was asked for.
        UsageError: the encoder has no choice of visual tokens.
    """
    database = Database.find(db)
    if database is None:
        return describe(name or default, visual_tokens)
    identity = database.encoder
    if visual_tokens and visual_tokens != identity.visual_tokens:
        has = (
            f"the database's pages are cut into at most {identity.visual_tokens} visual tokens"
            if identity.visual_tokens
            else "the database's encoder leaves no choice of visual tokens"
        )
        raise EncoderMismatch(
            f"--visual-tokens {visual_tokens}: {has}; leave the option out, or ingest into a new "
            "--db"
        )
    return for_queries(identity, name)


def built_in() -> list[str]:
    """Names of the encoders that need no checkpoint."""
    return [textpatch.NAME]
