"""Rows, columns and cells of tables that are written down by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from patchlight.tasks.regions.ruledlines import Rules
from patchlight.tasks.regions.tablegrid import MOST_WORDS, Grid, grid_of

NO_RULES = Rules()
PITCH, LETTER, HEIGHT = 14.0, 5.0, 8.0


PORTS = ("Port     Ships", "North       12", "South      140", "West         7", "East        3")


class Page:
    """Words on lines, each where it stands in the line; letters are 5 points wide, spaces 3."""

    def __init__(self, *lines: str) -> None:
        self.texts: list[str] = []
        boxes = []
        for number, line in enumerate(lines):
            at = 0
            for word in line.split(" "):
                if word:
                    x, y = at * LETTER, number * PITCH
                    self.texts.append(word)
                    boxes.append((x, y, x + len(word) * LETTER + 2, y + HEIGHT))
                at += len(word) + 1
        self.boxes = np.array(boxes)

    def table(self) -> NDArray[np.float64]:
        low, high = self.boxes[:, :2].min(axis=0), self.boxes[:, 2:].max(axis=0)
        return np.concatenate([low - 4, high + 4])

    def grid(self, rules: Rules = NO_RULES) -> Grid:
        return grid_of(self.boxes, self.table(), rules)

    def rows(self, rules: Rules = NO_RULES) -> list[list[tuple[int, int, str]]]:
        """First and last column, and text, of each cell, row by row."""
        grid = self.grid(rules)
        found: list[list[tuple[int, int, str]]] = [[] for _ in range(grid.rows)]
        for cell in grid.cells:
            text = " ".join(self.texts[i] for i in cell.words)
            found[cell.row].append((cell.first, cell.last, text))
        return found


def test_columns_are_parted_by_white_and_cells_keep_their_words() -> None:
    page = Page(
        "Port            Ships     Tons",
        "North quay         12    1 200",
        "South             140      900",
        "Fish market         7       85",
        "Outer basin        33    4 100",
    )
    assert page.rows() == [
        [(0, 0, "Port"), (1, 1, "Ships"), (2, 2, "Tons")],
        [(0, 0, "North quay"), (1, 1, "12"), (2, 2, "1 200")],
        [(0, 0, "South"), (1, 1, "140"), (2, 2, "900")],
        [(0, 0, "Fish market"), (1, 1, "7"), (2, 2, "85")],
        [(0, 0, "Outer basin"), (1, 1, "33"), (2, 2, "4 100")],
    ]


def test_a_heading_of_two_columns_spans_them() -> None:
    page = Page(
        "                Ships in harbour",
        "Port            2023        2024",
        "North             12          15",
        "South            140         131",
        "West               7           9",
        "East              33          35",
    )
    assert page.rows()[0] == [(1, 2, "Ships in harbour")]
    assert [len(row) for row in page.rows()[1:]] == [3] * 5


def test_an_empty_cell_moves_no_other() -> None:
    page = Page(
        "North      12      15",
        "South             131",
        "West        7        ",
        "East       33      35",
        "Centre      4       5",
    )
    assert page.rows()[1:3] == [[(0, 0, "South"), (2, 2, "131")], [(0, 0, "West"), (1, 1, "7")]]


def lines_of(*places: float, down: bool, low: float, high: float) -> NDArray[np.float64]:
    boxes = [(x, low, x + 1, high) if down else (low, x, high, x + 1) for x in places]
    return np.array(boxes).reshape(-1, 4)


def test_in_a_ruled_grid_a_row_is_what_lies_between_lines() -> None:
    page = Page(
        "Port        Use",
        "",
        "North       Ferries and",
        "            cruise ships",
        "",
        "South       Fish",
        "",
        "West        Timber and",
        "            grain",
    )
    rules = Rules(
        lines_of(-3, 18, 60, 90, 122, down=False, low=-4, high=124),
        lines_of(-3, 50, 123, down=True, low=-4, high=124),
    )
    assert [row[-1][2] for row in page.rows(rules)] == [
        "Use",
        "Ferries and cruise ships",
        "Fish",
        "Timber and grain",
    ]


def test_rows_between_a_few_lines_stay_rows() -> None:
    """As where only the heading is ruled off, and the columns."""
    page = Page(*PORTS)
    rules = Rules(
        lines_of(-3, 11, 68, down=False, low=-4, high=74),
        lines_of(-3, 35, 73, down=True, low=-4, high=68),
    )
    assert [len(row) for row in page.rows(rules)] == [2] * 5


def test_a_line_parts_columns_that_stand_close() -> None:
    page = Page(*["ab cd"] * 6)
    assert page.grid().columns == 1
    line = lines_of(13, down=True, low=-4, high=90)
    assert page.grid(Rules(down=line)).columns == 2


def test_running_text_has_one_column() -> None:
    page = Page(
        "The harbour office keeps a register",
        "of every vessel that enters the basin",
        "and notes the hour of its arrival with",
        "the draught and the name of the pilot",
        "who brought it in on that day",
    )
    assert page.grid().columns == 1


@pytest.mark.parametrize("count", [0, MOST_WORDS + 1])
def test_nothing_and_too_much_are_not_parted(count: int) -> None:
    words = np.tile([0.0, 0.0, 5.0, 5.0], (count, 1))
    assert grid_of(words, np.array([0.0, 0.0, 9.0, 9.0]), NO_RULES) == Grid(0, 0, ())


def test_the_order_of_words_does_not_matter() -> None:
    page = Page(*PORTS)
    order = np.random.default_rng(0).permutation(len(page.boxes))
    other = grid_of(page.boxes[order], page.table(), NO_RULES)
    assert [
        (c.row, c.first, c.last, sorted(int(order[i]) for i in c.words)) for c in other.cells
    ] == [(c.row, c.first, c.last, sorted(c.words)) for c in page.grid().cells]
