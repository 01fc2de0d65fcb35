"""Which runs a grid and its conditions stand for, and by which commands."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import optuna
import pytest

from hypnettorch.hpsearch.commands import command, executable
from hypnettorch.hpsearch.grid import apply_conditions, matches, plan

GRID = {"net": ["mlp", "lenet"], "lr": [0.1, 1e-05], "use_adam": [True, False]}


def commands(grid: dict, conditions: list, **options: object) -> list[str]:
    return [" ".join(command("train.py", run)[2:]) for run in plan(grid, conditions, shuffle=False, **options)]  # type: ignore[arg-type]


def test_full_grid_in_its_order() -> None:
    assert commands(GRID, []) == [
        "--net=mlp --lr=0.1 --use_adam",
        "--net=mlp --lr=0.1",
        "--net=mlp --lr=1e-05 --use_adam",
        "--net=mlp --lr=1e-05",
        "--net=lenet --lr=0.1 --use_adam",
        "--net=lenet --lr=0.1",
        "--net=lenet --lr=1e-05 --use_adam",
        "--net=lenet --lr=1e-05",
    ]


def test_conditions_override_the_grid_one_after_another() -> None:
    conditions = [
        ({"net": ["mlp"], "lr": [0.1]}, {"width": [10, 20]}),
        ({"use_adam": [False]}, {"lr": [0.5]}),
    ]
    with pytest.warns(UserWarning, match="1 runs are left out"):
        found = commands(GRID, conditions)
    assert found == [
        "--net=mlp --lr=1e-05 --use_adam",
        "--net=lenet --lr=0.1 --use_adam",
        "--net=lenet --lr=1e-05 --use_adam",
        "--net=mlp --lr=0.1 --use_adam --width=10",
        "--net=mlp --lr=0.1 --use_adam --width=20",
        "--net=mlp --lr=0.5",
        "--net=lenet --lr=0.5",
        "--net=mlp --lr=0.5 --width=10",
        "--net=mlp --lr=0.5 --width=20",
    ]


def test_condition_on_an_option_outside_the_grid_is_left_out() -> None:
    with pytest.warns(UserWarning, match=r"conditions\[0\] is left out: width not in the grid"):
        assert len(commands(GRID, [({"width": [1]}, {"lr": [3.0]})])) == 8


def test_single_values_need_no_list() -> None:
    assert apply_conditions([{"net": "mlp"}], [({"net": "mlp"}, {"lr": 1})]) == [{"net": "mlp", "lr": 1}]


def test_flags_are_no_numbers() -> None:
    assert matches({"flag": True}, {"flag": [True]})
    assert not matches({"flag": True}, {"flag": [1]})
    assert len(plan({"a": [True, 1]}, [])) == 2


def test_numbers_of_numpy() -> None:
    assert commands({"lr": np.array([0.5, 0.25]), "n": [np.int64(3)]}, []) == ["--lr=0.5 --n=3", "--lr=0.25 --n=3"]


def test_order_is_random_but_the_same_in_every_process() -> None:
    code = f"from hypnettorch.hpsearch.grid import plan; print(plan({GRID}, [], number=4, seed=3))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    runs = plan(GRID, [], number=4, seed=3)
    assert result.stdout.strip() == str(runs)
    assert runs != plan(GRID, [], number=4, seed=4)
    assert runs != plan(GRID, [], number=4, shuffle=False)


def test_random_points_meet_conditions_and_are_unique() -> None:
    grid = {"net": ["mlp", "lenet"], "lr": optuna.distributions.FloatDistribution(1e-3, 1e-1, log=True)}
    with pytest.warns(UserWarning, match="runs are left out"):
        runs = plan(grid, [({"net": ["mlp"]}, {"lr": [0.5]})], number=5, at_random=True)
    assert len(runs) == 5
    assert sum(run == {"net": "mlp", "lr": 0.5} for run in runs) <= 1
    assert all(1e-3 <= run["lr"] <= 1e-1 for run in runs if run["net"] == "lenet")
    with pytest.warns(UserWarning, match="runs are left out"):
        assert len(plan(GRID, [], number=5, at_random=True)) == 5


def test_arguments_reach_the_script_as_they_are() -> None:
    nasty = "$(echo broken); 'a b' \"c\" *"
    words = executable(command("-c 'import sys; print(sys.argv[1:])'", {"text": nasty}, "out_dir", "a b"))
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str([f"--text={nasty}", "--out_dir=a b"])
