"""The base of the convolutional networks: the options that they share, their input and their equation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.layers.stages import Stage, chain
from hypnettorch.mnets.classifier_interface import Classifier
from hypnettorch.mnets.context_mod_options import parse_context_mod
from hypnettorch.mnets.conv_declaration import ConvDeclaration, ConvOptions


class ConvNet(Classifier):
    """A classifier of images.

    The constructor of a subclass begins with :meth:`_declare`, composes stages in order of use, and ends with
    :meth:`_finish`.

    Args:
        in_shape: Height, width and number of channels.
        num_classes: Number of classes.
        verbose: Whether to print a line about the network.
        chw_input_format: Whether inputs are ``[N, C, H, W]``, instead of rows with ``[H, W, C]`` flattened.

    Raises:
        ValueError: If a number is too small.
    """

    def __init__(
        self, in_shape: Sequence[int], num_classes: int, verbose: bool, chw_input_format: bool = False
    ) -> None:
        super().__init__(num_classes, verbose)
        self._in_shape = checks.integers("in_shape", in_shape, 1)
        checks.length("in_shape", self._in_shape, 3)
        self._chw_input_format = chw_input_format
        self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self._stages: list[Stage] = []

    def _declare(
        self,
        kwargs: Mapping[str, Any] | None = None,
        *,
        use_bias: bool = True,
        use_fc_bias: bool | None = None,
        no_weights: bool = False,
        use_batch_norm: bool = False,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ) -> ConvDeclaration:
        """Begin the declaration.

        Args:
            kwargs: The ``**kwargs`` of the constructor: ``use_spectral_norm``, ``context_mod_apply_pixel_wise`` and the
                options of :class:`~hypnettorch.mnets.context_mod_options.ContextModOptions`.
            use_bias: See :class:`~hypnettorch.mnets.conv_declaration.ConvOptions`, as all that follows.
        """
        rest = dict(kwargs or {})
        options = ConvOptions(
            use_bias=use_bias,
            use_fc_bias=use_bias if use_fc_bias is None else use_fc_bias,
            no_weights=no_weights,
            use_batch_norm=use_batch_norm,
            bn_track_stats=bn_track_stats,
            distill_bn_stats=distill_bn_stats,
            use_spectral_norm=rest.pop("use_spectral_norm", False),
            pixel_wise=rest.pop("context_mod_apply_pixel_wise", False),
            activation=activation,
            modulation=parse_context_mod(type(self).__name__, rest),
        )
        self._use_bias, self._use_fc_bias = options.use_bias, options.use_fc_bias
        self._has_bias = options.use_bias or options.use_fc_bias
        self._no_weights = no_weights
        self._use_context_mod = options.modulation.use_context_mod
        self._context_mod_no_weights = options.modulation.context_mod_no_weights
        self._context_mod_gain_offset = options.modulation.context_mod_gain_offset
        self._context_mod_gain_softplus = options.modulation.context_mod_gain_softplus
        height, width, channels = self._in_shape
        declaration = ConvDeclaration(self, options, (channels, height, width))
        self._dropouts: nn.ModuleList = declaration.dropouts
        return declaration

    def _finish(self, stages: Sequence[Stage], init_weights: Sequence[Tensor] | None = None) -> None:
        """Keep the stages; the last call of a constructor."""
        self._stages = list(stages)
        self.load_init_weights(init_weights)
        if self._verbose:
            print(f"Created a {self._title()} with {self.num_params} weights for {self.num_classes} classes.")

    def _title(self) -> str:
        """What the network is called."""
        return type(self).__name__

    @property
    def has_bias(self) -> bool:
        """Whether the layers have bias vectors; a warning says that convolutions in shortcuts have none.

        Raises:
            RuntimeError: If convolutions and fully connected layers differ (the class is a ``ValueError`` as well).
        """
        if self._use_bias != self._use_fc_bias:
            raise checks.StateError("has_bias: convolutions and fully connected layers differ, see layer_bias_vectors")
        roles = [row.role for row in self.table.rows]
        if self._use_bias and roles.count("bias") < roles.count("weight"):
            warnings.warn("has_bias: convolutions in shortcuts have no biases", stacklevel=2)
        return self._use_bias

    def prepare(self, x: Tensor, sets: int | None) -> Tensor:
        """Images ``[N, C, H, W]``; of many sets ``[B, N, C, H, W]`` in the memory order of ``conv_stages``."""
        checks.tensor("x", x)
        height, width, channels = self._in_shape
        lead = [] if sets is None else [sets]
        if self._chw_input_format:
            if x.dim() != len(lead) + 4 or tuple(x.shape[-3:]) != (channels, height, width):
                checks.fail("x", f"shape ({'B, ' * len(lead)}N, {channels}, {height}, {width})", tuple(x.shape))
            return x
        size = height * width * channels
        if x.dim() == len(lead) or math.prod(x.shape[len(lead) :]) % size != 0:
            checks.fail("x", f"rows of {height}·{width}·{channels} = {size} entries", f"shape {tuple(x.shape)}")
        count = math.prod(x.shape[len(lead) :]) // size
        images = x.reshape(*lead, count, height, width, channels)
        if sets is None:
            return images.permute(0, 3, 1, 2)
        return images.permute(1, 2, 3, 0, 4).contiguous().permute(3, 0, 4, 1, 2)

    def compute(self, x: Tensor, values: Values) -> Any:
        """One stage after the other."""
        return chain(self._stages, x, values)
