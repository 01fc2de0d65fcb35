"""A network that squeezes a large input chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.layers.stages import Linear
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.network import Network


class ChunkSqueezer(Network):
    """``y = n([r(x_1, c_1), …, r(x_m, c_m)])`` with chunks ``x_j`` of the input and an embedding ``c_j`` of each.

    The reducer ``r`` and the network ``n`` are multilayer perceptrons. All chunks of all samples are one batch of the
    reducer, chunk by chunk, which is what its batch norm sees; the last chunk is filled up with zeros. Parameters are
    published in the order chunk embeddings ``[m, cemb_size]``, reducer, network.

    Args:
        n_in: Number of inputs.
        n_out: Number of outputs.
        inp_chunk_dim: Size of a chunk of the input.
        out_chunk_dim: Number of outputs of the reducer per chunk.
        cemb_size: Size of a chunk embedding.
        cemb_init_std: Chunk embeddings are drawn from ``N(0, cemb_init_std²)``.
        red_layers: Sizes of the hidden layers of the reducer.
        net_layers: Sizes of the hidden layers of the network.
        activation_fn: Nonlinearity of the hidden layers; ``None`` for none.
        use_bias: Whether the layers have bias vectors.
        dynamic_biases: Layers of the reducer, counted from 0, to whose output ``W h + b`` a linear image ``D c_j`` of
            the embedding is added. The embedding is then no input of the reducer, so it has no effect with ``[]``. The
            matrices ``D`` are published after the layers of the reducer.
        no_weights: Whether all parameters are external.
        init_weights: Initial values, parallel to ``internal_params``.
        dropout_rate: Probability of dropping a hidden unit; -1 for no dropout.
        use_spectral_norm: Divide each weight matrix by its largest singular value.
        use_batch_norm: Whether hidden layers are batch-normalised.
        bn_track_stats: Whether batch norm keeps running statistics.
        distill_bn_stats: Whether the running statistics are to be distilled (``hyper_shapes_distilled``).
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If a size or rate is out of range, or options exclude each other.
        TypeError: If an argument has the wrong type.

    Example:
        >>> net = ChunkSqueezer(n_in=25, n_out=2, inp_chunk_dim=10, out_chunk_dim=4, verbose=False)
        >>> net.num_chunks, net.param_shapes[:3]
        (3, [[3, 8], [10, 18], [10]])
        >>> net(torch.randn(5, 25)).shape
        torch.Size([5, 2])
    """

    first_children = ("reducer", "network")
    reducer: MLP
    network: MLP

    def __init__(
        self,
        n_in: int,
        n_out: int = 1,
        inp_chunk_dim: int = 100,
        out_chunk_dim: int = 10,
        cemb_size: int = 8,
        cemb_init_std: float = 1.0,
        red_layers: Sequence[int] = (10, 10),
        net_layers: Sequence[int] = (10, 10),
        activation_fn: Callable[[Tensor], Tensor] | None = nn.ReLU(),
        use_bias: bool = True,
        dynamic_biases: Sequence[int] | None = None,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        dropout_rate: float = -1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self._n_in = checks.integer("n_in", n_in, 1)
        self._inp_chunk_dim = checks.integer("inp_chunk_dim", inp_chunk_dim, 1)
        out_chunk_dim = checks.integer("out_chunk_dim", out_chunk_dim, 1)
        cemb_size = checks.integer("cemb_size", cemb_size, 1)
        self._has_bias = use_bias
        self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        std = checks.number("cemb_init_std", cemb_init_std, 0)
        self.declare(
            "chunk_embs.weight",
            [self.num_chunks, cemb_size],
            "embedding",
            self.table.next_layer(),
            init=partial(nn.init.normal_, mean=0.0, std=std),
            external=no_weights,
            start=(0.0, std**2),
            info="chunk embeddings",
        )
        mlp = partial(
            MLP,
            activation_fn=activation_fn,
            use_bias=use_bias,
            no_weights=no_weights,
            dropout_rate=dropout_rate,
            use_spectral_norm=use_spectral_norm,
            use_batch_norm=use_batch_norm,
            bn_track_stats=bn_track_stats,
            distill_bn_stats=distill_bn_stats,
            verbose=False,
        )
        red_layers = checks.integers("red_layers", red_layers, 1)
        net_layers = checks.integers("net_layers", net_layers, 1)
        if dynamic_biases is None:
            reducer = mlp(inp_chunk_dim + cemb_size, out_chunk_dim, red_layers)
        else:
            layers = _parse_dynamic_biases(dynamic_biases, len(red_layers) + 1)
            sizes = {"n_in": inp_chunk_dim, "n_out": out_chunk_dim, "hidden_layers": red_layers}
            reducer = DynamicBiasMLP(layers, cemb_size, **mlp.keywords, **sizes)
        network = mlp(self.num_chunks * out_chunk_dim, checks.integer("n_out", n_out, 1), net_layers)
        self.register_load_state_dict_pre_hook(_take_old_name)
        self.include("reducer", reducer, block=1)
        self.include("network", network, block=2)
        self.load_init_weights(init_weights)
        if verbose:
            print(
                f"Created a chunk squeezer {self._n_in}-{self.num_chunks * out_chunk_dim}-{n_out} with "
                f"{self.num_params} weights."
            )

    @property
    def num_chunks(self) -> int:
        """Number of chunks of the input."""
        return math.ceil(self._n_in / self._inp_chunk_dim)

    def prepare(self, x: Tensor, sets: int | None) -> Tensor:
        """Check the input and fill up the last chunk."""
        checks.tensor("x", x)
        dims = 2 if sets is None else 3
        if x.dim() != dims or x.shape[-1] != self._n_in:
            layout = "[N, {}]" if sets is None else "[B, N, {}]"
            checks.fail("x", f"shape {layout.format(self._n_in)}", tuple(x.shape))
        return F.pad(x, (0, self.num_chunks * self._inp_chunk_dim - self._n_in))

    def compute(self, x: Tensor, values: Values) -> Tensor:
        """The equation."""
        chunks = x.unflatten(-1, (self.num_chunks, self._inp_chunk_dim)).transpose(-3, -2)
        embeddings = values["chunk_embs.weight"].unsqueeze(-2)
        inputs = torch.cat([chunks, embeddings.expand(*chunks.shape[:-1], embeddings.shape[-1])], dim=-1)
        squeezed = self.reducer.compute(inputs.flatten(-3, -2), values.part("reducer"))
        by_sample = squeezed.unflatten(-2, chunks.shape[-3:-1]).transpose(-3, -2).flatten(-2)
        output: Tensor = self.network.compute(by_sample, values.part("network"))
        return output


def _take_old_name(net: ChunkSqueezer, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Files of hypnettorch 0.0.4 hold the chunk embeddings under a second name."""
    embeddings = state_dict.pop(f"{prefix}_cembs", None)
    if embeddings is not None:
        state_dict.setdefault(f"{prefix}chunk_embs.weight", embeddings)


