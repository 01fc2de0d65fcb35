"""A hypernetwork whose output is a product of thin matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.low_rank import Key, LowRank, matrix_shape
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import inputs
from hypnettorch.hnets.hypernetwork import HyperNetwork, Pairs, Request
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.module_part import ModulePart
from hypnettorch.hnets.wrapper import Wrapper, stacked_value
from hypnettorch.mnets.layer_types import is_described
from hypnettorch.mnets.network import Network, Shapes, is_network


class HLowRank(Wrapper):
    """``ΔW_i = (α_i / r_i) g_i B_i A_i`` with factors ``A_i``, ``B_i`` that a hypernetwork ``h`` produces.

    A weight ``[out, *rest]`` of ``n = ∏ rest`` columns (a vector has one) gets ``A [r, n]`` and ``B [out, r]``, so that
    ``h`` has ``r (n + out)`` outputs for it instead of ``n · out``. The gates ``g_i``, a parameter per target, start at
    0: whatever ``h`` is, the update is zero before training. Gradients reach the gates in the first step and ``h`` from
    the second one on.

    :meth:`factors` gives the updates as pairs, which :class:`hypnettorch.mnets.module_net.ModuleNet` adds to the
    weights of its module without multiplying them, also a different adapter for each sample in one pass, and
    :class:`hypnettorch.hyper_model.HyperModel` does so by itself. ``forward`` multiplies: it gives the updates (not the
    sums) in the usual formats.

    The parameters of ``h`` are published first, then the gates as one tensor ``[number of targets]``.

    Args:
        hnet: The hypernetwork ``h``, of any class, with the target shapes ``factor_shapes(target_shapes, rank)``; a
            class or function that makes it from these shapes; or any other module, which gets ``cond_input`` (the
            entries of a dictionary as keywords) and returns ``{key: (A, B)}``, ``A [N, r, n]`` and ``B [N, out, r]``.
        target: What the updates are for: a main network, or shapes, as a list or by key. The keys of :meth:`factors`
            are the names of the parameters of a module (:class:`~hypnettorch.mnets.module_net.ModuleNet`) or those of
            the shapes, otherwise positions in ``hyper_shapes_learned``.
        rank: ``r``: one for all, a list with one per target, or a dictionary by key or name pattern as
            ``{'*.attn.*': 8, '*': 4}``, of which the first that matches counts.
        alpha: ``α``, in the same forms; by default the rank.
        verbose: Whether to print a line about the network.
        gate: What the gates start at: 1 for an ``h`` whose own updates start at zero, of which closed gates would let
            no gradient through.
        dropout: With which probability an entry of the input of an adapter is 0 in training mode. It is drawn for each
            pair of factors, so that all positions of a sample lose the same entries.

    Raises:
        ValueError: If a target is a stack of matrices (fused experts), or ``h`` does not produce such factors.
        TypeError: If an argument has the wrong type.

    Note:
        ``apply_hyperfan_init`` closes the gates and lets ``B A`` have the variance that the targets should have. What
        evaluates all outputs, as a regulariser of continual learning does, is cheaper with ``internal_hnet``, the
        hypernetwork of the factors.

    References:
        Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, https://arxiv.org/abs/2106.09685,
        section 4.1; Charakorn et al., "Text-to-LoRA", ICML 2025, https://arxiv.org/abs/2506.06105.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> from hypnettorch.mnets import ModuleNet
        >>> net = ModuleNet(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)), include='*.weight')
        >>> hnet = HLowRank(lambda shapes: HMLP(shapes, num_cond_embs=3, verbose=False), net, rank=4, verbose=False)
        >>> {key: (tuple(A.shape), tuple(B.shape)) for key, (A, B) in hnet.factors(cond_id=0).items()}
        {'0.weight': ((4, 64), (64, 4)), '2.weight': ((4, 64), (2, 4))}
        >>> x = torch.randn(5, 64)
        >>> torch.equal(net(x, weights=hnet.factors(cond_id=0)), net.module(x))
        True
    """

    def __init__(
        self,
        hnet: Any | Callable[[Shapes], Any],
        target: Network | Sequence[Sequence[int]] | Mapping[Key, Sequence[int]],
        rank: int | Sequence[int] | Mapping[Any, int] = 8,
        alpha: float | Sequence[float] | Mapping[Any, float] | None = None,
        verbose: bool = True,
        dropout: float = 0.0,
        gate: float = 0.0,
    ) -> None:
        targets = targets_by_key(target)
        shapes, keys = list(targets.values()), list(targets)
        ranks = _ranks(rank, keys)
        alphas = ranks if alpha is None else _per_target("alpha", alpha, keys)
        wanted = _factor_shapes(shapes, ranks)
        generator: Any = hnet(wanted) if callable(hnet) and not isinstance(hnet, nn.Module) else hnet
        if isinstance(generator, nn.Module) and not is_network(generator):
            generator = UpdatesOfModule(generator, target)
        super().__init__(generator, shapes)
        if not generator.makes_updates and [list(shape) for shape in generator.target_shapes] != wanted:
            checks.fail("hnet", f"target shapes {wanted}, A and B of each target", generator.target_shapes)
        self._keys, self._ranks = keys, ranks
        self._alphas = [checks.number(("alpha", i), a) for i, a in enumerate(alphas)]
        self._dropout = checks.number("dropout", dropout, 0, 1)
        self.wrap(generator)
        opened = partial(nn.init.constant_, val=checks.number("gate", gate))
        self.declare("gate.weight", [len(shapes)], block=1, init=opened)
        if verbose:
            print(self)

    @staticmethod
    def factor_shapes(
        target: Network | Sequence[Sequence[int]] | Mapping[Key, Sequence[int]],
        rank: int | Sequence[int] | Mapping[Any, int] = 8,
    ) -> list[list[int]]:
        """What the hypernetwork inside has to produce: ``A`` and ``B`` of the first target, then of the second, …

        Args:
            target: See :class:`HLowRank`.
            rank: See :class:`HLowRank`.

        Example:
            >>> HLowRank.factor_shapes([[16, 3, 5, 5], [10, 16]], rank=[4, 2])
            [[4, 75], [16, 4], [2, 16], [10, 2]]
        """
        targets = targets_by_key(target)
        return _factor_shapes(list(targets.values()), _ranks(rank, list(targets)))

    @property
    def gates(self) -> nn.Parameter:
        """``g``, ``[number of targets]``."""
        return self.gate.weight  # type: ignore[return-value, union-attr]

    @property
    def target_keys(self) -> list[Key]:
        """The keys of :meth:`factors`, in the order of ``target_shapes``."""
        return list(self._keys)

    @property
    def makes_updates(self) -> bool:
        """``True``: what is produced are low-rank updates of weights."""
        return True

    def generate(self, request: Request, values: Values) -> list[Tensor]:
        """The updates, multiplied out."""
        return _products(self.updates(request, values), self.target_shapes)

    def updates(self, request: Request, values: Values) -> Pairs:
        """The updates as pairs; with many parameter sets ``A [B, N, r, n]`` and ``B [B, N, out, r]``."""
        if self.hnet.makes_updates:
            pairs = self.ask_updates(request, values)
            ranks = [pair.rank for pair in pairs]
            if ranks != self._ranks:
                checks.fail("hnet(...)", f"pairs of the ranks {self._ranks}", ranks)
        else:
            factors = self.ask("hnet", request, values).tensors
            pairs = [LowRank(A, B) for A, B in zip(factors[::2], factors[1::2], strict=True)]
        gates = stacked_value(values, "gate.weight")[..., None, None, None].unbind(-4)  # each [1, 1, 1] or [B, 1, 1, 1]
        scales = [alpha / rank for alpha, rank in zip(self._alphas, self._ranks, strict=True)]
        return [
            LowRank(self._dropped(pair.A), scale * gate * pair.B)
            for pair, scale, gate in zip(pairs, scales, gates, strict=True)
        ]

    def _dropped(self, A: Tensor) -> Tensor:
        if not (self.training and self._dropout):
            return A
        return A * nn.functional.dropout(torch.ones_like(A[..., :1, :]), self._dropout)

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Let ``A`` have the variance that a weight should have (1 for a constant), the rows of ``B`` the norm 1."""
        factors: list[Start] = []
        for start, (_, rank) in zip(wanted, _factor_shapes(self.target_shapes, self._ranks)[1::2], strict=True):
            factors += [Start(generated=start.variance or 1.0), Start(generated=1 / rank)]
        self.start_inner(factors, plan)
        self.start_at_zero()

    def start_at_zero(self) -> None:
        """Close the gates."""
        nn.init.zeros_(self.gates)


