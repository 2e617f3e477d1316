"""Gives flows the parameters of a request: flat, so that Prefect's pages show them as a form."""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import Field

from patchlight.tasks.requests.fields import Request, made, required_first, shown

_Asked = TypeVar("_Asked", bound=Request)
_Done = TypeVar("_Done")


def of(model: type[_Asked]) -> Callable[[Callable[[_Asked], _Done]], Callable[..., _Done]]:
    """Make a function of a request one of keyword parameters, a parameter a field.

    Prefect reads types, ranges and defaults from the signature, and descriptions from the
    docstring. The function made raises UsageError where a value is wrong.

    Args:
        model: the request.
    """

    def flat(function: Callable[[_Asked], _Done]) -> Callable[..., _Done]:
        @functools.wraps(function)
        def called(**values: Any) -> _Done:
            return function(made(model, values))

        signature = inspect.Signature(_parameters(model))
        setattr(called, "__signature__", signature)  # noqa: B010 - functions are not typed with it
        called.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        called.__doc__ = _with_arguments(inspect.getdoc(function) or "", model)
        return called

    return flat


def _parameters(model: type[Request]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else field.default,
            annotation=Annotated[
                field.annotation, *field.metadata, Field(description=field.description)
            ],
        )
        for name, field in required_first(model).items()
    ]


def _with_arguments(text: str, model: type[Request]) -> str:
    """Say of each parameter what it means, before what the text says of the result."""
    lines = []
    for name, field in required_first(model).items():
        usual = shown(field).usual
        lines.append(f"{name}: {field.description}{f' Default: {usual}.' if usual else ''}")
    about, returns, rest = text.partition("Returns:")
    arguments = textwrap.indent("\n".join(lines), "    ")
    return f"{about.rstrip()}\n\nArgs:\n{arguments}\n\n{returns}{rest}"