def _parse_dynamic_biases(dynamic_biases: Sequence[int], num_layers: int) -> list[int]:
    """Different layers, each below ``num_layers``."""
    layers = checks.integers("dynamic_biases", dynamic_biases, 0)
    for i, layer in enumerate(layers):
        checks.integer(("dynamic_biases", i), layer, 0, num_layers - 1)
        if layer in layers[:i]:
            checks.fail("dynamic_biases", "different layers", layers)
    return layers


class DynamicBiasMLP(MLP):
    """A multilayer perceptron with layers ``W h + b + D c`` for inputs ``[x, c]`` of which ``c`` only enters there.

    Args:
        layers: The layers, counted from 0, that have a matrix ``D``.
        size: Size of ``c``.
        **kwargs: Arguments of :class:`~hypnettorch.mnets.mlp.MLP`; ``n_in`` is the size of ``x``.
    """

    def __init__(self, layers: Sequence[int], size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._sizes_of_inputs = [self._sizes[0], size]
        linear = [i for i, stage in enumerate(self._stages) if isinstance(stage, Linear)]
        options = {"external": self._no_weights, "spectral_norm": kwargs["use_spectral_norm"]}
        self._image_after = {
            linear[layer]: self.linear(f"images.{i}", size, self._sizes[layer + 1], False, **options)
            for i, layer in enumerate(layers)
        }

    def compute(self, x: Tensor, values: Values) -> Any:
        """The equation."""
        x, c = x.split(self._sizes_of_inputs, -1)
        for i, stage in enumerate(self._stages):
            x = stage(x, values)
            if i in self._image_after:
                x = x + self._image_after[i](c, values)
        return x
