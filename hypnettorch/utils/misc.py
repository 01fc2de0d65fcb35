"""Small helpers of experiments: command line lists, names of activations, plots."""

from __future__ import annotations

import inspect
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.common.extras import require
from hypnettorch.core import checks
from hypnettorch.utils import torch_utils

# Brewer, https://colorbrewer2.org
_PALETTES = {
    "Set2": "#66c2a5 #fc8d62 #8da0cb #e78ac3 #a6d854 #ffd92f #e5c494 #b3b3b3",
    "Set3": "#8dd3c7 #ffffb3 #bebada #fb8072 #80b1d3 #fdb462 #b3de69 #fccde5",
    "Dark2": "#1b9e77 #d95f02 #7570b3 #e7298a #66a61e #e6ab02 #a6761d #666666",
    "Pastel": "#fbb4ae #b3cde3 #ccebc5 #decbe4 #fed9a6 #ffffcc #e5d8bd",
}

ACTIVATIONS: dict[str, type[nn.Module] | None] = {
    "linear": None,
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


def init_params(weights: Tensor, bias: Tensor | None = None) -> None:
    """Deprecated name of :func:`hypnettorch.utils.torch_utils.init_params`."""
    message = "hypnettorch.utils.misc.init_params is deprecated, use hypnettorch.utils.torch_utils.init_params"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    torch_utils.init_params(weights, bias)


def str_to_ints(str_arg: str | int) -> list[int]:
    """The integers in a comma-separated string.

    Args:
        str_arg: For instance ``'10,20'``; an empty string is an empty list, a number a list of one.

    Raises:
        ValueError: If an entry is no integer.

    Example:
        >>> str_to_ints("10,20"), str_to_ints(""), str_to_ints(3)
        ([10, 20], [], [3])
    """
    return parse_numbers("str_arg", str_arg, int)


def str_to_floats(str_arg: str | float) -> list[float]:
    """The numbers in a comma-separated string.

    Args:
        str_arg: For instance ``'0.1,1e-3'``; an empty string is an empty list, a number a list of one.

    Raises:
        ValueError: If an entry is no number.

    Example:
        >>> str_to_floats("0.1, 1e-3")
        [0.1, 0.001]
    """
    return parse_numbers("str_arg", str_arg, float)


def parse_numbers(name: str, text: Any, kind: Callable[[str], Any]) -> list[Any]:
    """The numbers in a comma-separated string, for an argument or option of any name.

    Args:
        name: What messages call it.
        text: See :func:`str_to_ints`.
        kind: ``int`` or ``float``.

    Raises:
        ValueError: If an entry is no number of this kind.

    Example:
        >>> parse_numbers("--mlp_arch", "10,x", int)
        Traceback (most recent call last):
            ...
        ValueError: --mlp_arch: expected numbers of type int, separated by commas, got '10,x'
    """
    if isinstance(text, (int, float)):
        text = str(text)
    checks.instance(name, text, str)
    try:
        return [kind(entry) for entry in text.split(",") if text.strip()]
    except ValueError:
        checks.fail(name, f"numbers of type {kind.__name__}, separated by commas", repr(text))


def list_to_str(list_arg: Iterable[Any], delim: str = " ") -> str:
    """The entries of a list in one string.

    Args:
        list_arg: Any objects.
        delim: What stands between two of them.

    Example:
        >>> list_to_str([1, 2.5], delim=", ")
        '1, 2.5'
    """
    return delim.join(str(entry) for entry in list_arg)


def str_to_act(act_str: str) -> nn.Module | None:
    """The activation function of a name.

    Args:
        act_str: ``'linear'``, ``'sigmoid'``, ``'relu'``, ``'elu'`` or ``'tanh'``.

    Returns:
        A module; ``None`` for ``'linear'``.

    Raises:
        ValueError: If the name is another one.

    Example:
        >>> str_to_act("tanh")
        Tanh()
    """
    checks.one_of("act_str", act_str, ACTIVATIONS)
    module = ACTIVATIONS[act_str]
    return None if module is None else module()


def get_default_args(func: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a function that have default values.

    Example:
        >>> get_default_args(list_to_str)
        {'delim': ' '}
    """
    parameters = inspect.signature(func).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def get_colorbrewer2_colors(family: str = "Set2") -> list[str]:
    """Colours that are easily told apart.

    Args:
        family: ``'Set2'``, ``'Set3'``, ``'Dark2'`` (8 colours each) or ``'Pastel'`` (7).

    Returns:
        Hexadecimal codes as matplotlib takes them.

    Raises:
        ValueError: If the family is another one.

    Example:
        >>> get_colorbrewer2_colors("Dark2")[:2]
        ['#1b9e77', '#d95f02']

    References:
        Brewer, https://colorbrewer2.org; ``'Pastel'`` is Pastel1 there.
    """
    checks.one_of("family", family, _PALETTES)
    return _PALETTES[family].split()


def configure_matplotlib_params(
    fig_size: Sequence[float] = (6.4, 4.8), two_axes: bool = True, font_size: int = 8, usetex: bool = False
) -> None:
    """Settings of matplotlib for figures in papers.

    Args:
        fig_size: Width and height of figures in inches.
        two_axes: Whether only the left and the lower axis are drawn.
        font_size: Size of all text in points.
        usetex: Whether LaTeX sets the text. Where it is not installed, matplotlib does, with a warning.

    Raises:
        ValueError: If ``fig_size`` does not have two entries.
        ImportError: If matplotlib is not installed.
    """
    checks.length("fig_size", fig_size, 2)
    pyplot = require("matplotlib.pyplot", "plots")
    if usetex and not _has_latex():
        warnings.warn("usetex: LaTeX is not installed, matplotlib sets the text itself", stacklevel=2)
        usetex = False
    sizes = ("font.size", "axes.labelsize", "axes.titlesize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    pyplot.rcParams.update(
        {
            "figure.figsize": tuple(fig_size),
            "axes.spines.right": not two_axes,
            "axes.spines.top": not two_axes,
            "font.family": "sans-serif",
            "text.usetex": usetex,
            "text.latex.preamble": r"\usepackage{amsmath}",
            **dict.fromkeys(sizes, font_size),
        }
    )


def repair_canvas_and_show_fig(fig: Any, close: bool = True) -> None:
    """Show a figure that has lost its window: because it was closed, loaded from a file, or written to tensorboard.

    Args:
        fig: A figure of matplotlib.
        close: Whether to close the figure after it has been shown.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    pyplot = require("matplotlib.pyplot", "plots")
    manager = pyplot.figure().canvas.manager
    manager.canvas.figure = fig
    fig.set_canvas(manager.canvas)
    pyplot.show()
    if close:
        pyplot.close(manager.num)


def _has_latex() -> bool:
    """Whether all programs are there with which matplotlib sets text by LaTeX."""
    return all(shutil.which(program) for program in ("latex", "dvipng"))
