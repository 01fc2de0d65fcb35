"""Small helpers of experiments."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.utils import misc


@pytest.fixture
def pyplot() -> Any:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.use("Agg")
        from matplotlib import pyplot

        yield pyplot
        pyplot.close("all")


@pytest.mark.parametrize(("text", "numbers"), [("1,2,30", [1, 2, 30]), ("", []), (3, [3]), (" 4 , -5", [4, -5])])
def test_str_to_ints(text: str | int, numbers: list[int]) -> None:
    assert misc.str_to_ints(text) == numbers


@pytest.mark.parametrize(("text", "numbers"), [("1.5,2", [1.5, 2.0]), ("", []), (0.5, [0.5]), ("1e-3", [1e-3])])
def test_str_to_floats(text: str | float, numbers: list[float]) -> None:
    assert misc.str_to_floats(text) == numbers


def test_number_errors() -> None:
    with pytest.raises(ValueError, match=r"str_arg: expected numbers of type int, separated by commas, got '1,x'"):
        misc.str_to_ints("1,x")
    with pytest.raises(ValueError, match="str_arg"):
        misc.str_to_ints("1,,2")
    with pytest.raises(TypeError, match="str_arg: expected str, got list"):
        misc.str_to_floats([1.0])


def test_list_to_str() -> None:
    assert misc.list_to_str([1, 2, 3]) == "1 2 3"
    assert misc.list_to_str([1, "a"], delim=",") == "1,a"
    assert misc.list_to_str([]) == ""


@pytest.mark.parametrize(
    ("name", "kind"), [("sigmoid", nn.Sigmoid), ("relu", nn.ReLU), ("elu", nn.ELU), ("tanh", nn.Tanh)]
)
def test_str_to_act(name: str, kind: type[nn.Module]) -> None:
    assert type(misc.str_to_act(name)) is kind


def test_str_to_act_without_module() -> None:
    assert misc.str_to_act("linear") is None
    with pytest.raises(ValueError, match=r"act_str: expected one of 'linear', .*, got 'gelu'"):
        misc.str_to_act("gelu")


def test_get_default_args() -> None:
    def function(a: int, b: int = 2, *args: int, c: None = None, **kwargs: int) -> None:
        """Does nothing."""

    assert misc.get_default_args(function) == {"b": 2, "c": None}


def test_init_params_is_deprecated() -> None:
    weight = torch.empty(3, 4)
    with pytest.warns(DeprecationWarning, match="torch_utils"):
        misc.init_params(weight)
    assert weight.abs().max().item() <= 0.5


@pytest.mark.parametrize(("family", "count"), [("Set2", 8), ("Set3", 8), ("Dark2", 8), ("Pastel", 7)])
def test_colors(family: str, count: int, pyplot: Any) -> None:
    colors = misc.get_colorbrewer2_colors(family)
    assert len(set(colors)) == count
    assert misc.get_colorbrewer2_colors(family) is not colors
    name = {"Pastel": "Pastel1"}.get(family, family)
    from matplotlib.colors import to_hex

    assert colors == [to_hex(color) for color in pyplot.get_cmap(name).colors[:count]]


def test_unknown_colors() -> None:
    with pytest.raises(ValueError, match=r"family: expected one of 'Set2', .*, got 'Set1'"):
        misc.get_colorbrewer2_colors("Set1")


def test_configure_matplotlib(pyplot: Any, tmp_path: Any) -> None:
    misc.configure_matplotlib_params(fig_size=[3, 2], font_size=11)
    figure, axis = pyplot.subplots()
    assert figure.get_size_inches().tolist() == [3, 2]
    assert not axis.spines["top"].get_visible()
    assert axis.title.get_fontsize() == 11
    figure.savefig(tmp_path / "figure.png")
    misc.configure_matplotlib_params(two_axes=False)
    assert pyplot.subplots()[1].spines["right"].get_visible()
    with pytest.raises(ValueError, match="fig_size: expected 2 entries, got 1"):
        misc.configure_matplotlib_params(fig_size=[3])


@pytest.mark.parametrize("installed", [True, False])
def test_missing_latex_warns(pyplot: Any, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    monkeypatch.setattr(misc.shutil, "which", lambda program: program if installed else None)
    if installed:
        misc.configure_matplotlib_params(usetex=True)
    else:
        with pytest.warns(UserWarning, match="LaTeX is not installed"):
            misc.configure_matplotlib_params(usetex=True)
    assert pyplot.rcParams["text.usetex"] is installed


@pytest.mark.parametrize("close", [True, False])
def test_repair_canvas(pyplot: Any, monkeypatch: pytest.MonkeyPatch, close: bool) -> None:
    figure = pyplot.figure()
    pyplot.close(figure)
    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.gcf().canvas.figure))
    misc.repair_canvas_and_show_fig(figure, close=close)
    assert shown == [figure]
    assert len(pyplot.get_fignums()) == (0 if close else 1)


def test_missing_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for call in (misc.configure_matplotlib_params, lambda: misc.repair_canvas_and_show_fig(None)):
        with pytest.raises(ImportError, match=r"pip install 'hypnettorch\[experiments\]'"):
            call()
