"""A hypernetwork and its main network as one ordinary module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, trees
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hnets.low_rank_hnet import HLowRank
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.module_net import ModuleNet


class HyperModel(nn.Module):
    """``f(x; h(e; θ))`` as one module, for optimisers, ``DistributedDataParallel``, ``torch.compile`` and trainers.

    One condition means ``mnet.forward``; several conditions mean ``mnet.batched_forward`` with ``x`` of shape
    ``[B, N, ...]``.

    What :class:`~hypnettorch.hnets.low_rank_hnet.HLowRank` produces for a
    :class:`~hypnettorch.mnets.module_net.ModuleNet` are updates: they are added to the own values of its module, as
    factors.

    Args:
        hnet: The hypernetwork.
        mnet: The main network, whose ``hyper_shapes_learned`` (or ``param_shapes``) the hypernetwork produces.

    Raises:
        ValueError: If the hypernetwork produces other shapes.

    Example:
        >>> import torch
        >>> from hypnettorch.hnets import HMLP
        >>> from hypnettorch.mnets import MLP
        >>> mnet = MLP(n_in=4, n_out=2, no_weights=True, verbose=False)
        >>> model = HyperModel(HMLP(mnet.hyper_shapes_learned, num_cond_embs=3, verbose=False), mnet)
        >>> model(torch.randn(5, 4), cond_id=1).shape
        torch.Size([5, 2])
        >>> model(torch.randn(3, 5, 4), cond_id=[0, 1, 2]).shape
        torch.Size([3, 5, 2])
    """

    def __init__(self, hnet: HyperNetInterface, mnet: MainNetInterface) -> None:
        super().__init__()
        checks.instance("hnet", hnet, HyperNetInterface)
        checks.instance("mnet", mnet, MainNetInterface)
        produced = [list(shape) for shape in hnet.target_shapes]
        if produced not in (mnet.hyper_shapes_learned, mnet.param_shapes):
            checks.fail("hnet", "target_shapes equal to mnet.hyper_shapes_learned or mnet.param_shapes", produced)
        self.hnet = hnet
        self.mnet = mnet
        self._joint = _Joint()

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        num_conditions: int = 1,
        cond_in_size: int = 8,
        layers: Sequence[int] = (100, 100),
        include: Any = None,
        exclude: Any = None,
        **net_options: Any,
    ) -> HyperModel:
        """Any module with produced weights: a ``ModuleNet`` around it, driven by an ``HMLP`` with a split head.

        Every weight starts with the variance of an ordinary initialisation (``apply_hyperfan_init``), scales of
        normalisation layers at 1.

        Args:
            module: The module; it is changed in place (:class:`~hypnettorch.mnets.module_net.ModuleNet`).
            num_conditions: How many conditions the hypernetwork knows.
            cond_in_size: Size of their embeddings.
            layers: Sizes of the hidden layers of the hypernetwork.
            include: Which parameters are produced, see ``ModuleNet``. Default: all.
            exclude: Which of them are not.
            **net_options: Further arguments of ``ModuleNet``.

        Raises:
            ValueError: If an argument is out of range, or a selector chooses nothing.
            TypeError: If an argument has the wrong type.

        Example:
            >>> import torch
            >>> model = HyperModel.from_module(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), 3)
            >>> model(torch.randn(5, 4), cond_id=2).shape
            torch.Size([5, 2])
        """
        net = ModuleNet(module, include, exclude, **net_options)
        hnet = HMLP(
            net.hyper_shapes_learned or (),
            cond_in_size=cond_in_size,
            layers=layers,
            num_cond_embs=checks.integer("num_conditions", num_conditions, 1),
            split_head=True,
            verbose=False,
        )
        hnet.apply_hyperfan_init(mnet=net)
        return cls(hnet, net)

    def forward(
        self,
        *args: Any,
        cond_id: Any = None,
        cond_input: Tensor | None = None,
        uncond_input: Tensor | None = None,
        condition: Any = None,
        regularizer: Callable[[HyperNetInterface], Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Produce weights and evaluate the main network with them.

        Args:
            *args: Positional arguments of the main network, first of all its input.
            cond_id: Id or ids of conditions, see ``HyperNetInterface.forward``.
            cond_input: Conditional input ``[B, cond_in_size]`` instead.
            uncond_input: Unconditional input ``[B, uncond_in_size]``.
            condition: ``condition`` of the main network; by default ``cond_id`` where the network depends on it (it
                keeps statistics per condition, or the condition fixes which of several networks is meant).
            regularizer: Called with the hypernetwork inside of this forward pass.
            **kwargs: Keyword arguments of the main network.

        Returns:
            The output of the main network; with ``regularizer`` the pair of it and the regulariser's value.

        Raises:
            ValueError: If arguments are missing or do not fit.
        """
        checks.function("regularizer", regularizer)
        arguments = {"uncond_input": uncond_input, "cond_input": cond_input}
        if cond_id is not None:
            if cond_input is not None:
                checks.fail("cond_input", "only one of 'cond_input' and 'cond_id'", "both")
            arguments.update(self.hnet.condition_inputs(cond_id))
            if condition is None and self.mnet.depends_on_condition:
                condition = cond_id
        if isinstance(condition, Tensor) and not torch.compiler.is_compiling():
            condition = condition.tolist()  # what is compiled chooses by numbers
        output = self._joint(self.hnet, self.mnet, args, kwargs, arguments, condition)
        return output if regularizer is None else (output, regularizer(self.hnet))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile everything but the look-up of conditions, so that one graph serves all of them.

        Where the main network depends on the condition, each condition is a graph of its own; allow as many by
        ``torch._dynamo.config.recompile_limit``.

        Args:
            *args: Arguments of ``torch.compile``.
            **kwargs: Arguments of ``torch.compile``.
        """
        self._joint.compile(*args, **kwargs)


class _Joint(nn.Module):
    """What follows the look-up of conditions; a module of its own, since it is what is compiled."""

    def forward(
        self,
        hnet: Any,
        mnet: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: dict[str, Any],
        condition: Any,
    ) -> Any:
        updates = isinstance(hnet, HLowRank) and isinstance(mnet, ModuleNet)
        weights = (hnet.factors if updates else hnet.forward)(**inputs, ret_format="stacked")
        if trees.tensors(weights)[0].shape[0] > 1:
            return mnet.batched_forward(*args, weights=weights, condition=condition, **kwargs)
        if isinstance(condition, (list, tuple)) or (isinstance(condition, Tensor) and condition.dim() > 0):
            condition = int(condition[0])
        weights = trees.map_tensors(lambda w: w.squeeze(0), weights)
        return mnet.forward(*args, weights=weights, condition=condition, **kwargs)
