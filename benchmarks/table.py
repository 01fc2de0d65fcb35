"""Results as tables: a line on the terminal, a table of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.harness import Result

COLUMNS = (
    f"{'median':>7} {'quartiles':>15} {'goal':>6} {'MB of tensors':>17} {'page faults':>17} {'first step [s]':>15}"
)
HEADER = f"{'ours / contender':<96} {COLUMNS}"


def line(result: Result) -> str:
    """One result in columns."""
    low, high = result.quartiles
    goal = "" if result.goal is None else f"{result.goal:.2f}"
    memory, faults = (
        " / ".join(f"{n:.0f}" for n in pair) for pair in (result.peak_tensors, result.page_faults_per_step)
    )
    first = " / ".join(f"{n:.2f}" for n in result.first_step)
    title = f"{result.case} / {result.contender}"
    ratios = f"{result.median:7.3f} {low:7.3f}-{high:7.3f} {goal:>6}"
    return f"{title:<96} {ratios} {memory:>17} {faults:>17} {first:>15}"


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
        "   :widths: 40 22 8 12 8 10",
        "",
        "   * - what",
        "     - beside",
        "     - ratio",
        "     - quartiles",
        "     - goal",
        "     - MB of tensors",
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
            f"     - {result['peak_tensors'][0]:.0f} / {result['peak_tensors'][1]:.0f}",
        ]
    return "\n".join(rows) + "\n"
