"""How pages and regions are chosen: the options of a query as values, and as text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import typer
from typer.exceptions import TyperException

from flows import options
from tasks.answers.options import RetrievalOptions
from tasks.common.errors import UsageError
from tasks.grounding.selection import selection_of
from tasks.grounding.spanweights import SpanSignals
from tasks.kernels.maxsim import QueryTokens, TokenAggregation
from tasks.kernels.propagation import RegionAggregation

FIRST_SETTING = "patchlight"
"""Name of the setting that the options of ``patchlight evaluate`` itself make."""
P50_SETTING = "P50 of the paper"
"""Name of the selection of arXiv 2512.02660."""

_P50 = (
    "--select p50 --aggregate max --token-aggregate max --region-tokens all --kind block "
    "--top-regions 100000"
)
_EXAMPLE = "lines=--kind line --select top-k:1"


def retrieval_options(
    top_pages: options.TopPagesOption = 10,
    top_regions: options.TopRegionsOption = 3,
    select: options.SelectOption = None,
    aggregate: options.AggregateOption = RegionAggregation.MAX,
    token_aggregate: options.TokenAggregateOption = TokenAggregation.MEAN,
    page_tokens: options.PageTokensOption = QueryTokens.ALL,
    region_tokens: options.RegionTokensOption = QueryTokens.MEANING,
    span_signals: options.SpanSignalsOption = SpanSignals.ALL,
    kind: options.KindOption = None,
) -> RetrievalOptions:
    """Return what the options of ``patchlight query`` stand for; the defaults are its defaults.

    Raises:
        SelectionError: the selection is unknown, or its value out of range.
    """
    return RetrievalOptions(
        top_pages=top_pages,
        top_regions=top_regions,
        selection=selection_of(select, top_regions, kind or ()),
        region_aggregate=aggregate,
        token_aggregate=token_aggregate,
        kinds=tuple(kind or ()),
        page_tokens=page_tokens,
        region_tokens=region_tokens,
        span_signals=span_signals,
    )


def parse_retrieval(text: str, base: Mapping[str, Any]) -> RetrievalOptions:
    """Read options of ``patchlight query`` from a text, e.g. ``--select p50 --kind line``.

    Args:
        text: as on a command line.
        base: parameter of `retrieval_options` -> its value where the text does not say.

    Raises:
        UsageError: an option is unknown, or a value is wrong.
        SelectionError: as `retrieval_options`.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:  # a quotation mark without its other half
        raise UsageError(f"{text!r}: {error}") from error
    program = typer.Typer(add_completion=False)
    program.command(add_help_option=False)(retrieval_options)
    command = typer.main.get_command(program)
    given = {name: _as_text(value) for name, value in base.items() if value is not None}
    try:
        with command.make_context("query", words, default_map=given) as context:
            found: RetrievalOptions = command.invoke(context)
    except TyperException as error:
        raise UsageError(f"{text!r}: {error.message}") from error
    return found


def evaluated_settings(
    texts: Sequence[str], base: Mapping[str, Any]
) -> dict[str, RetrievalOptions]:
    """Return the settings of an evaluation by name: the base, the paper's P50, and those named.

    Args:
        texts: further settings, ``name=options of patchlight query``.
        base: parameter of `retrieval_options` -> its value, for `FIRST_SETTING` and for what a
            text does not say.

    Raises:
        UsageError: a text is no setting, or its name is taken.
        SelectionError: as `retrieval_options`.
    """
    found = {FIRST_SETTING: parse_retrieval("", base), P50_SETTING: parse_retrieval(_P50, base)}
    for text in texts:
        name, equals, given = text.partition("=")
        name = name.strip()
        if not equals or not name or name.startswith("-"):
            raise UsageError(f"--setting {text!r}: expected 'name=options', e.g. '{_EXAMPLE}'")
        if name in found:
            raise UsageError(f"--setting {text!r}: there is a setting {name!r} already")
        found[name] = parse_retrieval(given, base)
    return found


def _as_text(value: Any) -> Any:
    """Return a value as it would be written, where it is a choice by name."""
    if isinstance(value, Enum):
        return value.value
    return [_as_text(one) for one in value] if isinstance(value, list) else value
