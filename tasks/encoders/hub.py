"""Fetches checkpoints from a model hub, by way of its cache on this machine.

Where the hub is, whether it may be used and by whom is huggingface_hub's to read from its own
environment variables (``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``, ``HF_HOME``).
"""

from __future__ import annotations

import re
from pathlib import Path

from patchlight.tasks.encoders.weightfiles import ADAPTER_CONFIG, Unusable, lacking, read_weights

TIMEOUT_S = 10
"""Seconds the hub has for a sign of life. Its library has no limit of its own for the first
question and would wait for ever where a firewall swallows packets."""

_REPO = r"(?![\w./-]*(?:--|\.\.))[\w-][\w.-]*/[\w-][\w.-]*"
_REVISION = r"(?![\w./-]*\.\.)\w[\w.-]*(?:/\w[\w.-]*)*"
_ID = re.compile(rf"({_REPO})(?:@({_REVISION}))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")

_WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt")
"""Weights, configurations and tokenizers; never a format that can run code when it is read."""

_UNWANTED = ("*/*", "trainer_state.json")
"""Folders hold other forms of the model, and what training left."""


class NotHad(Unusable):
    """The hub has no such repository, or could not be asked."""


def split(name: str) -> tuple[str, str | None] | None:
    """Split a hub name into repository and revision; None if it cannot be one.

    >>> split("a/b"), split("a/b@v1"), split("./a/b"), split("b"), split("a/b@../c")
    (('a/b', None), ('a/b', 'v1'), None, None, None)
    """
    found = _ID.fullmatch(name)
    return (found[1], found[2]) if found else None


def commit_of(snapshot: Path) -> str:
    """Return the commit of a snapshot in the cache: the name of its folder."""
    return snapshot.name


def is_commit(revision: str | None) -> bool:
    """Say whether a revision is one commit for ever: its whole hash."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def fetch(repo: str, revision: str | None, *, cache_first: bool = False) -> Path:
    """Return the folder of a repository's snapshot, downloading what is not in the cache.

    Progress goes to stderr. For a commit that is whole in the cache nothing is asked.

    Args:
        repo: ``owner/name``.
        revision: branch, tag or commit; None for the main branch.
        cache_first: take a branch or a tag as the cache knows it, if it does, and ask nothing.

    Raises:
        Unusable: there is none, it may not be had, or the hub cannot be reached and the cache
            does not hold it.
    """
    if split(repo if revision is None else f"{repo}@{revision}") != (repo, revision):
        raise Unusable(f"{revision} is not a revision of {repo}; give a branch, a tag or a commit")
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise Unusable(
            "huggingface_hub is not installed; run 'make install' in the checkout of patchlight"
        ) from error

    def snapshot(local_files_only: bool) -> Path:
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
                etag_timeout=TIMEOUT_S,
                local_files_only=local_files_only,
            )
        )

    def cached() -> Path | None:
        try:
            folder = snapshot(local_files_only=True)
            read_weights(folder)  # other programs may have fetched a part
        except (LocalEntryNotFoundError, Unusable):
            return None
        whole = (folder / ADAPTER_CONFIG).exists() or not lacking(folder)
        return folder if whole else None

    if (cache_first or is_commit(revision)) and (folder := cached()):
        return folder
    # Any error: which ones the network raises depends on the version of the hub's library.
    try:
        HfApi().repo_info(repo, revision=revision, timeout=TIMEOUT_S)
    except Exception as error:
        if folder := cached():
            return folder
        raise _refusal(repo, revision, error, "the hub cannot be reached") from error
    try:
        return snapshot(local_files_only=False)
    except Exception as error:
        raise _refusal(repo, revision, error, "fetching failed") from error


def _refusal(repo: str, revision: str | None, error: Exception, what: str) -> Unusable:
    """Say why there is no snapshot, and what to do; ``what`` happened if nothing is known."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return Unusable(
            f"{repo} is given only to those who accepted its licence: accept it on its page of "
            "the hub, then hf auth login"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return NotHad(
            f"the hub has no {repo}, or does not show it to you; check the name, or hf auth "
            "login if it is private"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return Unusable(
            f"{repo} has no revision {revision}; give a branch, a tag or a commit of it"
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        what = "the hub may not be asked, because HF_HUB_OFFLINE is set"
    elif isinstance(error, errors.HfHubHTTPError):
        what = "the hub answers with an error"
    name = repo.partition("/")[2]
    at = f" --revision {revision}" if revision else ""
    first_line = (str(error).splitlines() or [""])[0]
    return NotHad(
        f"{what}, and {repo} is not, or not whole, in the cache of this machine "
        f"({type(error).__name__}: {first_line}). Where there is a network: hf "
        f"download {repo}{at} --local-dir {name}; if it is an adapter, also the base model that "
        "its adapter_config.json names, into a folder of that name beside it. Then give the folder"
    )
