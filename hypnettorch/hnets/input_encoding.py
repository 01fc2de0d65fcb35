r"""Encoded inputs of hypernetworks, whose magnitude does not depend on the value that they stand for.

A linear hypernetwork without biases, or one with rectified units, produces weights in proportion to the magnitude of
its input, and so are their gradients. An encoding of constant norm ends that; the other half of the remedy, weights
that do not depend on the input, is :class:`hypnettorch.hnets.residual_hnet.HResidual`.

References:
    Ortiz, Guttag, Dalca, "Magnitude Invariant Parametrizations Improve Hypernetwork Learning", ICLR 2024,
    https://arxiv.org/abs/2304.07645, section 4.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, functional
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets.hypernetwork import EMBEDDINGS, Request
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.module_part import ModulePart
from hypnettorch.hnets.wrapper import Wrapper, check_input, check_rows, check_without_conditions


def cos_sin(values: Tensor) -> Tensor:
    """``[cos(γπ/2), sin(γπ/2)]``, whose squared norm is the number of values.

    Args:
        values: ``γ``, ``[..., n]``.

    Returns:
        ``[..., 2 n]``: all cosines, then all sines.

    Example:
        >>> cos_sin(torch.tensor([0., 1.])).round().abs()
        tensor([1., 0., 0., 1.])
    """
    angles = values * (math.pi / 2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def complement(values: Tensor) -> Tensor:
    """``[γ, 1 - γ]``.

    Args:
        values: ``γ``, ``[..., n]``.

    Returns:
        ``[..., 2 n]``.

    Example:
        >>> complement(torch.tensor([0.25, 1.]))
        tensor([0.2500, 1.0000, 0.7500, 0.0000])
    """
    return torch.cat([values, 1 - values], dim=-1)


@dataclass(frozen=True)
class _Encoding:
    """An encoding that doubles the size; ``moment`` is the mean square of its entries for uniform values."""

    function: Callable[[Tensor], Tensor]
    moment: float


ENCODINGS = {"cos|sin": _Encoding(cos_sin, 1 / 2), "z|1-z": _Encoding(complement, 1 / 3)}


class HEncodedInput(Wrapper):
    """``h(E(γ))`` with a hypernetwork ``h`` and an encoding ``E`` of one of its inputs.

    ``E`` is ``[cos(γπ/2), sin(γπ/2)]`` of constant norm, or ``[γ, 1 - γ]``, both for ``γ`` in [0, 1] and twice as long
    as ``γ``, or any function. A value outside of [0, 1] gives a warning, since it has the encoding of another value or
    a growing norm.

    The wrapper is what users talk to, so everything that enters it is encoded, also what it looks up: with
    ``which='cond'`` the embeddings of conditions are its own, of the size of ``γ`` and drawn from U(0, 1), and ``h``
    must know none. They are published before the parameters of ``h``. With ``which='uncond'`` conditions are those of
    ``h``. The parameters of an encoding that is a module are published last.

    Args:
        hnet: The hypernetwork ``h``: any of this package (containers and wrappers as well), or of a user's own class.
        encoding: ``'cos|sin'``, ``'z|1-z'``, or a function or module that maps ``[..., in_size]`` to ``[..., n]`` with
            ``n`` the size of that input of ``h``.
        which: The input that is encoded: ``'cond'`` or ``'uncond'``.
        in_size: Size of ``γ``. Required with a function; otherwise half of the size of the input of ``h``.
        num_cond_embs: Number of conditions that the wrapper knows by id (with ``which='cond'``).
        no_cond_weights: Whether their embeddings are external.
        verbose: Whether to print a line about the network.
        embedding_table: Whether the embeddings of all conditions are one parameter ``[num_cond_embs, in_size]``, read
            by index: what many conditions (users, images) need. Without it each is a parameter of its own, which can be
            optimised, frozen and saved by itself.

    Raises:
        ValueError: If an argument is out of range, or ``h`` has no such input, one of odd size, or conditions of its
            own where the wrapper keeps them.
        TypeError: If an argument has the wrong type.

    Note:
        ``apply_hyperfan_init`` takes the mean square of an encoded input from the encoding, 1/2 resp. 1/3, whatever
        variance it is told; with a function the variance is that of the function's output.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> inner = HMLP([[3, 2], [3]], uncond_in_size=2, cond_in_size=0, num_cond_embs=0, verbose=False)
        >>> hnet = HEncodedInput(inner, 'cos|sin', which='uncond', verbose=False)
        >>> hnet(uncond_input=torch.rand(5, 1), ret_format='flattened').shape
        torch.Size([5, 9])
    """

    first_children = ("encoding", "hnet")

    def __init__(
        self,
        hnet: Any,
        encoding: str | Callable[[Tensor], Tensor] = "cos|sin",
        which: str = "cond",
        in_size: int | None = None,
        num_cond_embs: int = 0,
        no_cond_weights: bool = False,
        verbose: bool = True,
        embedding_table: bool = False,
    ) -> None:
        super().__init__(hnet)
        checks.one_of("which", which, ("cond", "uncond"))
        checks.integer("num_cond_embs", num_cond_embs, 0)
        checks.flag("no_cond_weights", no_cond_weights)
        checks.flag("embedding_table", embedding_table)
        self._which = which
        self._no_cond_weights = no_cond_weights
        if which == "cond":
            self._encoded_size = check_without_conditions(hnet, "HEncodedInput keeps the embeddings")
        else:
            self._encoded_size = check_input(hnet, which)
            own = {"num_cond_embs": num_cond_embs, "no_cond_weights": no_cond_weights}
            for name, value in {**own, "embedding_table": embedding_table}.items():
                if value:
                    checks.fail(name, "its default, since conditions are those of hnet with which='uncond'", value)
        if isinstance(encoding, str):
            checks.one_of("encoding", encoding, ENCODINGS)
            if self._encoded_size % 2:
                checks.fail("hnet", f"an input of even size, to hold encoding={encoding!r}", self._encoded_size)
            half = self._encoded_size // 2
            self._size = half if in_size is None else checks.integer("in_size", in_size, half, half)
            self._moment: float | None = ENCODINGS[encoding].moment
            function = ENCODINGS[encoding].function
        else:
            checks.instance("encoding", encoding, Callable, "a name or a function")  # type: ignore[arg-type]
            if in_size is None:
                checks.fail("in_size", "the size of what the function encodes", None)
            self._size = checks.integer("in_size", in_size, 1)
            self._moment = None
            function = encoding

        self.wrap(hnet, block=1)
        if which == "cond":
            self._cond_in_size = self._size
            options: dict[str, Any] = {"external": no_cond_weights, "table": embedding_table, "layer": -1}
            uniform = partial(nn.init.uniform_, a=0.0, b=1.0)
            self.per_condition(EMBEDDINGS, [self._size], num_cond_embs, init=uniform, **options)
        else:
            self._uncond_in_size = self._size
        self._encoding_part = ModulePart(self, "encoding", function, block=2)
        if verbose:
            print(self)

    def before(self, request: Request, values: Values) -> Request:
        """The encoded input, and the other one."""
        encoded: dict[str, Any] = {self._which: self._encode(getattr(request, self._which), values)}
        return replace(request, **encoded)

    def _encode(self, x: Tensor | None, values: Values) -> Tensor:
        name = f"{self._which}_input"
        if x is None:
            checks.fail(name, f"an input of {self._size} entries", None)
        checks.width(name, x, self._size)
        if self._moment is not None and functional.any_value((x < 0) | (x > 1)):
            warnings.warn(f"{name}: expected values in [0, 1] for the encoding, got others", stacklevel=2)
        encoded = self._encoding_part(x, values)
        check_rows("encoding(...)", encoded, x.shape[:-1], self._encoded_size)
        return encoded

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Initialise ``h`` for the targets, and for inputs of the size that encoded ones have."""
        if self._moment is not None:
            moment: dict[str, Any] = {f"{self._which}_var": self._moment}
            plan = replace(plan, **moment)
        super().start_at(wanted, plan)

    def sample_inputs(self, count: int) -> Request:
        """What is encoded is drawn from U(0, 1), the other input from N(0, 1)."""
        drawn = super().sample_inputs(count)
        uniform: dict[str, Any] = {self._which: torch.rand_like(getattr(drawn, self._which))}
        return replace(drawn, **uniform)
