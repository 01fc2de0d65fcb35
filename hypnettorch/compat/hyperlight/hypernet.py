"""The hypernetwork of HyperLight."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.compat.hyperlight.fully_connected import LayerOptions, hidden_layers
from hypnettorch.compat.hyperlight.initialization import initializer, is_weight, neutral_value
from hypnettorch.compat.linear_layers import LinearLayers
from hypnettorch.core import checks, formats
from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.hnets.input_encoding import ENCODINGS, HEncodedInput
from hypnettorch.hnets.inputs import join_batches
from hypnettorch.hnets.module_hnet import ModuleHNet
from hypnettorch.hnets.wrapper import Wrapper

Shapes = Mapping[str, Sequence[int]] | Iterable[tuple[str, Sequence[int]]]


class HyperNet(nn.Module):
    """``ω = ω₀ + W φ(E(z))``: weights by name from named inputs, with an encoding ``E`` and hidden layers ``φ``.

    The inputs are flattened and concatenated in the sorted order of their names to ``z``. The *independent weights*
    ``ω₀`` are the bias of the output layer.

    It consists of networks of this package, and :attr:`hnet` is the whole of them: a
    :class:`~hypnettorch.hnets.hypernetwork.HyperNetwork` with ``z`` as its unconditional input. All its layers,
    the output layer as well, are ``nn.Linear`` among its ``modules()``, so that ``apply(function)`` reaches them.

    Args:
        input_shapes: Shapes of the inputs by name, as a dictionary or pairs.
        output_shapes: Shapes of the weights by name, likewise.
        hidden_sizes: Sizes of the hidden layers.
        encoding: ``'cos|sin'`` or ``'z|1-z'``, both for inputs in [0, 1]
            (:class:`~hypnettorch.hnets.input_encoding.HEncodedInput`), or ``None``.
        init_independent_weights: Whether ``ω₀`` starts as an ordinary network does
            (:meth:`init_independent_weights`); otherwise at ``init_bias``.
        output_split_init: Whether the rows of the output layer are initialised for each target by itself. Those of
            vectors and biases then start at 0: what a normalisation layer is given starts at its ``ω₀``.
        fc_kws: Options of the layers
            (:class:`~hypnettorch.compat.hyperlight.fully_connected.LayerOptions`), by default
            ``{'dropout_prob': 0, 'nonlinearity': 'LeakyReLU', 'out_bias': True, 'init_distribution':
            'kaiming_normal_fanout', 'init_bias': 0, 'norm': None}``.

    Raises:
        ValueError: If a value is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> hypernet = HyperNet({'h': (3,)}, {'conv.weight': (8, 1, 3, 3), 'conv.bias': (8,)}, hidden_sizes=[16, 32])
        >>> {name: tuple(weight.shape) for name, weight in hypernet(h=torch.rand(3)).items()}
        {'conv.weight': (8, 1, 3, 3), 'conv.bias': (8,)}
        >>> hypernet(h=torch.rand(5, 3))['conv.bias'].shape
        torch.Size([5, 8])

    References:
        Ortiz, Guttag, Dalca, "Magnitude Invariant Parametrizations Improve Hypernetwork Learning", ICLR 2024,
        https://arxiv.org/abs/2304.07645, section 4.
    """

    def __init__(
        self,
        input_shapes: Shapes,
        output_shapes: Shapes,
        hidden_sizes: Sequence[int],
        encoding: str | None = "cos|sin",
        init_independent_weights: bool = True,
        output_split_init: bool = True,
        fc_kws: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        checks.one_of("encoding", encoding, (None, *ENCODINGS))
        checks.flag("init_independent_weights", init_independent_weights)
        checks.flag("output_split_init", output_split_init)
        self.input_shapes = _named_shapes("input_shapes", input_shapes)
        self.output_shapes = _named_shapes("output_shapes", output_shapes)
        options = LayerOptions.from_keywords(fc_kws)
        num_inputs = sum(math.prod(shape) for shape in self.input_shapes.values())
        in_size = num_inputs if encoding is None else 2 * num_inputs
        sizes = [in_size, *checks.integers("hidden_sizes", hidden_sizes, 1)]

        hnet = ModuleHNet(
            hidden_layers(sizes, options),
            list(self.output_shapes.values()),
            uncond_in_size=in_size,
            cond_in_size=0,
            feature_size=sizes[-1],
            use_bias=options.out_bias,
            num_cond_embs=0,
            verbose=False,
        )
        self._hnet: HyperNetwork = (
            hnet if encoding is None else HEncodedInput(hnet, encoding, which="uncond", verbose=False)
        )
        self.linear_layers = LinearLayers(self._head)
        self._init_output(options, output_split_init)
        if options.out_bias and init_independent_weights:
            self.init_independent_weights()

    @property
    def hnet(self) -> HyperNetwork:
        """The hypernetwork that does the work."""
        return self._hnet

    @property
    def _head(self) -> HyperNetwork:
        """The output layer."""
        head = self._hnet
        while isinstance(head, Wrapper):
            head = head.internal_hnet
        return head

    @classmethod
    def from_existing(cls, weights: Mapping[str, Tensor], **options: Any) -> HyperNet:
        """A hypernetwork whose ``ω₀`` are the weights of an existing network.

        Args:
            weights: Tensors by name, as ``hypernetize(..., return_values=True)`` gives them. They are copied.
            **options: Arguments of the constructor but ``output_shapes``.

        Returns:
            The hypernetwork.
        """
        checks.instance("weights", weights, Mapping)
        hypernet = cls(output_shapes={name: weight.shape for name, weight in weights.items()}, **options)
        hypernet.set_independent_weights(weights)
        return hypernet

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Produce weights.

        Args:
            **inputs: Every input by name, ``[*shape]`` or ``[B, *shape]``.

        Returns:
            Tensors ``[*shape]`` by name; with ``B > 1`` ``[B, *shape]``.

        Raises:
            ValueError: If an input is missing or unknown, or does not fit.
            TypeError: If an input is no tensor.
        """
        self.linear_layers.check_tied()
        weights = self._hnet(uncond_input=self._join(inputs), ret_format="stacked")
        single = weights[0].shape[0] == 1
        named = zip(self.output_shapes, weights, strict=True)
        return {name: weight.squeeze(0) if single else weight for name, weight in named}

    def _join(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """``z``, ``[B, size]``."""
        _check_names("inputs", inputs, self.input_shapes)
        rows: dict[str, Tensor | None] = {}
        for name in sorted(inputs):
            value, shape = inputs[name], self.input_shapes[name]
            checks.tensor(name, value)
            lead = value.dim() - len(shape)
            if lead not in (0, 1) or tuple(value.shape[lead:]) != shape:
                checks.fail(name, f"shape {shape} or {('B', *shape)}", tuple(value.shape))
            rows[name] = value.reshape(value.shape[0] if lead else 1, math.prod(shape))
        return torch.cat([row for row in join_batches(rows) if row is not None], dim=-1)

    @torch.no_grad()
    def _init_output(self, options: LayerOptions, split: bool) -> None:
        weight, fill = self._head.layer_weight_tensors[-1], initializer(options.init_distribution)
        if split:
            sizes = [math.prod(shape) for shape in self.output_shapes.values()]
            for rows, (name, shape) in zip(weight.split(sizes), self.output_shapes.items(), strict=True):
                (fill if is_weight(name, shape) else nn.init.zeros_)(rows)
        else:
            fill(weight)
        if options.out_bias and options.init_bias is not None:
            nn.init.constant_(self._independent(), options.init_bias)

    @torch.no_grad()
    def init_independent_weights(self, init_distribution: str | None = "kaiming_normal") -> None:
        """Draw ``ω₀`` as an ordinary network is initialised: scales of normalisation layers 1, biases 0.

        Args:
            init_distribution: Distribution of tensors with more than one dimension, by its name in ``fc_kws``.
        """
        for name, value in self.get_independent_weights().items():
            if is_weight(name, tuple(value.shape)):
                initializer(init_distribution)(value)
            else:
                value.fill_(neutral_value(name))

    def get_independent_weights(self) -> dict[str, Tensor]:
        """``ω₀`` by name; views of the parameters.

        Raises:
            RuntimeError: If the output layer has no bias (the class is a ``ValueError`` as well).
        """
        values = formats.unflatten(self._independent(), list(self.output_shapes.values()))
        return dict(zip(self.output_shapes, values, strict=True))

    @torch.no_grad()
    def set_independent_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy values into ``ω₀``.

        Args:
            weights: A tensor ``[*shape]`` for every target by name.

        Raises:
            ValueError: If a name is missing or unknown, or a shape does not fit.
        """
        own = self.get_independent_weights()
        checks.instance("weights", weights, Mapping)
        _check_names("weights", weights, own)
        for name, value in weights.items():
            checks.shape(f"weights[{name!r}]", value, own[name].shape)
        for name, value in weights.items():
            own[name].copy_(value)

    def freeze_independent_weights(self) -> None:
        """Exclude ``ω₀`` from training."""
        self._independent().requires_grad_(False)

    def unfreeze_independent_weights(self) -> None:
        """Train ``ω₀`` with everything else."""
        self._independent().requires_grad_(True)

    def _independent(self) -> Tensor:
        if not self._head.has_bias:
            raise checks.StateError("independent weights: expected an output layer with bias, got out_bias=False")
        return self._head.layer_bias_vectors[-1]

    def extra_repr(self) -> str:
        """Shapes of the inputs."""
        return ", ".join(f"{name}: {shape}" for name, shape in self.input_shapes.items())


class Hypernet(HyperNet):
    """:class:`HyperNet` by its earlier name.

    Args:
        input_shapes: As for :class:`HyperNet`.
        output_shapes: As for :class:`HyperNet`.
        layer_sizes: ``hidden_sizes`` of :class:`HyperNet`.
        **options: Further arguments of :class:`HyperNet`.
    """

    def __init__(self, input_shapes: Shapes, output_shapes: Shapes, layer_sizes: Sequence[int], **options: Any) -> None:
        super().__init__(input_shapes, output_shapes, layer_sizes, **options)


def _named_shapes(argument: str, shapes: Any) -> dict[str, tuple[int, ...]]:
    pairs = list(shapes.items() if isinstance(shapes, Mapping) else shapes)
    names = [name for name, _ in pairs]
    if not names or len(set(names)) < len(names):
        checks.fail(argument, "at least one name, each once", names)
    return {name: tuple(checks.integers(f"{argument}[{name!r}]", shape, 0)) for name, shape in pairs}


def _check_names(argument: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise unless both have the same names."""
    given, known = list(given), list(known)
    missing = [name for name in known if name not in given]
    unknown = [name for name in given if name not in known]
    if missing or unknown:
        got = "; ".join(f"{names} {word}" for names, word in ((missing, "missing"), (unknown, "unknown")) if names)
        checks.fail(argument, f"exactly the names {known}", got)