class UpdatesOfModule(HyperNetwork):
    """The low-rank updates that a module returns by the key of their target.

    Args:
        module: A module that gets ``cond_input`` (the entries of a dictionary as keywords) and returns
            ``{key: (A, B)}``, ``A [N, r, n]`` and ``B [N, out, r]``.
        target: What the updates are for, as for :class:`HLowRank`.
    """

    makes_updates = True

    def __init__(self, module: nn.Module, target: Any) -> None:
        targets = targets_by_key(target)
        super().__init__(list(targets.values()))
        self._keys = list(targets)
        self._part = ModulePart(self, "module", module, block=0)

    @property
    def target_keys(self) -> list[Key]:
        """The keys of the module, in the order of ``target_shapes``."""
        return list(self._keys)

    def check_inputs(self, request: Request) -> None:
        """There is a condition; what is in it is the module's own affair."""
        inputs.check_width("uncond_input", request.uncond, 0)
        if request.cond is None:
            checks.fail("cond_input", "what the module is to be given", None)

    def generate(self, request: Request, values: Values) -> list[Tensor]:
        """The updates, multiplied out."""
        return _products(self.updates(request, values), self.target_shapes)

    def updates(self, request: Request, values: Values) -> Pairs:
        """What the module returns, checked."""
        made: Any = self._part(request.cond, values)
        if not isinstance(made, Mapping) or set(made) != set(self._keys):
            got = sorted(map(str, made)) if isinstance(made, Mapping) else type(made).__name__
            checks.fail("hnet(...)", f"a dictionary with pairs (A, B) for {self._keys}", got)
        pairs = [LowRank(*made[key]) for key in self._keys]
        lead = pairs[0].A.shape[:-2]
        for key, pair, (rows, columns) in zip(self._keys, pairs, map(matrix_shape, self.target_shapes), strict=True):
            checks.shape(f"hnet(...)[{key!r}], A", pair.A, (*lead, pair.rank, columns))
            checks.shape(f"hnet(...)[{key!r}], B", pair.B, (*lead, rows, pair.rank))
        return pairs


