"""What an evaluation is asked to measure, and its settings, which are written as options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from patchlight.storage.records import RegionKind
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.evaluation.choices import Protocols, Truth, Within
from patchlight.tasks.requests.fields import (
    OF_SETTINGS,
    Database,
    EncoderSource,
    LocalFolder,
    NamedPath,
    Passwords,
    Request,
    Shown,
    Workers,
    parsed,
)
from patchlight.tasks.requests.retrieval import RetrievalRequest

if TYPE_CHECKING:
    from patchlight.tasks.answers.options import RetrievalOptions

FIRST_SETTING = "patchlight"
"""Name of the setting that the options of ``patchlight evaluate`` itself make."""
P50_SETTING = "P50 of the paper"
"""Name of the selection of arXiv 2512.02660."""

_P50 = (
    "--select p50 --aggregate max --token-aggregate max --region-tokens all --kind block "
    "--top-regions 100000"
)
_EXAMPLE = "lines=--kind line --select top-k:1"


class _Measured(Request):
    dataset: Annotated[str, NamedPath, Shown("DATASET", argument=True)] = Field(
        description="Folder of a data set with human evidence, or its file of questions; "
        "docs/evaluation.md describes the formats.",
    )
    out: LocalFolder = Field(description="Folder for the report.")
    db: Database = OF_SETTINGS
    setting: Annotated[list[str] | None, Shown("NAME=OPTIONS")] = Field(
        default=None,
        description="Measure another way to choose beside the options given here, by options of "
        "'query', e.g. 'lines=--kind line --select top-k:1'; may be repeated.",
    )
    reference: Annotated[str | None, Shown("NAME", usual="the options given here")] = Field(
        default=None,
        description="Setting or baseline that all are compared with, paired by row.",
    )
    protocol: Protocols = Field(
        default=Protocols.BOTH,
        description="given: the page of evidence is given; end-to-end: it must be found first; or "
        "both.",
    )
    within: Within = Field(
        default=Within.DATABASE, description="Where the page must be found, end to end."
    )
    truth: Annotated[
        Truth | None, Shown(usual="any where their median is below 1 % of the page, else all")
    ] = Field(
        default=None,
        description="Whether all true boxes of a row are to be found, or any of them.",
    )
    partial: bool = Field(
        default=False,
        description="Leave out questions on documents that the database does not have.",
    )
    baseline_kind: Annotated[list[RegionKind] | None, Shown(usual="as --kind, or block")] = Field(
        default=None,
        description="Kind of region that the baselines choose from; may be repeated.",
    )
    pictures: int = Field(
        default=6,
        ge=0,
        le=60,
        description="Pictures of so many of the best and of the worst cases.",
    )


class EvaluateRequest(RetrievalRequest, _Measured):
    """A data set to measure answers on, and the ways to choose that are measured."""

    encoder: EncoderSource = None
    passwords: Passwords = None
    workers: Workers = None

    def settings(self) -> dict[str, RetrievalOptions]:
        """Return the ways to choose by name: the one asked for, the paper's P50, those named.

        Raises:
            UsageError: a text in ``setting`` is none, or its name is taken.
            SelectionError: a selection is unknown, or its value out of range.
        """
        base = RetrievalRequest(**{name: getattr(self, name) for name in _RETRIEVAL})
        found = {FIRST_SETTING: base.options(), P50_SETTING: parsed(_P50, base).options()}
        for text in self.setting or ():
            name, equals, given = text.partition("=")
            name = name.strip()
            if not equals or not name or name.startswith("-"):
                raise UsageError(f"--setting {text!r}: expected 'name=options', e.g. '{_EXAMPLE}'")
            if name in found:
                raise UsageError(f"--setting {text!r}: the name {name!r} is given twice")
            try:
                found[name] = parsed(given, base).options()
            except UsageError as error:
                raise UsageError(f"--setting {name}: {error}") from error
        return found


_RETRIEVAL = tuple(RetrievalRequest.model_fields)
