"""How few parameters are enough? Final accuracy of chunked hypernetworks that are smaller than one main network.

``python -m hypnettorch.examples.hypercl.compression_curve`` learns ten permutations of handwritten digits with several
sizes of :class:`~hypnettorch.hnets.chunked_mlp_hnet.ChunkedHMLP` and writes ``compression_curve.json`` and ``.png``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypnettorch.examples.hypercl import plots
from hypnettorch.examples.hypercl.errors import shell
from hypnettorch.examples.hypercl.folder import claimed, claimed_new
from hypnettorch.examples.hypercl.run import execute
from hypnettorch.utils.safe_files import write_json

NAME = "compression_curve"

# Small hypernetworks need more and larger steps than the defaults give them.
COMMON: dict[str, Any] = {
    "cl_exp": "permdigits",
    "mlp_arch": "100,100",
    "hnet_type": "chunked_hmlp",
    "cond_emb_size": 32,
    "chunk_emb_size": 8,
    "lr": 2e-3,
    "n_iter": 3000,
    "beta": 0.05,
}
SIZES: tuple[dict[str, Any], ...] = (
    {"hmlp_arch": "24", "chmlp_chunk_size": 100},
    {"hmlp_arch": "32", "chmlp_chunk_size": 150},
    {"hmlp_arch": "40", "chmlp_chunk_size": 225},
    {"hmlp_arch": "32", "chmlp_chunk_size": 450},
)


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run all sizes and write the curve.

    Args:
        argv: Arguments; by default those of the program.

    Returns:
        What is written to ``compression_curve.json``.
    """
    parser = argparse.ArgumentParser(prog=f"python -m hypnettorch.examples.hypercl.{NAME}", description=__doc__)
    parser.add_argument("--out_dir", type=Path, help="folder for results (default: ./out/curve_<date>_<time>)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds for each size")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that learns little")
    arguments = parser.parse_args(argv)
    with claimed_new("curve") if arguments.out_dir is None else claimed(arguments.out_dir) as path:
        return run_in(path, arguments)


def run_in(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The same in a folder that is claimed."""
    sizes = [{**COMMON, **size, "seeds": arguments.seeds} for size in SIZES]
    if arguments.smoke:
        sizes = [{**size, "n_iter": 5, "num_tasks": 2, "seeds": 1, "smoke": True} for size in sizes]
    folders = [path / f"chunks_of_{size['chmlp_chunk_size']}" for size in sizes]
    results = [execute({**size, "out_dir": str(own)}) for size, own in zip(sizes, folders, strict=True)]
    points = [{**size, **point(result)} for size, result in zip(SIZES, results, strict=True)]
    curve = {"points": points, "options": COMMON, "seeds": sizes[0]["seeds"], "versions": results[0]["versions"]}
    write_json(path / f"{NAME}.json", curve)
    draw(path / f"{NAME}.json")
    for entry in curve["points"]:
        print(f"{entry['parameters']:6d} parameters ({entry['compression_ratio']:.2f}): {entry['mean']:.2f} %")
    print(path / f"{NAME}.png")
    return curve


def point(results: Mapping[str, Any]) -> dict[str, Any]:
    """What the curve shows of one size."""
    spread = results.get("over_seeds", {}).get("final_average", {"std": 0.0})
    return {
        "parameters": results["parameters"]["hypernetwork"],
        "main_network": results["parameters"]["main_network"],
        "compression_ratio": results["parameters"]["compression_ratio"],
        "mean": results["final_average"],
        "std": spread["std"],
        "during": results["during_average"],
    }


def draw(path: Path) -> Path:
    """Draw the curve of a JSON file beside it."""
    points = json.loads(path.read_text(encoding="utf-8"))["points"]
    figure, axes = plots.new_figure()
    parameters = [entry["parameters"] for entry in points]
    means, deviations = [entry["mean"] for entry in points], [entry["std"] for entry in points]
    axes.errorbar(parameters, means, yerr=deviations, marker="o", capsize=3, label="hypernetwork, after ten tasks")
    size = points[0]["main_network"]
    axes.axvline(size, color="black", linestyle="--", linewidth=1, label=f"one main network: {size} weights")
    axes.set(xlabel="trainable parameters", ylabel="final accuracy (%)", title="Ten tasks in less than one network")
    axes.set_xlim(0, size * 1.05)
    axes.legend(fontsize=8, loc="lower right")
    picture = path.with_suffix(".png")
    plots.save(figure, picture)
    return picture


if __name__ == "__main__":
    with shell(NAME):
        run()
