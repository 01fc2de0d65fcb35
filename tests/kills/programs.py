"""Programs that write files, to be killed and started again; each ends with files that do not depend on the kills."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hypnettorch.examples.hypercl.run import execute
from hypnettorch.hpsearch import hpsearch
from hypnettorch.mnets import ModuleNet
from hypnettorch.papers.runner import Place, run_one
from hypnettorch.utils.peft_adapters import load_peft_adapter, save_peft_adapter
from hypnettorch.utils.torch_ckpts import get_best_ckpt_path, load_checkpoint, save_checkpoint

VERSIONS = 60

OPTIONS: dict[str, Any] = {
    "num_tasks": 3,
    "n_iter": 60,
    "batch_size": 8,
    "mlp_arch": "12",
    "hmlp_arch": "6",
    "cond_emb_size": 4,
    "ckpt_iter": 5,
    "val_iter": 20,
    "val_set_size": 10,
    "lr": 0.005,
}


def silent() -> None:
    """Let nobody see what a program says."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    torch.set_num_threads(1)


def experiment(folder: Path) -> None:
    """A run of the continual-learning experiment, which goes on if it has begun."""
    silent()
    run = folder / "run"
    given = OPTIONS if not (run / "options.json").is_file() else {}
    execute({**given, "out_dir": str(run), "resume": run.is_dir()})


def search(folder: Path) -> None:
    """A search for hyperparameters over a script that takes a moment."""
    os.setsid()
    silent()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    begun = Path("out", "search.json").is_file()
    new = ["--grid_module=configuration", "--out_dir=out", "--force_out_dir", "--deterministic_search"]
    hpsearch.run(["--resume=out"] if begun else new)


def recipe(folder: Path) -> None:
    """A run of a recipe of a published figure."""
    silent()
    run_one("henning2021-mixtures-deterministic", 1, Place(folder / "results", folder), quick=True)


def module_net() -> ModuleNet:
    return ModuleNet(nn.Sequential(nn.Linear(40, 30)), include="0.weight")


def adapter_of(version: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """An adapter whose rank and numbers tell its version."""
    rank = 1 + version % 3
    return {"0.weight": (torch.full((rank, 40), float(version)), torch.full((30, rank), 1.0))}


def adapter_in(folder: Path) -> int:
    """The version of the adapter in a folder; -1 if there is none."""
    if not (folder / "adapter_config.json").is_file():
        return -1
    (pair,) = load_peft_adapter(folder, module_net()).values()
    version = int(pair.A[0, 0])
    assert pair.rank == 1 + version % 3
    assert bool((version == pair.A).all())
    assert bool((pair.B == 1).all())
    return version


def adapters(folder: Path) -> None:
    """Versions of an adapter, one after another in the same place."""
    silent()
    net = module_net()
    for version in range(adapter_in(folder) + 1, VERSIONS):
        save_peft_adapter(folder, adapter_of(version), net)


def checkpoint_in(folder: Path) -> int:
    """The version of the newest checkpoint; -1 if there is none."""
    best = get_best_ckpt_path(folder / "net")
    if best is None:
        return -1
    content = load_checkpoint(best, nn.Linear(3, 2))
    assert bool((content["numbers"] == content["version"]).all())
    return int(content["version"])


def checkpoints(folder: Path) -> None:
    """Checkpoints, the better ones of which are kept."""
    silent()
    for version in range(checkpoint_in(folder) + 1, VERSIONS):
        content = {
            "state_dict": nn.Linear(3, 2).state_dict(),
            "version": version,
            "numbers": torch.full((999,), version),
        }
        save_checkpoint(content, folder / "net", float(version), train_iter=version, max_ckpts_to_keep=3)


PROGRAMS = {program.__name__: program for program in (experiment, search, recipe, adapters, checkpoints)}
