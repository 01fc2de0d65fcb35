"""Batch normalisation with parameters from outside and several sets of running statistics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core import checks, collectives
from hypnettorch.core.functional import HALF, autocast_is_on, lift_under_autocast
from hypnettorch.layers.buffer_sets import BufferSets

EPS = 1e-5  # as in torch.nn
Statistics = tuple[Tensor, Tensor]  # mean and variance
Affine = tuple[Tensor | None, Tensor | None]  # scale and shift, both or none


class BatchNormLayer(BufferSets):
    """``y = (x - mean) / √(var + 1e-5) · scale + bias``, per channel (dimension 1).

    Scale and bias may come from outside, and there may be several sets of running statistics, one per condition:
    buffers ``mean_<k>`` and ``var_<k>``. In training, statistics of the batch are used and the selected running ones
    move towards them; in evaluation the running ones are used. Without running statistics it is always the batch.

    Args:
        num_features: Number of channels ``C``.
        momentum: Weight of the newest batch in the running statistics.
        affine: Whether the layer has the parameters ``scale`` (ones) and ``bias`` (zeros). If not, and none are passed
            to :meth:`forward`, the layer just whitens.
        track_running_stats: Whether to keep running statistics.
        frozen_stats: Whether mean 0 and variance 1 are used instead, in training, too: only the affine map remains.
        learnable_stats: Not available.

    Attributes:
        shares_statistics: Whether, in training, the statistics of a batch are those over all processes of the
            ``torch.distributed`` group, which have a part of it each; see :func:`share_statistics`.

    Raises:
        ValueError: If statistics are to be frozen and tracked.
        NotImplementedError: For ``learnable_stats`` and for ``momentum=None``.

    Example:
        >>> layer = BatchNormLayer(2, momentum=0.5)
        >>> layer(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
        tensor([[-1.0000,  0.0000],
                [ 1.0000,  0.0000]], grad_fn=<NativeBatchNormBackward0>)
        >>> layer.get_stats()
        (tensor([0.5000, 0.5000]), tensor([1.5000, 0.5000]))

    References:
        Ioffe & Szegedy, "Batch Normalization", 2015, algorithms 1 and 2, https://arxiv.org/abs/1502.03167.
    """

    scale: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        num_features: int,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        frozen_stats: bool = False,
        learnable_stats: bool = False,
    ) -> None:
        super().__init__(["mean", "var"], "_num_stats")
        if learnable_stats or momentum is None:
            raise NotImplementedError("learnable_stats=True and momentum=None are not available")
        if frozen_stats and track_running_stats:
            checks.fail("frozen_stats", "track_running_stats=False to freeze statistics", "track_running_stats=True")
        self._num_features = checks.integer("num_features", num_features, 1)
        self._momentum = checks.number("momentum", momentum, 0, 1)
        self._affine = affine
        self._tracks = track_running_stats
        self._frozen = frozen_stats
        self.shares_statistics = False
        for name, draw in (("scale", torch.ones), ("bias", torch.zeros)):
            self.register_parameter(name, nn.Parameter(draw(self._num_features)) if affine else None)
        if track_running_stats or frozen_stats:
            self._append_set([torch.zeros(self._num_features), torch.ones(self._num_features)])

    @property
    def weights(self) -> nn.ParameterList | None:
        """The parameters ``[scale, bias]``, or ``None`` if the layer has none."""
        return nn.ParameterList([self.scale, self.bias]) if self._affine else None

    @property
    def param_shapes(self) -> list[list[int]]:
        """Shapes of scale and bias, wherever they come from."""
        return [[self._num_features], [self._num_features]]

    @property
    def num_stats(self) -> int:
        """Number of sets of running statistics."""
        return len(self._sets)

    def checkpoint_stats(self, device: torch.device | str | None = None) -> None:
        """Append a new set of running statistics, mean 0 and variance 1; further ones, by calling it again.

        Args:
            device: Where the new set lives; by default where the latest one does.

        Raises:
            ValueError: If the layer does not track statistics.
        """
        tensors = self._blank_set()
        if tensors is None:
            raise checks.StateError("checkpoint_stats: the layer was built with track_running_stats=False")
        self._append_set([tensor.to(device) for tensor in tensors])

    def get_stats(self, stats_id: int | None = None) -> Statistics:
        """The buffers of a set of running statistics, not copies.

        Args:
            stats_id: Which set; by default the latest.

        Raises:
            ValueError: If there is no such set.
        """
        if not self._sets:
            raise checks.StateError("get_stats: the layer has no running statistics")
        last = len(self._sets) - 1
        mean, var = self._get_set(last if stats_id is None else checks.integer("stats_id", stats_id, 0, last))
        return mean, var

    def forward(
        self,
        inputs: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        stats_id: int | None = None,
    ) -> Tensor:
        """Normalise a batch.

        Args:
            inputs: ``[N, C, *]``.
            running_mean: ``[C]``. Replaces that of the layer: it is updated in place in training, unless it requires a
                gradient, which it gets in evaluation.
            running_var: ``[C]``. Likewise; both or none.
            weight: ``[C]``. Replaces :attr:`scale`.
            bias: ``[C]``. Replaces :attr:`bias`.
            stats_id: Set of running statistics, if there are several. Ignored by a layer that does not track any.

        Returns:
            ``[N, C, *]``.

        Raises:
            ValueError: If a shape is wrong, one of two tensors is missing, or ``stats_id`` is missing or unknown.
        """
        self._check_tensors(inputs, 0, running_mean, running_var, weight, bias)
        stats = self._statistics(running_mean, running_var, stats_id, None)
        affine = self._scale_and_shift(weight, bias, self._num_features)
        return self._normalize(inputs, stats[0] if stats else None, affine, running_mean is not None, self._momentum)

    def batched_forward(
        self,
        inputs: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        stats_id: int | Sequence[int] | None = None,
    ) -> Tensor:
        """Normalise ``B`` batches, each by itself, in one pass: equal to :meth:`forward` of one after the other.

        Args:
            inputs: ``[B, N, C, *]``. The tensors below are ``[C]``, shared, or ``[B, C]``.
            running_mean: As in :meth:`forward`, like ``running_var``, ``weight`` and ``bias``.
            stats_id: Set of running statistics for all batches, or one for each of them. Batches that share one move
                it in training one after the other.

        Returns:
            ``[B, N, C, *]``.

        Raises:
            ValueError: As :meth:`forward`, or if there are not ``B`` ids.

        Example:
            >>> BatchNormLayer(3).batched_forward(torch.rand(2, 5, 3), weight=torch.ones(2, 3)).shape
            torch.Size([2, 5, 3])
        """
        self._check_tensors(inputs, 1, running_mean, running_var, weight, bias)
        if inputs.shape[0] == 0:
            return inputs
        size = inputs.shape[0], self._num_features
        stats, given = self._statistics(running_mean, running_var, stats_id, size[0]), running_mean is not None
        joined = (torch.cat([mean for mean, _ in stats]), torch.cat([var for _, var in stats])) if stats else None
        affine = self._scale_and_shift(weight, bias, *size)
        channels = inputs.transpose(0, 1).flatten(1, 2)
        y = self._normalize(channels, joined, affine, given, momentum=1.0)
        if joined is not None and self._whitens(given):
            follow(stats, [t.view(size) for t in joined], self._momentum)
        return y.unflatten(1, size).transpose(0, 1)

    def _normalize(self, x: Tensor, stats: Statistics | None, affine: Affine, given: bool, momentum: float) -> Tensor:
        """The equation, for any number of channels."""
        if stats is None or self._whitens(given):
            shared = self.shares_statistics and self.training and collectives.world_size() > 1
            return (whiten_together if shared else whiten)(x, stats, affine, momentum)
        mean, var = (lift_under_autocast(t) for t in stats)
        return standardize(x, mean, var, affine) if given else F.batch_norm(x, mean, var, *affine, eps=EPS)

    def _whitens(self, given: bool) -> bool:
        """Whether the statistics of the batch are used, even if there are running ones."""
        return self.training and (given or not self._frozen)

    def _scale_and_shift(self, weight: Tensor | None, bias: Tensor | None, *size: int) -> Affine:
        """What was passed, else the parameters of the layer, else nothing; for channels of that ``size``."""
        if self._affine:
            weight = self.scale if weight is None else weight
            bias = self.bias if bias is None else bias
        affine = _both("weight, bias", weight, bias)
        if affine is None:
            return None, None
        scale, shift = (lift_under_autocast(t).expand(size).flatten() for t in affine)
        return scale, shift

    def _statistics(self, mean: Tensor | None, var: Tensor | None, stats_id: Any, sets: int | None) -> list[Statistics]:
        """The running statistics of each of some batches: those that were passed, else those of the layer, if any."""
        given = _both("running_mean, running_var", mean, var)
        if given is not None:
            if stats_id is not None and not torch.compiler.is_compiling():
                warnings.warn("stats_id has no effect: running_mean and running_var are given", stacklevel=3)
            return list(zip(*(t.expand(sets or 1, self._num_features) for t in given), strict=True))
        ids = stats_id.tolist() if isinstance(stats_id, Tensor) else stats_id
        if sets is not None and isinstance(ids, Sequence):
            ids = checks.integers("stats_id", ids)
            checks.length("stats_id", ids, sets)
        else:
            ids = [ids] * (sets or 1)
        return [stats for k in ids if (stats := self._own_stats(k)) is not None]

    def _own_stats(self, stats_id: int | None) -> Statistics | None:
        """The running statistics of the layer, if it has any."""
        if not self._tracks:
            return self.get_stats() if self._frozen else None
        if stats_id is None and self.num_stats > 1:
            checks.fail("stats_id", f"one of the {self.num_stats} sets of statistics", None)
        return self.get_stats(stats_id)

    def _blank_set(self) -> list[Tensor] | None:
        if not self._tracks:
            return None
        mean, var = self.get_stats()
        return [torch.zeros_like(mean), torch.ones_like(var)]

    def _check_tensors(self, inputs: Tensor, lead: int, *vectors: Tensor | None) -> None:
        """Raise unless ``inputs`` is ``[*lead, N, C, *]`` and each vector ``[C]`` or ``[*lead, C]``, of one dtype."""
        checks.tensor("inputs", inputs)
        if inputs.dim() < lead + 2 or inputs.shape[lead + 1] != self._num_features:
            checks.fail("inputs", f"shape [{'B, ' * lead}N, {self._num_features}, *]", tuple(inputs.shape))
        dtypes = (inputs.dtype, torch.float32 if inputs.dtype in HALF else inputs.dtype)
        for name, vector in zip(("running_mean", "running_var", "weight", "bias"), vectors, strict=True):
            if vector is not None:
                checks.tensor(name, vector)
                checks.shape(name, vector, [*(inputs.shape[:lead] if vector.dim() == 2 else []), self._num_features])
                if vector.dtype not in dtypes and not autocast_is_on(vector.device):
                    raise TypeError(f"{name}: expected dtype {inputs.dtype}, got {vector.dtype}")


def _both(names: str, first: Tensor | None, second: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Both of two tensors; ``None`` if there is none of them."""
    if first is None and second is None:
        return None
    if first is None or second is None:
        checks.fail(names, "both of them, or none", "one of them")
    return first, second


def whiten(x: Tensor, running: Statistics | None, affine: Affine, momentum: float) -> Tensor:
    """Normalise ``[N, C, *]`` by batch statistics; running ones ``[C]`` without gradient follow these in place."""
    if running is None or any(t.requires_grad for t in running):
        return F.batch_norm(x, None, None, *affine, training=True, eps=EPS)
    mean, var = (lift_under_autocast(t.detach()) for t in running)
    y = F.batch_norm(x, mean, var, *affine, training=True, momentum=momentum, eps=EPS)
    for old, new in zip(running, (mean, var), strict=True):
        if old.dtype != new.dtype:
            old.copy_(new)
    return y


def whiten_together(x: Tensor, running: Statistics | None, affine: Affine, momentum: float) -> Tensor:
    """The same, by statistics of the batches of all processes together."""
    mean, var, number = collectives.moments(x)
    if running is not None:
        unbiased = var * (number / (number - 1))
        follow([running], [mean.detach().unsqueeze(0), unbiased.detach().unsqueeze(0)], momentum)
    return standardize(x, mean, var, affine)


def share_statistics(network: nn.Module) -> None:
    """Let the batch norm layers of a network reduce the statistics of training batches over all processes.

    The processes are those of the ``torch.distributed`` group; with one of them, nothing changes. Other than
    ``torch.nn.SyncBatchNorm``, it works on CPUs too. All processes have to evaluate the network equally often.

    Args:
        network: The network, whose layers are changed in place.
    """
    for layer in network.modules():
        if isinstance(layer, BatchNormLayer):
            layer.shares_statistics = True


def standardize(x: Tensor, mean: Tensor, var: Tensor, affine: Affine) -> Tensor:
    """Normalise ``[N, C, *]`` by statistics ``[C]`` through which, other than in ``F.batch_norm``, gradients flow."""
    columns = (1, -1, *[1] * (x.dim() - 2))
    y = (x - mean.view(columns)) * torch.rsqrt(var + EPS).view(columns)
    scale, shift = affine
    if scale is not None and shift is not None:
        y = y * scale.view(columns) + shift.view(columns)
    return y.to(x.dtype)


def follow(running: Sequence[Statistics], batches: Sequence[Tensor], momentum: float) -> None:
    """Move running statistics ``[C]`` in place towards those of the batches ``[B, C]``, one after the other."""
    for averages, values in zip(running, zip(*batches, strict=True), strict=True):
        for average, value in zip(averages, values, strict=True):
            if not average.requires_grad:
                # As F.batch_norm does, unseen by autograd: another pass in the same graph may have saved the tensor.
                average.data.lerp_(value.to(average.dtype), momentum)
