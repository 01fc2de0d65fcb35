"""Hypernetworks that read the inputs of the network for which they produce weights."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from hypnettorch.compat.linear_layers import LinearLayers
from hypnettorch.core import checks
from hypnettorch.hnets import hypernetwork
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.hnets.set_hnet import HSetInput

OUTER_LAYERS = 3


class _ForDownstream(nn.Module):
    """A hypernetwork of this package that produces every parameter of a downstream network, by name.

    Its linear layers are ``nn.Linear`` among its ``modules()``, so that ``apply(function)`` reaches them.
    """

    def __init__(
        self, hnet: hypernetwork.HyperNetwork, head: HMLP, input_size: int, downstream_network: nn.Module
    ) -> None:
        super().__init__()
        self.hnet = hnet
        self.linear_layers = LinearLayers(head)
        self._input_size = input_size
        self._names = [name for name, _ in downstream_network.named_parameters()]

    @abstractmethod
    def _generate(self, rows: Tensor) -> list[Tensor]:
        """Weights from the inputs ``[N, input_size]``."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Produce weights for the downstream network.

        Args:
            x: ``N`` inputs ``[N, ...]`` of ``input_size`` numbers each.

        Returns:
            Tensors by name in the order of ``named_parameters()``, for ``torch.func.functional_call``.

        Raises:
            ValueError: If the inputs have another size.
            TypeError: If ``x`` is no tensor.
        """
        checks.tensor("x", x)
        self.linear_layers.check_tied()
        if x.dim() == 0 or len(x) == 0 or math.prod(x.shape[1:]) != self._input_size:
            checks.fail("x", f"inputs [N, ...] of {self._input_size} numbers each", f"shape {tuple(x.shape)}")
        return dict(zip(self._names, self._generate(x.reshape(len(x), -1)), strict=True))


class HyperNetwork(_ForDownstream):
    """``ω = g(1/N Σ_n f(x_n))``: one weight set for ``N`` inputs, whatever their order and number.

    ``f`` has a linear map and a ReLU for each hidden size, ``g`` one linear map per weight tensor.
    :class:`~hypnettorch.hnets.set_hnet.HSetInput` does the work.

    Args:
        input_size: Size of one input.
        hidden_sizes: Sizes of the layers of ``f``.
        downstream_network: The network whose parameters are produced; it stays as it is.
        use_outer_net: Whether ``g`` begins with three layers with ReLU, of the last hidden size.

    Raises:
        ValueError: If a size is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> downstream = nn.Linear(4, 2)
        >>> hypernetwork = HyperNetwork(4, [16, 32], downstream)
        >>> x = torch.randn(10, 4)
        >>> torch.func.functional_call(downstream, hypernetwork(x), x).shape
        torch.Size([10, 2])
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        downstream_network: nn.Module,
        use_outer_net: bool = False,
    ) -> None:
        sizes = [checks.integer("input_size", input_size, 1), *checks.integers("hidden_sizes", hidden_sizes, 1)]
        inner = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        outer = HMLP(
            _target_shapes(downstream_network),
            cond_in_size=sizes[-1],
            layers=_outer_sizes(sizes[-1], use_outer_net),
            num_cond_embs=0,
            no_cond_weights=True,
            split_head=True,
            verbose=False,
        )
        hnet = HSetInput(outer, nn.Sequential(*inner), verbose=False)
        super().__init__(hnet, outer, input_size, downstream_network)

    def _generate(self, rows: Tensor) -> list[Tensor]:
        weights: list[Tensor] = self.hnet(cond_input=rows)
        return weights


class NaiveHyperNetwork(_ForDownstream):
    """``ω = g(f([x_1, …, x_N]))``: one weight set for a fixed number of inputs, side by side.

    :class:`~hypnettorch.hnets.mlp_hnet.HMLP` does the work.

    Args:
        batch_size: Number ``N`` of inputs.
        input_size: Size of one input.
        hidden_sizes: As for :class:`HyperNetwork`.
        downstream_network: As for :class:`HyperNetwork`.
        use_outer_net: As for :class:`HyperNetwork`.

    Raises:
        ValueError: If a size is out of range.
        TypeError: If an argument has the wrong type.
    """

    def __init__(
        self,
        batch_size: int,
        input_size: int,
        hidden_sizes: Sequence[int],
        downstream_network: nn.Module,
        use_outer_net: bool = False,
    ) -> None:
        joint_size = checks.integer("batch_size", batch_size, 1) * checks.integer("input_size", input_size, 1)
        sizes = [joint_size, *checks.integers("hidden_sizes", hidden_sizes, 1)]
        hnet = HMLP(
            _target_shapes(downstream_network),
            uncond_in_size=joint_size,
            cond_in_size=0,
            layers=[*sizes[1:], *_outer_sizes(sizes[-1], use_outer_net)],
            num_cond_embs=0,
            split_head=True,
            verbose=False,
        )
        super().__init__(hnet, hnet, input_size, downstream_network)
        self._batch_size = batch_size

    def _generate(self, rows: Tensor) -> list[Tensor]:
        if len(rows) != self._batch_size:
            checks.fail("x", f"{self._batch_size} inputs (batch_size)", len(rows))
        weights: list[Tensor] = self.hnet(uncond_input=rows.reshape(1, -1))
        return weights


def _outer_sizes(size: int, use_outer_net: bool) -> list[int]:
    checks.flag("use_outer_net", use_outer_net)
    return [size] * OUTER_LAYERS if use_outer_net else []


def _target_shapes(downstream_network: nn.Module) -> list[list[int]]:
    checks.instance("downstream_network", downstream_network, nn.Module)
    return [list(parameter.shape) for parameter in downstream_network.parameters()]
