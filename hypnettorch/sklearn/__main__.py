"""``hypnettorch pretrain``: train the network of ``HyperNetClassifier`` on synthetic tables, in two minutes."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from hypnettorch.common import checks
from hypnettorch.sklearn.network import WEIGHTS, TrainingSetNetwork, save
from hypnettorch.sklearn.synthetic_tables import draw_problems
from hypnettorch.sklearn.tables import fit_projection

PROBLEMS = 8
"""Number of problems of one step."""

KNOWN = (15, 160)
"""Least and largest number of rows of a training set."""

ASKED = 64
"""Number of rows by which a classifier is judged."""


def pretrain(steps: int, rate: float = 2e-3) -> TrainingSetNetwork:
    """Train a network such that its classifiers are right about rows that they have not seen.

    Args:
        steps: Number of steps.
        rate: Largest step size of Adam.
    """
    network = TrainingSetNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    begun, sums = time.monotonic(), [0.0, 0.0]
    for step in range(1, steps + 1):
        known = random.randint(*KNOWN)
        problems = draw_problems(PROBLEMS, known + ASKED)
        x, y = problems.x, problems.y
        x = fit_projection(x[:, :known])(x).clamp(-10, 10)
        targets = F.one_hot(y[:, :known], problems.num_classes).to(x)
        logits = network(x[:, :known], targets)(x[:, known:]).flatten(0, 1)
        loss = F.cross_entropy(logits, y[:, known:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        right = (logits.argmax(-1) == y[:, known:].flatten()).float().mean().item()
        sums = [sums[0] + loss.item(), sums[1] + right]
        if step % 250 == 0 or step == steps:
            count = (step - 1) % 250 + 1
            passed = time.monotonic() - begun
            print(f"step {step}: loss {sums[0] / count:.3f}, right {sums[1] / count:.1%}, {passed:.0f} s", flush=True)
            sums = [0.0, 0.0]
    return network


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="hypnettorch pretrain", description=__doc__)
    parser.add_argument("--steps", type=int, default=4000, help="number of steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        checks.integer("--steps", options.steps, 1)
        random.seed(checks.integer("--seed", options.seed, 0, 2**63 - 1))
        torch.manual_seed(options.seed)
        save(pretrain(options.steps), options.out)
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(options.out)


if __name__ == "__main__":
    main()
