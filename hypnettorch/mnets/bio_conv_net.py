"""A network of locally connected layers, without weight sharing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.layers.stages import Affine
from hypnettorch.mnets.conv_net import ConvDeclaration, ConvNet


class BioConvNet(ConvNet):
    """``y = W₅ σ(W₄ σ(W₃ σ(W₂ σ(W₁ x))))`` with ``σ = tanh``.

    The first three are convolutions without weight sharing (64, 128 and 256 channels, kernels 5, 5 and 3, strides 2, 2
    and 1, paddings 0, 0 and 1), the others linear maps with 1024 hidden units.

    Args:
        in_shape: Height, width and number of channels: 32, 32, and 1 or 3.
        num_classes: Number of classes.
        no_weights: Whether the weights of the layers are external.
        init_weights: Initial values, parallel to ``internal_params``.
        use_context_mod: See :class:`~hypnettorch.mnets.mlp.ContextModOptions`, like the next six.
        context_mod_apply_pixel_wise: Whether each pixel has its own gain and shift.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If ``in_shape`` is another one, or an argument is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> BioConvNet(no_weights=True, verbose=False).hyper_shapes_learned[:2]
        [[64, 75, 196], [64, 196]]
    """

    _widths = (64, 128, 256)
    _hidden = 1024

    def __init__(
        self,
        in_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        use_context_mod: bool = False,
        context_mod_inputs: bool = False,
        no_last_layer_context_mod: bool = False,
        context_mod_no_weights: bool = False,
        context_mod_post_activation: bool = False,
        context_mod_gain_offset: bool = False,
        context_mod_gain_softplus: bool = False,
        context_mod_apply_pixel_wise: bool = False,
        verbose: bool = True,
    ) -> None:
        super().__init__(in_shape, num_classes, verbose)
        if self._in_shape not in ([32, 32, 1], [32, 32, 3]):
            checks.fail("in_shape", "(32, 32, 1) or (32, 32, 3)", tuple(self._in_shape))
        modulation = {
            "use_context_mod": use_context_mod,
            "context_mod_inputs": context_mod_inputs,
            "no_last_layer_context_mod": no_last_layer_context_mod,
            "context_mod_no_weights": context_mod_no_weights,
            "context_mod_post_activation": context_mod_post_activation,
            "context_mod_gain_offset": context_mod_gain_offset,
            "context_mod_gain_softplus": context_mod_gain_softplus,
            "context_mod_apply_pixel_wise": context_mod_apply_pixel_wise,
        }
        d = ConvDeclaration(self, modulation, no_weights, activation=nn.Tanh())
        stages = d.modulated_input()
        for channels, geometry in zip(self._widths, ((5, 2, 0), (5, 2, 0), (3, 1, 1)), strict=True):
            stages += d.local_conv(channels, *geometry) + d.settled() + d.activated()
        stages += d.flatten() + d.linear(self._hidden) + d.settled() + d.activated() + d.head()
        self._finish(d, stages, init_weights)

    def compute(self, x: Tensor, values: Values, collect_activations: bool = False) -> Any:
        """The equation.

        Args:
            x: The images.
            values: The tensors by name.
            collect_activations: Whether to return intermediate results as well (an argument of ``forward``).

        Returns:
            Logits ``[N, num_classes]``; with ``collect_activations`` the tuple of logits, a list of the outputs of all
            five layers before modulation and nonlinearity, and the input ``[N, 1024]`` of the output layer.
        """
        if not collect_activations:
            return super().compute(x, values)
        activations = []
        for stage in self._stages:
            if isinstance(stage, Affine):
                last_hidden = x
            x = stage(x, values)
            if isinstance(stage, Affine):
                activations.append(x.clone())
        return x, activations, last_hidden
