"""Results as tables: a line on the terminal, a table of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.harness import Result

HEADER = f"{'ours / contender':<96} {'median':>7} {'quartiles':>15} {'goal':>6} {'memory':>7} {'page faults':>15}"


def line(result: Result) -> str:
    """One result in columns."""
    low, high = result.quartiles
    goal = "" if result.goal is None else f"{result.goal:.2f}"
    faults = " / ".join(f"{count:.0f}" for count in result.page_faults_per_step)
    title = f"{result.case} / {result.contender}"
    return (
        f"{title:<96} {result.median:7.3f} {low:7.3f}-{high:7.3f} {goal:>6} {result.peak_memory_ratio:7.2f} {faults:>15}"
    )


def restructured_text(document: Mapping[str, Any]) -> str:
    """A table with all results, and where and when they were measured."""
    rows = [
        ".. This table is written by ``python -m benchmarks --docs``.",
        "",
        f"Measured on {document['date']}: {document['device']} ({document['machine']}), {document['threads']} threads, "
        f"Python {document['python']}, torch {document['torch']}.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 46 24 10 14 8",
        "",
        "   * - what",
        "     - beside",
        "     - ratio",
        "     - quartiles",
        "     - goal",
    ]
    for result in document["results"]:
        low, high = result["quartiles"]
        goal = "" if result["goal"] is None else f"{result['goal']:.2f}"
        rows += [
            f"   * - {result['case']}",
            f"     - {result['contender']}",
            f"     - {result['median']:.2f}",
            f"     - {low:.2f}–{high:.2f}",
            f"     - {goal}",
        ]
    return "\n".join(rows) + "\n"