def _products(pairs: Pairs, shapes: Shapes) -> list[Tensor]:
    return [pair.product(shape) for pair, shape in zip(pairs, shapes, strict=True)]


def targets_by_key(target: Any) -> dict[Key, list[int]]:
    """Shapes of the targets of low-rank updates, none of which may be a stack of matrices.

    Args:
        target: See :class:`HLowRank`.

    Raises:
        ValueError: If a target is a stack of matrices.
    """
    module: Any = None
    if is_network(target):
        module, rows = getattr(target, "module", None), target.table.learned or target.table.rows
        shapes = {row.name if isinstance(module, nn.Module) else i: list(row.shape) for i, row in enumerate(rows)}
    elif isinstance(target, Mapping):
        shapes = dict(zip(target, checks.shapes("target", target.values()), strict=True))
    else:
        shapes = dict(enumerate(checks.shapes("target", target)))
    for key, shape in shapes.items():
        if module is not None and len(shape) == 3 and not is_described(module, str(key)):
            wanted = "matrices, and kernels that register_layer describes (adapters.experts takes stacks apart)"
            checks.fail("target", wanted, f"{key!r} of shape {tuple(shape)}, which may be a stack of matrices")
    return shapes


def _factor_shapes(shapes: Shapes, ranks: Sequence[int]) -> list[list[int]]:
    factors = []
    for shape, rank in zip(shapes, ranks, strict=True):
        rows, columns = matrix_shape(shape)
        factors += [[rank, columns], [rows, rank]]
    return factors


def _ranks(rank: Any, keys: Sequence[Key]) -> list[int]:
    return [checks.integer(("rank", i), r, 1) for i, r in enumerate(_per_target("rank", rank, keys))]


def _per_target(argument: str, value: Any, keys: Sequence[Key]) -> list[Any]:
    """One value per target, from one for all, a list, or a dictionary by key or pattern."""
    if isinstance(value, Mapping):
        unused = [pattern for pattern in value if not any(_matches(pattern, key) for key in keys)]
        if unused:
            checks.fail(argument, f"keys or patterns of {list(keys)}", unused)
        missing = [key for key in keys if not any(_matches(pattern, key) for pattern in value)]
        if missing:
            checks.fail(argument, f"an entry for each of {list(keys)}", f"none for {missing}")
        return [next(entry for pattern, entry in value.items() if _matches(pattern, key)) for key in keys]
    if isinstance(value, (list, tuple)):
        checks.length(argument, value, len(keys))
        return list(value)
    return [value] * len(keys)


def _matches(pattern: Any, key: Key) -> bool:
    return pattern == key or (isinstance(pattern, str) and isinstance(key, str) and fnmatchcase(key, pattern))
