"""Guards the documentation: it names all there is, links lead somewhere, examples can be parsed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer
from typer.exceptions import TyperException

from patchlight.flows.__main__ import app
from patchlight.storage.errors import ExitCode
from patchlight.storage.schema import Table, schema_of
from patchlight.tasks.common.advice import ADVICE
from patchlight.tasks.common.errors import Category, Stage
from patchlight.tasks.common.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM: Any = typer.main.get_command(app)
TYPES = {
    "string": "text",
    "string_view": "text",
    "double": "float64",
    "float": "float32",
    "timestamp[us, tz=UTC]": "time",
}
"""How the pages call Arrow's types."""
SHELL_WORDS = {"|", "||", "&&", ";", ";;", ">", ">>", "<"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def section(text: str, heading: str) -> str:
    """Text under a heading, with its subsections, without blocks of code."""
    text = prose(text)
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.M | re.S)
    assert found, f"no heading {heading!r}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """Cells of all rows of the tables in a text."""
    lines = re.findall(r"^\| (.*) \|$", text, re.M)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]


def row_of(text: str, name: str, column: int = 0) -> list[str]:
    """The row of a table that has a name in backticks in a column."""
    found = [row for row in rows(text) if f"`{name}`" in row[min(column, len(row) - 1)]]
    assert len(found) == 1, f"{len(found)} rows for {name!r}"
    return found[0]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)


def shell_lines() -> Iterator[tuple[Path, str]]:
    for path in PAGES:
        for block in blocks(path, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                yield path, line


def patchlight_lines() -> list[tuple[str, str]]:
    """Where an example stands, and the part of it that starts patchlight."""
    lines = [
        (name_of(path), match[1])
        for path, line in shell_lines()
        if (match := re.search(r"(?:^|[|;)] +|/bin/)(patchlight .*)", line))
    ]
    return lines + [
        (f"--help of {name}", example)
        for name, command in PROGRAM.commands.items()
        for example in re.findall(r"Example: (patchlight .*)", command.help)
    ]


def arguments_of(line: str) -> list[str]:
    """Arguments of a command line up to the end of the command."""
    words = shlex.split(line, comments=True)[1:]
    ends = [at for at, word in enumerate(words) if word in SHELL_WORDS]
    return words[: ends[0]] if ends else words


def github_anchor(heading: str) -> str:
    text = re.sub(r"[`*]|\]\(.*?\)|\[", "", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@pytest.mark.parametrize("command", PROGRAM.commands)
def test_every_command_and_option_is_documented_with_its_default(command: str) -> None:
    text = section(read("docs/commands.md"), f"patchlight {command}")
    for parameter in PROGRAM.commands[command].params:
        if parameter.param_type_name == "argument":
            continue
        for option in parameter.opts:
            row = row_of(text, option)
            default = parameter.default
            if default not in (None, False):
                shown = getattr(default, "value", default)
                assert row[1] == f"`{shown}`", f"{option} has default {shown}"


def test_options_of_every_command_are_documented() -> None:
    text = section(read("docs/commands.md"), "Options of every command")
    for parameter in PROGRAM.params:
        for option in parameter.opts:
            assert row_of(text, option)[1] == parameter.help


def test_no_option_is_documented_that_is_not_there() -> None:
    parameters = [p for c in PROGRAM.commands.values() for p in c.params]
    known = {option for p in parameters for option in p.opts + p.secondary_opts}
    known |= {option for parameter in PROGRAM.params for option in parameter.opts} | {"--help"}
    known |= set(re.findall(r'"(--[a-z][a-z-]*)"', read("tests/faults/run.py")))
    for path in PAGES:
        for span in re.findall(r"`([^`\n]+)`", path.read_text("utf-8")):
            if re.match(r"(patchlight|query|ask|ingest|sql|--)", span):
                named = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", span))
                assert named <= known, f"{name_of(path)}: {named - known} in {span!r}"


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(field: str) -> None:
    row = row_of(section(read("docs/commands.md"), "Settings"), f"PATCHLIGHT_{field.upper()}")
    default = Settings.model_fields[field].default
    if isinstance(default, int | str):
        assert row[1] == f"`{default}`"


def test_no_setting_is_documented_that_is_not_there() -> None:
    known = {f"PATCHLIGHT_{field.upper()}" for field in Settings.model_fields}
    known.add("PATCHLIGHT_DATA")  # where tests and benchmarks find the public data sets
    for path in PAGES:
        named = set(re.findall(r"PATCHLIGHT_[A-Z_]*[A-Z]", path.read_text("utf-8")))
        assert named <= known, f"{name_of(path)}: {named - known}"


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_documented(code: ExitCode) -> None:
    row = row_of(section(read("docs/errors.md"), "Exit codes"), code.name, column=1)
    assert row[0] == str(code.value)


@pytest.mark.parametrize("category", Category)
def test_every_failure_category_is_documented(category: Category) -> None:
    row_of(section(read("docs/errors.md"), "Failures"), category.value)


def test_every_stage_is_documented() -> None:
    column = row_of(section(read("docs/data-model.md"), "failures"), "stage")
    for text in (section(read("docs/errors.md"), "Failures"), column[2]):
        assert all(f"`{stage.value}`" in text for stage in Stage)


@pytest.mark.parametrize("table", Table)
def test_tables_are_documented_column_by_column(table: Table) -> None:
    text = section(read("docs/data-model.md"), table.value)
    schema = schema_of(table, dim=8)
    assert f"Key: `{schema.names[0]}`" in text
    documented = {
        name: row[1] for row in rows(text) for name in re.findall(r"`([a-z0-9_]+)`", row[0])
    }
    assert set(documented) == set(schema.names)
    for field in schema:
        if pa.types.is_list(field.type) or pa.types.is_struct(field.type):
            continue  # described in words
        assert documented[field.name] == TYPES.get(str(field.type), str(field.type)), field


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{name_of(path)}: {link} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", prose(target.read_text("utf-8")), re.M)
            assert anchor in map(github_anchor, headings), f"{name_of(path)}: {link}: no heading"


@pytest.mark.parametrize(("page", "line"), patchlight_lines())
def test_examples_can_be_parsed(page: str, line: str) -> None:
    arguments = arguments_of(line)
    try:
        context = PROGRAM.make_context("patchlight", list(arguments))
        name, command, rest = PROGRAM.resolve_command(context, arguments_after_options(arguments))
        command.make_context(name, rest, parent=context)
    except typer.Exit as end:
        assert end.exit_code == 0
    except TyperException as error:
        pytest.fail(f"{page}: {line}: {error}")


def arguments_after_options(arguments: list[str]) -> list[str]:
    """Arguments from the command's name on."""
    return arguments[next(at for at, word in enumerate(arguments) if word in PROGRAM.commands) :]


def test_examples_name_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^\.PHONY: (\S+)", read("Makefile"), re.M))
    for path, line in shell_lines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            named = {word for word in words[1:] if "=" not in word}
            assert named <= targets, f"{name_of(path)}: {line}"


def test_what_helps_is_what_the_page_of_errors_says() -> None:
    said = {}
    for line in read("docs/errors.md").splitlines():
        if found := re.match(r"\| `(\w+)` \| .* \| (.*) \| (yes|no) \|$", line):
            said[found[1]] = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", found[2]).replace("`", "")
    assert said == dict(ADVICE) and set(said) == set(Category)
