"""Guards that an option is declared once: in a request, which all else takes it from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from annotated_types import Ge, Le
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from pydantic.fields import FieldInfo

from patchlight.flows.__main__ import app
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.requests.evaluate import EvaluateRequest
from patchlight.tasks.requests.fields import Request, option_name, shown
from patchlight.tasks.requests.ingest import IngestRequest, RetryRequest
from patchlight.tasks.requests.migrate import MigrateRequest
from patchlight.tasks.requests.query import AskRequest, QueryRequest
from tests.test_docs import read, row_of, section

ROOT = Path(__file__).parent.parent
PROGRAM: Any = typer.main.get_command(app)
MODELS: dict[str, type[Request]] = {
    "ingest": IngestRequest,
    "query": QueryRequest,
    "ask": AskRequest,
    "evaluate": EvaluateRequest,
    "retry": RetryRequest,
    "migrate": MigrateRequest,
}
ENTRYPOINTS = {
    "ingest": "flows/ingest.py:ingest",
    "query": "flows/query.py:query",
    "evaluate": "flows/evaluate.py:evaluate",
    "retry": "flows/ingest.py:retry",
}
SHARED = {"db", "category", "doc"}
"""Fields that commands without a request have too."""
COMMAND_LINE_ONLY = {"as_json", "timing"}
FIELDS = [
    pytest.param(command, name, field, id=f"{command}-{name}")
    for command, model in MODELS.items()
    for name, field in model.model_fields.items()
]


@pytest.fixture(scope="module")
def flows() -> dict[str, Flow[..., Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # as a worker does before it loads the entrypoint
        return {name: load_flow_from_entrypoint(place) for name, place in ENTRYPOINTS.items()}


def range_of(field: FieldInfo) -> tuple[Any, Any]:
    """The least and the most of a field."""
    least = [limit.ge for limit in field.metadata if isinstance(limit, Ge)]
    most = [limit.le for limit in field.metadata if isinstance(limit, Le)]
    return next(iter(least), None), next(iter(most), None)


@pytest.mark.parametrize(("command", "name", "field"), FIELDS)
def test_a_field_is_an_option_of_the_same_name(command: str, name: str, field: FieldInfo) -> None:
    [found] = [one for one in PROGRAM.commands[command].params if one.name == name]
    assert found.help == field.description
    assert found.required == field.is_required()
    if not field.is_required():
        assert found.default == field.default
    assert (getattr(found, "min", None), getattr(found, "max", None)) == range_of(field)
    if shown(field).argument:
        assert found.param_type_name == "argument"
    else:
        assert found.opts == [option_name(name)]


@pytest.mark.parametrize(
    ("command", "name", "field"), [one for one in FIELDS if one.values[0] in ENTRYPOINTS]
)
def test_a_field_is_a_parameter_of_the_same_name(
    command: str, name: str, field: FieldInfo, flows: dict[str, Flow[..., Any]]
) -> None:
    schema = flows[command].parameters
    found = schema.properties[name]
    assert found["description"].startswith(field.description)
    assert (shown(field).usual or "") in found["description"]
    assert (name in schema.required) == field.is_required()
    if not field.is_required():
        assert found["default"] == field.default
    kinds = [found, *found.get("anyOf", [])]
    numbers = [kind for kind in kinds if kind.get("type") in ("integer", "number")]
    assert bool(numbers) == (range_of(field) != (None, None))
    for number in numbers:
        assert (number.get("minimum"), number.get("maximum")) == range_of(field)
    assert any({"type", "$ref"} & kind.keys() for kind in kinds)


@pytest.mark.parametrize("command", ENTRYPOINTS)
def test_a_flow_has_no_other_parameter(command: str, flows: dict[str, Flow[..., Any]]) -> None:
    assert set(flows[command].parameters.properties) == set(MODELS[command].model_fields)


@pytest.mark.parametrize(("command", "name", "field"), FIELDS)
def test_a_field_is_documented_with_its_default_and_range(
    command: str, name: str, field: FieldInfo
) -> None:
    text = section(read("docs/commands.md"), f"patchlight {command}")
    if shown(field).argument:
        assert f"`{shown(field).metavar}`" in text or command == "ask"  # its example shows it
        return
    row = row_of(text, option_name(name))
    default, usual = field.default, shown(field).usual
    if field.is_required():
        assert row[1] == "needed"
    elif default is False:
        assert row[1] == "off"
    elif default is not None:
        assert row[1] == f"`{getattr(default, 'value', default)}`"
    elif usual:
        assert row[1].replace("`", "") == usual
    least, most = range_of(field)
    if most is not None:
        assert f"{least} to {most}" in row[2]


def test_no_option_is_declared_elsewhere() -> None:
    """What other commands share with a request is the same option; the rest is theirs alone."""
    known: dict[str, set[str | None]] = {}
    for model in MODELS.values():
        for name, field in model.model_fields.items():
            known.setdefault(name, set()).add(field.description)
    for command, found in PROGRAM.commands.items():
        for parameter in found.params:
            if (command in MODELS and parameter.name in known) or parameter.name in SHARED:
                assert parameter.help in known[parameter.name], f"{command}: {parameter.name}"
            elif command in MODELS:
                assert parameter.name in COMMAND_LINE_ONLY, f"{command}: {parameter.name}"
    for path in (ROOT / "flows").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"typer\.(Option|Argument)\(", text) or path.name == "options.py", path


def test_a_wrong_value_ends_a_flow_with_a_clear_error(flows: dict[str, Flow[..., Any]]) -> None:
    for values, problem in (
        ({"source": ["a"], "dpi": 3}, "dpi 3: input should be greater than or equal to 50"),
        ({"source": ["a"], "ocr_mode": "never"}, "ocr_mode 'never': extra inputs"),
        ({"dpi": 100}, "source: field required"),
    ):
        with pytest.raises(UsageError) as raised:
            flows["ingest"].fn(db="db", **values)
        assert problem in str(raised.value)
