"""Context modulation: gains and shifts that adapt a network to a context."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.functional import lift_under_autocast
from hypnettorch.layers.buffer_sets import BufferSets

CLOSED_GATE = -30.0
"""Its softplus is 1e-13, nothing beside gains near one, and yet has a gradient that float32 can represent."""


class ContextModLayer(BufferSets):
    """``y = x · g̃ + s`` with ``g̃ = g``, ``g + 1`` (offset) or ``softplus(β g) / β``.

    Gain ``g`` and shift ``s`` are the parameters of the layer, a checkpoint of them, or come from outside, one for
    all samples or one per sample. They start at gain 1 (0 with an offset) and shift 0.

    Args:
        num_features: Shape of gain and shift, which broadcasts against a sample: ``C`` for features ``[N, C]``,
            ``[C, 1, 1]`` or ``[C, H, W]`` for images.
        no_weights: Whether the layer has no parameters: they must be passed to :meth:`forward`.
        no_gains: Whether to shift only.
        no_shifts: Whether to scale only.
        apply_gain_offset: Whether 1 is added to gains, so that 0 means no modulation.
        apply_gain_softplus: Whether gains pass a softplus, which makes them positive.
        softplus_scale: ``β``; the larger, the closer softplus is to a ReLU.

    Attributes:
        gain: Parameter ``num_features``, or ``None``.
        shift: Parameter ``num_features``, or ``None``.
        has_gains: Whether the layer scales.
        has_shifts: Whether the layer shifts.
        gain_offset_applied: Whether 1 is added to gains.
        gain_softplus_applied: Whether gains pass a softplus.
        neutral_gain: The value with which gains start.
        param_shapes_meta: What each entry of :attr:`param_shapes` is: ``'gain'`` or ``'shift'``.

    Raises:
        ValueError: If there were neither gains nor shifts, for both kinds of gain maps at once, or for a
            ``softplus_scale`` that is not positive.

    Example:
        >>> layer = ContextModLayer(2)
        >>> layer(torch.ones(1, 2), weights=[torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])])
        tensor([[2., 4.]])

    References:
        Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", 2018, eq. 2.
        Masse et al., "Alleviating catastrophic forgetting using context-dependent gating and synaptic stabilization",
        2018.
        von Oswald et al., "Continual learning with hypernetworks", 2020.
    """

    gain: nn.Parameter | None
    shift: nn.Parameter | None
    _num_ckpts: Tensor

    def __init__(
        self,
        num_features: int | Sequence[int],
        no_weights: bool = False,
        no_gains: bool = False,
        no_shifts: bool = False,
        apply_gain_offset: bool = False,
        apply_gain_softplus: bool = False,
        softplus_scale: float = 1.0,
    ) -> None:
        kinds = [kind for kind, missing in (("gain", no_gains), ("shift", no_shifts)) if not missing]
        if not kinds:
            checks.fail("no_shifts", "False, since no_gains is True", no_shifts)
        if apply_gain_offset and apply_gain_softplus:
            checks.fail("apply_gain_softplus", "False, since apply_gain_offset is True", apply_gain_softplus)
        held = [] if no_weights else kinds
        super().__init__([f"{kind}_ckpt" for kind in held], "_num_ckpts")
        sizes = num_features if isinstance(num_features, Sequence) else [num_features]
        self._shape = tuple(checks.integers("num_features", sizes, 1))
        if not self._shape:
            checks.fail("num_features", "at least one dimension", sizes)
        self.param_shapes_meta = kinds
        self.has_gains, self.has_shifts = not no_gains, not no_shifts
        self.gain_offset_applied, self.gain_softplus_applied = apply_gain_offset, apply_gain_softplus
        self.neutral_gain = 0.0 if apply_gain_offset else 1.0
        self._softplus_scale = checks.positive("softplus_scale", softplus_scale)
        for kind in ("gain", "shift"):
            self.register_parameter(kind, nn.Parameter(torch.empty(self._shape)) if kind in held else None)
        self._fill(nn.init.constant_)

    @property
    def weights(self) -> nn.ParameterList | None:
        """The parameters among ``[gain, shift]`` that the layer has, or ``None`` if it has none."""
        held = self._held()
        return nn.ParameterList(held) if held else None

    @property
    def param_shapes(self) -> list[list[int]]:
        """Shapes of gain and shift, wherever they come from."""
        return [list(self._shape) for _ in self.param_shapes_meta]

    @property
    def num_ckpts(self) -> Tensor:
        """Number of checkpoints of the parameters, a tensor without dimensions."""
        return self._num_ckpts

    def forward(
        self, x: Tensor, weights: Sequence[Tensor] | None = None, ckpt_id: int | None = None, bs_dim: int = 0
    ) -> Tensor:
        """Modulate a batch.

        Args:
            x: ``[N, *]``.
            weights: Gain and shift, or the one of them that the layer uses, each of shape ``num_features`` or
                ``[N, *num_features]``, one per sample. They replace the parameters of the layer.
            ckpt_id: Checkpoint to use instead of the current parameters.
            bs_dim: Dimension of ``x`` that counts the samples; it matters for weights per sample only.

        Returns:
            A tensor of the shape of ``x``.

        Raises:
            ValueError: If a shape is wrong, there is no such checkpoint, or the layer has no parameters and none are
                given.
        """
        return self._modulate(x, 0, weights, ckpt_id, bs_dim)

    def batched_forward(
        self,
        x: Tensor,
        weights: Sequence[Tensor] | None = None,
        ckpt_id: int | Sequence[int] | None = None,
        bs_dim: int = 0,
    ) -> Tensor:
        """Modulate ``B`` batches, each by its own weights: equal to :meth:`forward` of one after the other.

        Args:
            x: ``[B, N, *]``.
            weights: As in :meth:`forward`; of shape ``num_features``, shared by all, ``[B, *num_features]`` or
                ``[B, N, *num_features]``. The number of dimensions decides, never a size.
            ckpt_id: Checkpoint for all batches, or one for each of them.
            bs_dim: Dimension that counts the samples, in a batch ``x[b]``.

        Returns:
            A tensor of the shape of ``x``.

        Raises:
            ValueError: As :meth:`forward`, or if there are not ``B`` checkpoints.

        Example:
            >>> layer = ContextModLayer(1, no_shifts=True)
            >>> layer.batched_forward(torch.ones(2, 3, 1), weights=[torch.tensor([[2.0], [3.0]])]).squeeze(-1)
            tensor([[2., 2., 2.],
                    [3., 3., 3.]])
        """
        return self._modulate(x, 1, weights, ckpt_id, bs_dim)

    def preprocess_gain(self, gain: Tensor) -> Tensor:
        """The factor ``g̃`` that a gain ``g`` stands for."""
        if self.gain_offset_applied:
            return gain + 1.0
        return F.softplus(gain, beta=self._softplus_scale) if self.gain_softplus_applied else gain

    def checkpoint_weights(self, device: torch.device | str | None = None, no_reinit: bool = False) -> None:
        """Store copies of the parameters and start again with neutral ones.

        Args:
            device: Where the copies live; by default where the parameters do.
            no_reinit: Whether the parameters keep their values.

        Raises:
            ValueError: If the layer has no parameters.
        """
        self._require_weights("checkpoint_weights")
        self._append_set([weight.detach().clone().to(device) for weight in self._held()])
        if not no_reinit:
            self._fill(nn.init.constant_)

    def get_weights(self, ckpt_id: int | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Gain and shift, ``None`` where the layer has none.

        Args:
            ckpt_id: Checkpoint; the current parameters, not copies, if it is ``None`` or ``num_ckpts``.

        Raises:
            ValueError: If there is no such checkpoint.
        """
        count = len(self._sets)
        k = count if ckpt_id is None else checks.integer("ckpt_id", ckpt_id, 0, count)
        if k == count:
            return self.gain, self.shift
        stored = dict(zip(self.param_shapes_meta, self._get_set(k), strict=True))
        return stored.get("gain"), stored.get("shift")

    def normal_init(self, std: float = 1.0) -> None:
        """Draw gains from a normal distribution around the neutral gain, shifts from one around 0.

        Args:
            std: Standard deviation.

        Raises:
            ValueError: If the layer has no parameters.
        """
        self._require_weights("normal_init")
        self._fill(lambda tensor, mean: nn.init.normal_(tensor, mean, std))

    def uniform_init(self, width: float = 1.0) -> None:
        """Draw gains uniformly around the neutral gain, shifts around 0.

        Args:
            width: Largest distance from the centre.

        Raises:
            ValueError: If the layer has no parameters.
        """
        self._require_weights("uniform_init")
        self._fill(lambda tensor, mean: nn.init.uniform_(tensor, mean - width, mean + width))

    def sparse_init(self, sparsity: float = 0.8) -> None:
        """Close a random part of the gates: their factor ``g̃`` is 0, the other gains are neutral, shifts are 0.

        The gates are drawn from the global generator of numpy. A softplus is never 0 exactly, here it is 1e-13.

        Args:
            sparsity: The part that is closed; the number of gates is rounded down.

        Raises:
            ValueError: If the layer has no parameters, or ``sparsity`` is not between 0 and 1.
        """
        self._require_weights("sparse_init")
        sparsity = checks.number("sparsity", sparsity, 0, 1)
        self._fill(nn.init.constant_)
        if self.gain is not None:
            gates = self.gain.numel()
            closed = np.random.choice(gates, int(gates * sparsity), replace=False)
            value = CLOSED_GATE / self._softplus_scale if self.gain_softplus_applied else self.neutral_gain - 1.0
            with torch.no_grad():
                self.gain.view(-1)[torch.as_tensor(closed, device=self.gain.device)] = value

    def stored(self, ckpt_id: Any = None, sets: int | None = None) -> list[Tensor]:
        """The parameters that the layer has, or a checkpoint of them.

        Args:
            ckpt_id: Checkpoint; the current parameters if it is ``None``.
            sets: Number ``B`` of weight sets, of which ``ckpt_id`` may name one checkpoint each; then the tensors are
                stacked, ``[B, *num_features]``.

        Raises:
            ValueError: If the layer has no parameters, or there is no such checkpoint.
        """
        if not self._buffer_names:
            checks.fail("weights", "tensors, since the layer was built with no_weights=True", None)
        ids: Any = ckpt_id.tolist() if isinstance(ckpt_id, Tensor) else ckpt_id
        if sets is None or not isinstance(ids, Sequence):
            return [weight for weight in self.get_weights(ids) if weight is not None]
        checks.length("ckpt_id", ids, sets)
        return [torch.stack(tensors) for tensors in zip(*map(self.stored, ids), strict=True)]

    def _held(self) -> list[nn.Parameter]:
        """The parameters of the layer."""
        return [weight for weight in (self.gain, self.shift) if weight is not None]

    def _fill(self, draw: Callable[[Tensor, float], object]) -> None:
        """Set the parameters by a function of a tensor and the value around which it is drawn."""
        for weight, centre in ((self.gain, self.neutral_gain), (self.shift, 0.0)):
            if weight is not None:
                draw(weight, centre)

    def _require_weights(self, method: str) -> None:
        if not self._held():
            raise checks.StateError(f"{method}: the layer was built with no_weights=True")

    def _blank_set(self) -> list[Tensor] | None:
        held = self._held()
        return [torch.empty_like(weight, requires_grad=False) for weight in held] if held else None

    def _used(self, weights: Sequence[Tensor] | None, ckpt_id: Any, sets: int | None) -> list[Tensor]:
        """What was passed, else the parameters of the layer or a checkpoint of them, or of many one for each set."""
        if weights is not None:
            checks.instance("weights", weights, (list, tuple, nn.ParameterList))
            checks.length("weights", weights, len(self.param_shapes_meta))
            if ckpt_id is not None and not torch.compiler.is_compiling():
                warnings.warn("ckpt_id has no effect: weights are given", stacklevel=4)
            return list(weights)
        return self.stored(ckpt_id, sets)

    def _modulate(
        self, x: Tensor, num_leading: int, weights: Sequence[Tensor] | None, ckpt_id: Any, bs_dim: int
    ) -> Tensor:
        """The equation, for ``x`` with so many leading dimensions of sets."""
        self._check_input(x, num_leading, bs_dim)
        used = self._used(weights, ckpt_id, len(x) if num_leading else None)
        # The dimensions of x that the first dimensions of a weight count, if it has 0, 1 or 2 more than num_features.
        leads = [(), (0,), (0, 1 + bs_dim)] if num_leading else [(), (bs_dim,)]
        aligned = [self._align(("weights", i), weight, x, leads) for i, weight in enumerate(used)]
        if self.has_gains:
            x = x * self.preprocess_gain(aligned[0])
        return x + aligned[-1] if self.has_shifts else x

    def _align(self, name: checks.Name, weight: Tensor, x: Tensor, leads: Sequence[tuple[int, ...]]) -> Tensor:
        """View a weight such that it broadcasts against ``x``."""
        checks.tensor(name, weight)
        free = x.dim() - len(self._shape)
        fitting = [lead for lead in leads if all(d < free for d in lead)]
        lead = fitting[min(max(weight.dim() - len(self._shape), 0), len(fitting) - 1)]
        checks.shape(name, weight, [*(x.shape[d] for d in lead), *self._shape])
        sizes = [x.shape[d] if d in lead else 1 for d in range(free)]
        return lift_under_autocast(weight).view(*sizes, *self._shape)

    def _check_input(self, x: Tensor, lead: int, bs_dim: int) -> None:
        """Raise unless ``x`` is ``[*lead, *]`` with samples that ``num_features`` fits, and has the dimension."""
        checks.tensor("x", x)
        last = len(self._shape)
        if x.dim() < lead + last or any(f not in (1, n) for f, n in zip(self._shape, x.shape[-last:], strict=True)):
            checks.fail("x", f"a shape to which num_features {self._shape} can be broadcast", tuple(x.shape))
        checks.integer("bs_dim", bs_dim, 0, x.dim() - lead - 1)
