"""The chunked hypernetwork: one small network, called once per chunk, produces all weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, starts
from hypnettorch.hnets import initialization, output_constants
from hypnettorch.hnets.chunked_hypernetwork import ChunkedHyperNetwork
from hypnettorch.hnets.hypernetwork import sizes_of
from hypnettorch.hnets.mlp_hnet import HMLP


class ChunkedHMLP(ChunkedHyperNetwork):
    """Chunk ``j`` of the flat weights is ``h([u, c_j, e])`` with one :class:`HMLP` ``h`` for all chunks.

    ``u`` is the unconditional input, ``c_j`` the embedding of the chunk and ``e`` the conditional input. All chunks of
    all conditions are one batch of ``h``; what the last chunk has too much is cut off. Parameters are published in the
    order of ``h``, then the chunk embeddings ``[num_chunks, chunk_emb_size]``: one matrix, or one per condition.

    Args:
        target_shapes: Shapes of the tensors to produce.
        chunk_size: Number of weights that one chunk holds.
        chunk_emb_size: Size of a chunk embedding; they are drawn from N(0, 1).
        cond_chunk_embs: Whether each condition has its own chunk embeddings; then both inputs may have size 0.
        uncond_in_size: See :class:`HMLP`, as all that follows.
        cond_in_size: Size of the conditional input.
        layers: Sizes of the hidden layers.
        verbose: Whether to print a line about the network.
        activation_fn: Nonlinearity of the hidden layers.
        use_bias: Whether the layers have bias vectors.
        no_uncond_weights: Whether the parameters that all conditions share are external.
        no_cond_weights: Whether the parameters of single conditions are external.
        num_cond_embs: Number of conditions.
        dropout_rate: Probability of dropping a hidden unit; -1 for no dropout.
        use_spectral_norm: Divide each weight matrix by its largest singular value.
        use_batch_norm: Whether hidden layers are batch-normalised, over chunks and conditions together.
        embedding_table: Whether the embeddings of all conditions are one parameter, see :class:`HMLP`; so are chunk
            embeddings that belong to conditions.

    Raises:
        ValueError: If a size or rate is out of range, or there is no input that tells conditions apart.
        TypeError: If an argument has the wrong type.

    Example:
        >>> hnet = ChunkedHMLP([[10, 5], [10]], chunk_size=16, num_cond_embs=3, verbose=False)
        >>> hnet.num_chunks, [tuple(w.shape) for w in hnet(cond_id=0)]
        (4, [(10, 5), (10,)])
    """

    hnet: HMLP

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        chunk_size: int,
        chunk_emb_size: int = 8,
        cond_chunk_embs: bool = False,
        uncond_in_size: int = 0,
        cond_in_size: int = 8,
        layers: Sequence[int] = (100, 100),
        verbose: bool = True,
        activation_fn: Callable[[Tensor], Tensor] | None = nn.ReLU(),
        use_bias: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
        dropout_rate: float = -1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
        embedding_table: bool = False,
    ) -> None:
        options = {
            "uncond_in_size": uncond_in_size,
            "cond_in_size": cond_in_size,
            "layers": layers,
            "verbose": verbose,
            "activation_fn": activation_fn,
            "use_bias": use_bias,
            "no_uncond_weights": no_uncond_weights,
            "no_cond_weights": no_cond_weights,
            "num_cond_embs": num_cond_embs,
            "dropout_rate": dropout_rate,
            "use_spectral_norm": use_spectral_norm,
            "use_batch_norm": use_batch_norm,
            "embedding_table": embedding_table,
        }
        super().__init__(target_shapes, HMLP, chunk_size, chunk_emb_size, cond_chunk_embs, options)

    def apply_chunked_hyperfan_init(
        self,
        method: str = "in",
        use_xavier: bool = False,
        uncond_var: float = 1.0,
        cond_var: float | None = 1.0,
        eps: float = 1e-5,
        cemb_normal_init: bool = False,
        mnet: Any = None,
        target_vars: Any = None,
        cond_input: Tensor | None = None,
        uncond_input: Tensor | None = None,
    ) -> None:
        r"""Initialise such that each chunk has, on average, the variance of an ordinary initialisation.

        All chunks share one output layer, so the variance of the chunk embeddings is what tells them apart. With fan-in
        initialisation (rectified hidden layers: variance ``2 / fan_in``; the linear output layer: ``1 / fan_in``) a
        produced weight has the average variance of the inputs,

            ``V_j = (n v + e Vc_j) / (n + e)``,

        where ``n`` inputs of average variance ``v`` are the same for all chunks, and ``e`` entries of the embedding of
        chunk ``j`` have the variance ``Vc_j``. So a chunk that should have the variance ``V_j`` gets embeddings of
        variance

            ``Vc_j = ((n + e) V_j - n v) / e``,

        clipped from below. ``V_j`` is the average of the variances that an ordinary initialisation gives the weights in
        the chunk: ``c / fan_in`` or ``c / fan_out`` (``c = 2``, or 1 for Xavier) for weights, ``1 / (3 fan_in)`` for
        biases as in ``torch.nn.Linear``, and 1 for everything else. A chunk that holds parts of several tensors gives
        all of them the same variance, and normalisation scales no other start than the weights beside them. For a
        :class:`~hypnettorch.mnets.module_net.ModuleNet` all chunk embeddings have variance 1, and constants per target
        do the rest; normalisation scales the value 1.

        Args:
            method: ``'in'``, ``'out'`` or ``'harmonic'``, see :meth:`HMLP.apply_hyperfan_init`.
            use_xavier: Xavier instead of Kaiming initialisation.
            uncond_var: Mean square of an entry of the unconditional input: its variance, if its mean is 0.
            cond_var: Mean square of an entry of the conditional input. ``None`` takes half of the largest variance for
                which no chunk needs a negative one (with a ``ModuleNet`` 1), and rescales the internal embeddings to
                it.
            eps: Smallest variance of a chunk embedding (without effect with a ``ModuleNet``).
            cemb_normal_init: Draw chunk embeddings from a normal instead of a uniform distribution.
            mnet: The main network, see :meth:`HMLP.apply_hyperfan_init`.
            target_vars: Variances of the targets: a list (``None`` for the default) or a dictionary by ``name`` of
                ``param_shapes_meta``.
            cond_input: Samples of the conditional input, whose mean square replaces ``cond_var``.
            uncond_input: Samples of the unconditional input, whose mean square replaces ``uncond_var``.

        Raises:
            ValueError: If an argument is wrong or parameters are external.
            RuntimeError: If the network uses batch norm (the class is a ``ValueError`` as well).
        """
        if uncond_input is not None:
            uncond_var = float(uncond_input.detach().square().mean())
        if cond_input is not None:
            cond_var = float(cond_input.detach().square().mean())
        plan = initialization.checked_plan(method, use_xavier, uncond_var, 1.0 if cond_var is None else cond_var, mnet)
        initialization.check_internal(self.hnet)
        checks.number("eps", eps, 0)
        if self.batchnorm_layers:
            raise checks.StateError("apply_chunked_hyperfan_init: expected a network without batch norm, got one with")
        if len(self.layer_weight_tensors) > 1 and not isinstance(self.hnet._act_fn, nn.ReLU):
            warnings.warn("the chunked hyperfan initialisation is exact for ReLU activations only", stacklevel=2)
        targets = initialization.describe_targets(self.target_shapes, mnet)
        given = initialization.prescribed("target_vars", target_vars, targets)
        wanted = [
            starts.chunked(target, method, plan.gain, plan.exact).with_variance(variance)
            for target, variance in zip(targets, given, strict=True)
        ]
        rescales = cond_var is None and self._cond_in_size > 0
        if plan.exact:
            if rescales:
                self._rescale_embeddings(plan.cond_var)
            with initialization.measuring(self, plan, None, None) as measured:
                self.start_at(wanted, measured, cemb_normal_init)
            return
        chunks = self._variances_of_chunks([start.variance for start in wanted])
        shared, own = self._uncond_in_size + self._cond_in_size, self.chunk_emb_size
        limit = (shared + own) / shared * float(chunks.min()) if shared else math.inf
        if rescales:
            largest = (shared * limit - self._uncond_in_size * uncond_var) / self._cond_in_size
            if largest <= 0:
                checks.fail("uncond_var", "a variance that leaves some for conditional inputs", uncond_var)
            cond_var = self._rescale_embeddings(0.5 * largest)
        total = self._uncond_in_size * uncond_var + self._cond_in_size * (cond_var or 0.0)
        if shared and total / shared >= limit:
            warnings.warn(
                f"input variance {total / shared:.3g}: expected less than {limit:.3g}, or chunk embeddings are clipped "
                "to variance eps and some weights start too large",
                stacklevel=2,
            )
        output_constants.keep(self, None, None)
        with initialization.measuring(self.hnet, plan, None, None) as measured:
            self.hnet.draw(measured.at(self.hnet))
        variances = ((shared + own) * chunks - total) / own
        clipped = int((variances < eps).sum())
        if clipped:
            warnings.warn(f"{clipped} of {len(chunks)} chunk embeddings are clipped to variance {eps:g}", stacklevel=2)
        self.draw_chunk_embeddings(cemb_normal_init, variances.clamp_min(eps))

    def _variances_of_chunks(self, variances: Sequence[float]) -> Tensor:
        """The average variance in each chunk ``[num_chunks]``; the surplus counts for the last target."""
        sizes = sizes_of(self.target_shapes)
        sizes[-1] += self.num_chunks * self._chunk_size - self.num_outputs
        per_weight = torch.tensor(variances, dtype=torch.float64).repeat_interleave(torch.tensor(sizes))
        return per_weight.view(self.num_chunks, self._chunk_size).mean(dim=1)

    def _rescale_embeddings(self, variance: float) -> float:
        """Scale the internal embeddings to a second moment, and return it."""
        embeddings = self.hnet.conditional_params
        if not embeddings:
            checks.fail("cond_var", f"a number (as {variance:.3g}), since no embedding is internal", None)
        with torch.no_grad():
            moment = torch.stack([param.square().mean() for param in embeddings]).mean()
            for param in embeddings:
                param.mul_((variance / moment).sqrt())
        return variance
