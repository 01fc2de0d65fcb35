"""A hypernetwork and its main network as one ordinary module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.common.suggestions import did_you_mean
from hypnettorch.core import checks, trees
from hypnettorch.core.values import Stacked, check_sets, has_sets
from hypnettorch.hnets import inputs
from hypnettorch.hnets.hypernetwork import check_hypernetwork
from hypnettorch.hnets.low_rank_hnet import UpdatesOfModule
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.hnets.residual_hnet import HResidual
from hypnettorch.mnets.batched import map_sets
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.mnets.network import Network, check_network, computes, is_network

ITEMS = "num_items_in_batch"

_WORTH_A_GROUP = 8
"""How many equal conditions there are to be, on average: evaluating a group costs as much as some weight sets."""


class HyperModel(nn.Module):
    """``f(x; h(e; θ))`` as one module, for optimisers, ``DistributedDataParallel``, ``torch.compile`` and trainers.

    How the condition is given says whether there are many weight sets: an id or a vector means ``mnet(x)``; a list of
    ids, or a batch of vectors, means ``mnet.batched_forward`` with ``x`` of shape ``[B, N, ...]`` (``[N, ...]`` with
    ``share_input=True``), also if there is one of them, or none. Weights of an id that stands in a long list many times
    are produced once, and evaluated with all of its inputs together.

    What :class:`~hypnettorch.hnets.low_rank_hnet.HLowRank` produces (also inside of wrappers that pass updates on) are
    updates for the own values of a :class:`~hypnettorch.mnets.module_net.ModuleNet`: they are added as factors.

    Both networks are called as modules, so hooks, ``model.hnet.compile()``, ``model.mnet.compile()`` and sharding of
    either one work.

    Args:
        hnet: The hypernetwork; beside a ``ModuleNet`` also any module that gets ``cond_input`` (the entries of a
            dictionary as keywords) and returns low-rank updates ``{name: (A [N, r, n], B [N, out, r])}``.
        mnet: The main network, whose ``hyper_shapes_learned`` (or ``param_shapes``) the hypernetwork produces.
        return_factors: Whether a call gives, beside the output, what :meth:`weights` gives, as for a penalty of the
            factors in the loss; they are generated once.

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

    def __init__(self, hnet: Any, mnet: Any, return_factors: bool = False) -> None:
        super().__init__()
        self._returns_factors = checks.flag("return_factors", return_factors)
        if isinstance(hnet, nn.Module) and isinstance(mnet, ModuleNet) and not is_network(hnet):
            hnet = UpdatesOfModule(hnet, mnet)
        check_hypernetwork("hnet", hnet)
        check_network("mnet", mnet)
        produced = [list(shape) for shape in hnet.target_shapes]
        if produced not in (mnet.hyper_shapes_learned, mnet.param_shapes):
            checks.fail("hnet", "target_shapes equal to mnet.hyper_shapes_learned or mnet.param_shapes", produced)
        self.hnet = hnet
        self.mnet = mnet
        rows = mnet.table.learned if produced == mnet.hyper_shapes_learned else mnet.table.rows
        self._names = [row.name for row in rows]
        self._joint = _Joint()

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        num_cond_embs: int = 1,
        cond_in_size: int = 8,
        layers: Sequence[int] = (100, 100),
        include: Any = None,
        exclude: Any = None,
        embedding_table: bool = True,
        residual: bool = False,
        cond_input: Any = None,
        **net_options: Any,
    ) -> HyperModel:
        """Any module with produced weights: a ``ModuleNet`` around it, driven by an ``HMLP`` with a split head.

        Every weight starts with mean and variance of the module's own values (``apply_calibrated_init``), scales of
        normalisation layers at 1.

        Args:
            module: The module; it is changed in place (:class:`~hypnettorch.mnets.module_net.ModuleNet`).
            num_cond_embs: How many conditions the hypernetwork knows by id; 0 if all conditions are vectors
                (``cond_input``).
            cond_in_size: Size of their embeddings, or of these vectors.
            layers: Sizes of the hidden layers of the hypernetwork.
            include: Which parameters are produced, see ``ModuleNet``. Default: all.
            exclude: Which of them are not.
            embedding_table: Whether the embeddings are one parameter, see :class:`~hypnettorch.hnets.mlp_hnet.HMLP`.
            residual: For conditions that have much in common and little data each: what is generated is added to the
                module's own values, is nothing at first (:class:`~hypnettorch.hnets.residual_hnet.HResidual`), and
                embeddings start near each other, with standard deviation 0.03, as latent codes of images and shapes
                usually do (Park et al., "DeepSDF", CVPR 2019, section 4.2: 0.01).
            cond_input: Samples ``[N, cond_in_size]`` of vectors as conditions, for which the start is right. Default:
                vectors from N(0, 1), as embeddings are.
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
        options = inspect.signature(ModuleNet).parameters
        for name in net_options.keys() - options.keys():
            known = (*options, *inspect.signature(cls.from_module).parameters)
            raise TypeError(f"from_module: unexpected keyword argument '{name}'{did_you_mean(name, known)}")
        net = ModuleNet(module, include, exclude, **net_options)
        hnet: Any = HMLP(
            net.hyper_shapes_learned or (),
            cond_in_size=cond_in_size,
            layers=layers,
            num_cond_embs=num_cond_embs,
            split_head=True,
            embedding_table=embedding_table,
            verbose=False,
        )
        if checks.flag("residual", residual):
            hnet = HResidual(hnet, net, verbose=False)
        hnet.apply_calibrated_init(net, cond_input)
        for embedding in hnet.conditional_params if residual else ():
            nn.init.normal_(embedding, std=0.03)
        return cls(hnet, net)

    def forward(
        self,
        *args: Any,
        cond_id: Any = None,
        cond_input: Any = None,
        uncond_input: Tensor | None = None,
        condition: Any = None,
        regularizer: Callable[[Any], Tensor] | None = None,
        share_input: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Produce weights and evaluate the main network with them.

        Args:
            *args: Positional arguments of the main network, first of all its input.
            cond_id: Id or ids of conditions, see
                :meth:`HyperNetwork.forward <hypnettorch.hnets.hypernetwork.HyperNetwork.forward>`.
            cond_input: Conditional input ``[cond_in_size]`` or ``[B, cond_in_size]`` instead; a dictionary of tensors
                ``[B, ...]``; or one set or many, as :class:`~hypnettorch.hnets.set_hnet.HSetInput` takes them.
            uncond_input: Unconditional input ``[uncond_in_size]`` or ``[B, uncond_in_size]``.
            condition: ``condition`` of the main network; by default ``cond_id`` where the network depends on it (it
                keeps statistics per condition, or the condition fixes which of several networks is meant).
            regularizer: Called with the hypernetwork inside of this forward pass.
            share_input: Whether all of several weight sets see the same input ``[N, ...]``. Without it the first
                dimension of the input is that of the sets, also where there are as many samples as sets:
                ``model(torch.randn(3, 4), cond_id=[0, 1, 2])`` gives each of three networks one sample of four entries.
            **kwargs: Keyword arguments of the main network. Where a trainer of Hugging Face says by
                ``num_items_in_batch`` what losses are divided by, the ``loss`` of all weight sets is one number.

        Returns:
            The output of the main network; a tuple of it and what else was asked for: the weights
            (``return_factors``), the regulariser's value.

        Raises:
            ValueError: If arguments are missing or do not fit.
        """
        if regularizer is not None:
            checks.function("regularizer", regularizer)
        one_by_one = condition is not None or uncond_input is not None or ITEMS in kwargs or self._returns_factors
        groups = None if one_by_one or cond_id is None else self._groups(cond_id)
        many, inputs = self._inputs(cond_id if groups is None else list(groups), cond_input, uncond_input)
        if cond_id is not None and condition is None and self.mnet.depends_on_condition:
            condition = cond_id
        if isinstance(condition, Tensor) and not torch.compiler.is_compiling():
            condition = condition.tolist()  # what is compiled chooses by numbers
        if groups is None or share_input:
            output, produced = self._joint(self, args, kwargs, inputs, many, share_input, condition)
        else:
            output, produced = self._grouped(list(groups.values()), self._produce(many, inputs), args, kwargs), None
        if groups is not None:
            order = torch.tensor([b for group in groups.values() for b in group]).argsort()
            of_set = torch.tensor([i for i, group in enumerate(groups.values()) for _ in group])
            output = _rows(output, of_set[order] if share_input else order)
        found = [output]
        if self._returns_factors:
            found.append(self._by_name(produced))
        if regularizer is not None:
            found.append(regularizer(self.hnet))
        return output if len(found) == 1 else tuple(found)

    def weights(
        self, cond_id: Any = None, cond_input: Any = None, uncond_input: Tensor | None = None
    ) -> dict[Any, Any]:
        """What the main network would get, by name.

        Args:
            cond_id: See :meth:`forward`.
            cond_input: See :meth:`forward`.
            uncond_input: See :meth:`forward`.

        Returns:
            Tensors ``[*shape]``, or ``[B, *shape]`` for many weight sets, that ``mnet.forward`` and
            ``mnet.batched_forward`` take as ``weights``; of low-rank updates pairs ``(A, B)``.
        """
        return self._by_name(self._produce(*self._inputs(cond_id, cond_input, uncond_input)))

    def _by_name(self, produced: Any) -> dict[Any, Any]:
        return produced if isinstance(produced, dict) else dict(zip(self._names, produced, strict=True))

    def _inputs(self, cond_id: Any, cond_input: Any, uncond_input: Tensor | None) -> tuple[bool, dict[str, Any]]:
        """Whether many weight sets are meant, and arguments of the hypernetwork."""
        arguments: dict[str, Any] = {}
        many = False
        hnet = self.hnet
        for name, value in (("cond_input", cond_input), ("uncond_input", uncond_input)):
            if value is not None:
                single = inputs.is_single(value, getattr(hnet, "condition_dims", 1) if name == "cond_input" else 1)
                many = many or not single
                arguments[name] = value.unsqueeze(0) if single and isinstance(value, Tensor) else value
        if cond_id is not None:
            if cond_input is not None:
                checks.fail("cond_input", "only one of 'cond_input' and 'cond_id'", "both")
            none = False
            if not isinstance(cond_id, int):
                listed = cond_id.dim() > 0 if isinstance(cond_id, Tensor) else hasattr(cond_id, "__len__")
                none = listed and not isinstance(cond_id, (str, dict, set)) and len(cond_id) == 0
                many = many or listed
            held = next((row for row in hnet.table.rows if row.owner is not None), None)
            if held is not None and hasattr(held.owner._parameters.get(held.key), "full_tensor"):
                arguments["cond_id"] = cond_id  # a sharded network has its embeddings only while it is called
            else:
                arguments.update(_no_condition(hnet) if none else hnet.condition_inputs(cond_id))
        return many, arguments

    def _groups(self, cond_id: Any) -> dict[int, list[int]] | None:
        """Positions of equal ids; ``None`` if each input is to be evaluated with weights of its own."""
        several = isinstance(cond_id, (list, tuple, Tensor)) and not self.mnet.depends_on_condition
        if not several or torch.compiler.is_compiling() or self._joint._compiled_call_impl is not None:
            return None
        ids = cond_id.tolist() if isinstance(cond_id, Tensor) else cond_id
        if not isinstance(ids, (list, tuple)) or set(map(type, ids)) != {int}:
            return None
        if _WORTH_A_GROUP * len(set(ids)) > len(ids):
            return None
        groups: dict[int, list[int]] = {}
        for b, i in enumerate(ids):
            groups.setdefault(i, []).append(b)
        return groups

    def _grouped(self, groups: list[list[int]], produced: Any, args: Any, kwargs: Any) -> Any:
        """Each of the distinct weight sets with all of its inputs, one set after the other."""
        arguments = {"args": args, "kwargs": kwargs}
        for tensor in filter(has_sets, trees.tensors(arguments)):
            check_sets("cond_id", tensor, sum(map(len, groups)))
        outputs = []
        for i, group in enumerate(groups):
            weights = trees.map_tensors(itemgetter(i), produced)

            def of_input(args: Any, kwargs: Any, condition: None = None, weights: Any = weights) -> Any:
                return self.mnet(*args, weights=weights, **kwargs)

            outputs.append(map_sets(of_input, _rows(arguments, torch.tensor(group)), self.mnet))
        return trees.map_leaves(lambda *parts: torch.cat(parts), *outputs)

    def _produce(self, many: bool, inputs: dict[str, Any]) -> Any:
        """Weights in the order of the targets, or updates by the key of their target."""
        updates = isinstance(self.mnet, ModuleNet) and getattr(self.hnet, "makes_updates", False)
        weights = self.hnet(**inputs, ret_format="factors" if updates else "stacked" if many else "squeezed")
        return trees.map_tensors(lambda w: w.squeeze(0), weights) if updates and not many else weights

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
        self, model: HyperModel, args: Any, kwargs: Any, inputs: Any, many: bool, share_input: bool, condition: Any
    ) -> tuple[Any, Any]:
        weights, mnet = model._produce(many, inputs), model.mnet
        returned = weights if model._returns_factors else None
        if not many:
            if isinstance(condition, (list, tuple)) or (isinstance(condition, Tensor) and condition.dim() > 0):
                condition = int(condition[0])
            return mnet(*args, weights=weights, condition=condition, **kwargs), returned
        if isinstance(mnet, ModuleNet) or (isinstance(mnet, Network) and computes(type(mnet))):
            output = mnet(*args, weights=Stacked(weights, share_input), condition=condition, **kwargs)
        else:
            output = mnet.batched_forward(
                *args, weights=weights, share_input=share_input, condition=condition, **kwargs
            )
        if ITEMS in kwargs and "loss" in output:
            output["loss"] = output["loss"].mean() if kwargs[ITEMS] is None else output["loss"].sum()
        return output, returned


def _rows(tree: Any, index: Tensor) -> Any:
    """Rows of all tensors that have some."""
    return trees.map_tensors(lambda t: t[index.to(t.device)] if t.dim() else t, tree)


def _no_condition(hnet: Any) -> dict[str, Any]:
    """Arguments of a hypernetwork that stand for an empty list of ids."""
    found = hnet.condition_inputs(0)
    if "cond_id" in found:
        checks.fail("cond_id", f"at least one id, since {type(hnet).__name__} looks them up itself", "none")
    return trees.map_tensors(lambda tensor: tensor[:0], found)
