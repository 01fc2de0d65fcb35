"""Hypernetworks of low-rank updates that start at an adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypnettorch.adapters.factor_heads import Adapter, draw_lora
from hypnettorch.core import checks
from hypnettorch.hnets.low_rank_hnet import HLowRank, targets_by_key
from hypnettorch.hnets.residual_hnet import HResidual
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.mnets.network import Shapes
from hypnettorch.utils.peft_adapters import load_peft_adapter
from hypnettorch.utils.safe_files import FilePath


def low_rank_at(
    hnet: Callable[[Shapes], Any],
    net: ModuleNet,
    start: Adapter | FilePath | int,
    alpha: float | None = None,
    dropout: float = 0.0,
    verbose: bool = True,
) -> HLowRank:
    """``ΔW_i = (α / r_i) (B⁰_i + h^B_i(·)) (A⁰_i + h^A_i(·))`` with ``h = 0`` before training.

    All conditions start at the adapter ``(A⁰, B⁰)``, which is learned with ``h``. Gradients reach it and the last layer
    of ``h`` in the first step. With the pairs of LoRA this is Bias-HyperInit: the bias of the last layer is the
    initialisation of an ordinary LoRA.

    Args:
        hnet: Makes ``h`` from the shapes of all factors, as the argument of the same name of
            :class:`~hypnettorch.hnets.low_rank_hnet.HLowRank`. It can start at zero (``start_at_zero``).
        net: The network that the updates are for.
        start: The adapter: pairs for all selected weights, a folder that PEFT has written
            (:func:`~hypnettorch.utils.peft_adapters.load_peft_adapter`), or a rank: as LoRA starts, with ``B⁰ = 0``
            (:func:`~hypnettorch.adapters.factor_heads.draw_lora`).
        alpha: ``α``; by default ``r_i``. The product is the one of the adapter, whatever it is.
        dropout: See :class:`~hypnettorch.hnets.low_rank_hnet.HLowRank`.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If the adapter does not have a pair for each selected weight.
        NotImplementedError: If the class of ``h`` has no start at zero.

    References:
        Beck et al., "Hypernetworks in Meta-Reinforcement Learning", CoRL 2022, https://arxiv.org/abs/2210.11348 (the
        start by the bias); Charakorn et al., "Text-to-LoRA", ICML 2025, https://arxiv.org/abs/2506.06105.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from hypnettorch.hnets import HMLP
        >>> net = ModuleNet(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)), include='*.weight')
        >>> hnet = low_rank_at(lambda shapes: HMLP(shapes, num_cond_embs=3, verbose=False), net, 2, verbose=False)
        >>> x = torch.randn(5, 6)
        >>> torch.equal(net(x, weights=hnet.factors(cond_id=1)), net.module(x))
        True
    """
    checks.instance("net", net, ModuleNet)
    shapes = targets_by_key(net)
    if isinstance(start, int):
        adapter: Adapter = draw_lora(shapes, checks.integer("start", start, 1))
    else:
        adapter = start if isinstance(start, Mapping) else load_peft_adapter(start, net)
    if set(adapter) != set(shapes):
        checks.fail("start", f"a pair (A, B) for each of {list(shapes)}", f"those for {list(adapter)}")
    ranks = [len(adapter[key][0]) for key in shapes]
    scales = [1.0 if alpha is None else alpha / rank for rank in ranks]
    base = [
        factor
        for key, scale in zip(shapes, scales, strict=True)
        for factor in (adapter[key][0], adapter[key][1] / scale)
    ]
    factors = HResidual(hnet(HLowRank.factor_shapes(net, ranks)), base, verbose=False)
    factors.start_at_base()
    return HLowRank(factors, net, ranks, alpha, verbose, dropout, gate=1.0)
