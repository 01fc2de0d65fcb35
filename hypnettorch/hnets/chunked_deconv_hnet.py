"""The chunked deconvolutional hypernetwork: every image that one small network draws is a chunk of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.hnets.chunked_hypernetwork import ChunkedHyperNetwork
from hypnettorch.hnets.deconv_hnet import HDeconv, parse_image_shape


class ChunkedHDeconv(ChunkedHyperNetwork):
    """Chunk ``j`` of the flat weights is the image ``h([u, c_j, e])`` with one :class:`HDeconv` ``h`` for all chunks.

    ``u`` is the unconditional input, ``c_j`` the embedding of the chunk and ``e`` the conditional input. All chunks of
    all conditions are one batch of ``h``; what the last chunk has too much is cut off. Parameters are published in the
    order of ``h``, then the chunk embeddings ``[num_chunks, chunk_emb_size]``: one matrix, or one per condition.

    Args:
        target_shapes: Shapes of the tensors to produce.
        hyper_img_shape: ``(width, height)`` or ``(width, height, channels)`` of an image; a chunk has as many weights.
        chunk_emb_size: Size of a chunk embedding; they are drawn from N(0, 1).
        cond_chunk_embs: Whether each condition has its own chunk embeddings; then both inputs may have size 0.
        uncond_in_size: See :class:`HDeconv`, as all that follows.
        cond_in_size: Size of the conditional input.
        num_layers: Number of layers, including the fully connected one.
        num_filters: Number of channels of each hidden layer.
        kernel_size: Size of the kernels.
        sa_units: After which hidden layers to apply self-attention.
        verbose: Whether to print a line about the network.
        activation_fn: Nonlinearity of the hidden layers.
        use_bias: Whether the layers have bias vectors.
        no_uncond_weights: Whether the parameters that all conditions share are external.
        no_cond_weights: Whether the parameters of single conditions are external.
        num_cond_embs: Number of conditions.
        use_spectral_norm: Divide each weight by its largest singular value.
        use_batch_norm: Whether hidden layers are batch-normalised, over chunks, conditions and pixels together.
        embedding_table: Whether the embeddings of all conditions are one parameter, see :class:`HDeconv`; so are chunk
            embeddings that belong to conditions.

    Raises:
        ValueError: If an argument is out of range, or there is no input that tells conditions apart.
        TypeError: If an argument has the wrong type.

    Example:
        >>> hnet = ChunkedHDeconv(
        ...     [[10, 5], [10]], (4, 4), num_layers=2, num_filters=[16], sa_units=(), num_cond_embs=3, verbose=False)
        >>> hnet.num_chunks, [tuple(w.shape) for w in hnet(cond_id=0)]
        (4, [(10, 5), (10,)])
    """

    hnet: HDeconv

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        hyper_img_shape: Sequence[int],
        chunk_emb_size: int = 8,
        cond_chunk_embs: bool = False,
        uncond_in_size: int = 0,
        cond_in_size: int = 8,
        num_layers: int = 5,
        num_filters: Sequence[int] | None = None,
        kernel_size: int | tuple[int, int] | list[Any] = 5,
        sa_units: Sequence[int] = (1, 3),
        verbose: bool = True,
        activation_fn: Callable[[Tensor], Tensor] | None = nn.ReLU(),
        use_bias: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
        embedding_table: bool = False,
    ) -> None:
        options = {
            "hyper_img_shape": hyper_img_shape,
            "uncond_in_size": uncond_in_size,
            "cond_in_size": cond_in_size,
            "num_layers": num_layers,
            "num_filters": num_filters,
            "kernel_size": kernel_size,
            "sa_units": sa_units,
            "verbose": verbose,
            "activation_fn": activation_fn,
            "use_bias": use_bias,
            "no_uncond_weights": no_uncond_weights,
            "no_cond_weights": no_cond_weights,
            "num_cond_embs": num_cond_embs,
            "use_spectral_norm": use_spectral_norm,
            "use_batch_norm": use_batch_norm,
            "embedding_table": embedding_table,
        }
        chunk_size = math.prod(parse_image_shape(hyper_img_shape))
        super().__init__(target_shapes, HDeconv, chunk_size, chunk_emb_size, cond_chunk_embs, options)
