"""The dashboard asks for nothing that a run does not say, and shows everything worth a look."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from latentcache.metrics import FIGURES
from latentcache.metrics.figures import INFO, stored_names

REPOSITORY = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((REPOSITORY / "infra/grafana/latentcache.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
NAME = re.compile(r"\blatentcache_\w+")
LABELS = {"stage", "column", "spent", "le", "state"}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_asks_for_figures_and_labels_that_there_are(expression: str) -> None:
    names = NAME.findall(expression)
    assert names
    assert set(names) <= stored_names()
    assert expression.count("(") == expression.count(")")
    labels = re.findall(r"[{,](\w+)(?:=~|=|!=)\"", expression)
    by = [each for found in re.findall(r"by \(([^)]*)\)", expression) for each in found.split(", ")]
    assert {*labels, *by} <= LABELS
    # A counter is asked for its growth, or for its sum where it is read as "since the run began".
    for name in names:
        if name.endswith("_total"):
            assert re.search(rf"rate\({name}|sum\({name}", expression)


def test_every_figure_is_somewhere_on_the_dashboard() -> None:
    asked = {name for expression in EXPRESSIONS for name in NAME.findall(expression)}
    shown_otherwise = {"latentcache_encoder_busy_share", "latentcache_run_seconds", INFO}
    assert {each.full_name for each in FIGURES} - asked <= shown_otherwise


def test_a_variable_asks_for_labels_of_a_figure_that_there_is() -> None:
    for variable in DASHBOARD["templating"]["list"]:
        assert set(NAME.findall(variable["query"])) <= stored_names()


def test_every_panel_explains_itself_and_lies_on_no_other() -> None:
    assert all(panel["title"] and panel["description"] for panel in PANELS)
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = [
        {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        for at in (panel["gridPos"] for panel in PANELS)
    ]
    assert all(not first & second for first, second in combinations(cells, 2))
    assert all(x < 24 for each in cells for x, _ in each)
