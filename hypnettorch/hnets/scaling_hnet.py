"""A hypernetwork that scales the rows of weights that do not depend on its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import base_weights
from hypnettorch.hnets.hypernetwork import Produced, Request
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.wrapper import Wrapper, stacked_value
from hypnettorch.mnets.network import Network, Shapes, check_network


class HScaling(Wrapper):
    """``ω_i = d_i ⊙ ω₀_i`` with ``d_i = 1 + g_i h_i(·)``: one factor for each row of each weight.

    The hypernetwork ``h`` is small: it produces a number per row (output channel) instead of one per weight, so that
    weights are shared by all inputs up to the scale of the units. Vectors, and the weights of normalisation layers, are
    scaled entry by entry. The gates ``g_i``, a parameter per target, start at 0: whatever ``h`` is, the weights start
    at ``ω₀``. Gradients reach the gates in the first step and ``h`` from the second one on.

    The parameters of ``h`` are published first, then ``ω₀`` in the order of the targets (unless they are constants, in
    the buffer ``base_values``), then the gates as one tensor ``[number of targets]``.

    Args:
        hnet: The hypernetwork ``h``, of any class, with the target shapes ``factor_shapes(shapes)``.
        base: ``ω₀``: a main network, whose own values are taken, or a tensor per target (copied in the dtype and on the
            device of ``h``), or ``'init'`` to draw them like :class:`hypnettorch.hnets.residual_hnet.HResidual`.
        target_shapes: Shapes of the targets. Required with ``base='init'`` unless there is ``mnet``.
        trainable: Whether ``ω₀`` are parameters.
        mnet: The main network, whose ``param_shapes_meta`` say what each target is.
        row_dim: The dimension that counts the rows of a target with more than one, or a list with one number per
            target; 1 where weights lie transposed.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If ``base`` does not fit the targets, or ``h`` does not produce one factor per row.
        TypeError: If an argument has the wrong type.

    Note:
        ``apply_hyperfan_init`` and ``apply_calibrated_init`` give the output of ``h`` variance 1, close the gates, and
        draw ``ω₀`` with the variance that the targets should have, unless a user gave ``ω₀``.

    References:
        Ha, Dai, Le, "HyperNetworks", ICLR 2017, https://arxiv.org/abs/1609.09106, section 3.2 and appendix A.2.3
        (relaxed weight sharing).

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> base = [torch.ones(3, 2), torch.zeros(3)]
        >>> shapes = HScaling.factor_shapes([[3, 2], [3]])
        >>> shapes
        [[3], [3]]
        >>> hnet = HScaling(HMLP(shapes, cond_in_size=4, verbose=False), base, verbose=False)
        >>> [w.sum().item() for w in hnet(cond_id=0)]
        [6.0, 0.0]
    """

    def __init__(
        self,
        hnet: Any,
        base: Network | Sequence[Tensor] | str = base_weights.INIT,
        target_shapes: Sequence[Sequence[int]] | None = None,
        trainable: bool = True,
        mnet: Network | None = None,
        row_dim: int | Sequence[int] = 0,
        verbose: bool = True,
    ) -> None:
        shapes = _shapes_of(target_shapes, base_weights.tensors_of(base), mnet)
        super().__init__(hnet, shapes)
        wanted = self.factor_shapes(shapes, row_dim)
        if [list(shape) for shape in hnet.target_shapes] != wanted:
            checks.fail("hnet", f"target shapes {wanted}, a factor per row", hnet.target_shapes)
        self._row_dims = _row_dims(shapes, row_dim)
        self.wrap(hnet)
        self._draws_base = base_weights.declare(self, base, trainable, mnet, block=1)
        self.declare("gate.weight", [len(shapes)], block=2)
        if verbose:
            print(self)

    @staticmethod
    def factor_shapes(target_shapes: Sequence[Sequence[int]], row_dim: int | Sequence[int] = 0) -> list[list[int]]:
        """What the hypernetwork inside has to produce for these targets.

        Args:
            target_shapes: Shapes of the targets.
            row_dim: See :class:`HScaling`.

        Returns:
            ``[number of rows]`` for each target.
        """
        shapes = checks.shapes("target_shapes", target_shapes)
        return [[shape[dim] if shape else 1] for shape, dim in zip(shapes, _row_dims(shapes, row_dim), strict=True)]

    @property
    def gates(self) -> nn.Parameter:
        """``g``, ``[number of targets]``."""
        return self.gate.weight  # type: ignore[return-value, union-attr]

    @property
    def base_weights(self) -> list[Tensor]:
        """``ω₀``: the parameters or constants themselves, one tensor per target."""
        return base_weights.held_by(self)

    def after(self, produced: Produced, request: Request, values: Values) -> list[Tensor]:
        """The scaled weights."""
        gates = stacked_value(values, "gate.weight").unsqueeze(-2)  # [1, T] or [B, 1, T]; rows are [N, R] or [B, N, R]
        weights = []
        for i, (rows, base) in enumerate(zip(produced.tensors, base_weights.of_evaluation(self, values), strict=True)):
            scale = 1 + gates[..., i : i + 1] * rows
            dims = range(len(self.target_shapes[i]))
            own = [rows.shape[-1] if dim == self._row_dims[i] else 1 for dim in dims]
            weights.append(scale.view(*rows.shape[:-1], *own) * base)
        return weights

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Let ``h`` have variance 1, close the gates, and draw ``ω₀`` unless a user gave it."""
        self.start_inner([Start(generated=1.0)] * len(self.hnet.target_shapes), plan)
        nn.init.zeros_(self.gates)
        if self._draws_base:
            base_weights.start(self, wanted)

    def start_at_zero(self) -> None:
        """Refused, since there are weights of its own."""
        base_weights.refuse_zero(self)


def _shapes_of(target_shapes: Any, base: Any, mnet: Any) -> Shapes:
    """The shapes of the targets, from the first argument that has some."""
    if target_shapes is not None:
        return checks.shapes("target_shapes", target_shapes)
    if not isinstance(base, str):
        checks.instance("base", base, (Sequence, nn.ParameterList), "a list of tensors, a main network or 'init'")
        for i, value in enumerate(base):
            checks.tensor(("base", i), value)
        return [list(value.shape) for value in base]
    if mnet is None:
        checks.fail("target_shapes", "shapes, since base gives none", None)
    check_network("mnet", mnet)
    return [list(shape) for shape in mnet.hyper_shapes_learned or mnet.param_shapes]


def _row_dims(shapes: Shapes, row_dim: Any) -> list[int]:
    """The dimension that counts the rows, for each target."""
    if isinstance(row_dim, (Sequence, Tensor)) and not isinstance(row_dim, str):
        checks.length("row_dim", row_dim, len(shapes))  # type: ignore[arg-type]
        return [
            checks.integer(("row_dim", i), dim, 0, max(len(shape) - 1, 0))
            for i, (dim, shape) in enumerate(zip(row_dim, shapes, strict=True))
        ]
    most = min((len(shape) - 1 for shape in shapes if len(shape) > 1), default=0)
    dim = checks.integer("row_dim", row_dim, 0, most)
    return [dim if len(shape) > 1 else 0 for shape in shapes]
