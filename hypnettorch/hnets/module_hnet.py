"""A hypernetwork around any module: the module reads the condition, a head produces the weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, trees
from hypnettorch.core.modes import evaluation
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import inputs
from hypnettorch.hnets.chunked_mlp_hnet import ChunkedHMLP
from hypnettorch.hnets.hypernetwork import EMBEDDINGS, Request, concat
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.hnets.module_part import ModulePart
from hypnettorch.hnets.wrapper import Wrapper

HIDDEN_OF_CHUNKS = (100, 100)
"""Hidden layers of a chunked head: a linear one would change all chunks alike."""

MEASURED = 2**20
"""How many numbers are drawn, at most 1000 conditions, to measure the features."""


class ModuleHNet(Wrapper):
    """``h(t(e))`` with a module ``t``, the *trunk*, that turns a condition ``e`` into features, and a head ``h``.

    The trunk is any module that maps a batch of conditions ``[N, ...]`` to features ``[N, ...]`` (which are flattened):
    a perceptron with layer norm, a convolutional network that reads an image, a transformer encoder that reads a
    sequence. It is evaluated once per condition. The head is :class:`~hypnettorch.hnets.mlp_hnet.HMLP`, by default one
    linear layer, or :class:`~hypnettorch.hnets.chunked_mlp_hnet.ChunkedHMLP`, whose conditional input are the features.
    A low-rank output is that of ``HLowRank`` around it.

    Conditions are vectors, to which an unconditional input ``u`` is joined as ``[u, e]``, tensors of any shape, or
    dictionaries of tensors ``[N, ...]`` (token features with a mask, what a tokenizer returns), which the trunk gets as
    its keywords. Parameters are published in the order embeddings ``[*cond_in_size]``, trunk, head.

    Args:
        trunk: The module ``t``; it becomes a part of this network, in training and evaluation mode with it.
        target_shapes: Shapes of the tensors to produce.
        uncond_in_size: Size of the unconditional input.
        cond_in_size: Size of the conditional input, or its shape, as ``(3, 32, 32)`` for images and ``(None, 16)`` for
            sequences of any length.
        feature_size: Number of features. By default it is found by one evaluation of the trunk on zeros.
        chunk_size: Number of weights of one chunk; by default all weights are produced at once.
        chunk_emb_size: Size of a chunk embedding.
        layers: Sizes of hidden layers of the head, by default none; those of a chunked head are ``(100, 100)``.
        verbose: Whether to print a line about the network.
        activation_fn: Nonlinearity of the hidden layers of the head.
        use_bias: Whether the head has bias vectors.
        no_uncond_weights: Whether all parameters but the embeddings are external, those of the trunk included.
        no_cond_weights: Whether the embeddings are external.
        num_cond_embs: Number of embeddings, drawn from N(0, 1). With 0, conditions are passed as ``cond_input``, of any
            dtype that the trunk understands.
        embedding_table: Whether the embeddings of all conditions are one parameter ``[num_cond_embs, *cond_in_size]``,
            read by index: what many conditions (users, images) need. Without it each is a parameter of its own, which
            can be optimised, frozen and saved by itself.

    Raises:
        ValueError: If an argument is out of range, the trunk does not give one row of features per condition, or a
            shape is open where it has to be known.
        TypeError: If an argument has the wrong type.

    Example:
        >>> trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        >>> hnet = ModuleHNet(trunk, [[10, 5], [10]], cond_in_size=(1, 8, 8), num_cond_embs=0, verbose=False)
        >>> [tuple(w.shape) for w in hnet(cond_input=torch.randn(3, 1, 8, 8), ret_format='stacked')]
        [(3, 10, 5), (3, 10)]
    """

    first_children = ("hnet", "trunk")

    hnet: HMLP | ChunkedHMLP
    trunk: nn.Module

    def __init__(
        self,
        trunk: nn.Module,
        target_shapes: Sequence[Sequence[int]],
        uncond_in_size: int = 0,
        cond_in_size: int | Sequence[int | None] = 8,
        feature_size: int | None = None,
        chunk_size: int | None = None,
        chunk_emb_size: int = 8,
        layers: Sequence[int] | None = None,
        verbose: bool = True,
        activation_fn: Callable[[Tensor], Tensor] | None = nn.ReLU(),
        use_bias: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
        embedding_table: bool = False,
    ) -> None:
        checks.instance("trunk", trunk, nn.Module)
        checks.flag("embedding_table", embedding_table)
        uncond_in_size = checks.integer("uncond_in_size", uncond_in_size, 0)
        shape = _parse_shape(cond_in_size)
        num_cond_embs = _check_inputs(uncond_in_size, shape, checks.integer("num_cond_embs", num_cond_embs, 0))
        if feature_size is None:
            feature_size = _count_features(trunk, uncond_in_size, shape)
        options: dict[str, Any] = {
            "cond_in_size": checks.integer("feature_size", feature_size, 1),
            "activation_fn": activation_fn,
            "use_bias": use_bias,
            "no_uncond_weights": no_uncond_weights,
            "no_cond_weights": True,
            "num_cond_embs": 0,
            "verbose": False,
        }
        head: HMLP | ChunkedHMLP
        if chunk_size is None:
            head = HMLP(target_shapes, layers=() if layers is None else layers, **options)
        else:
            hidden = HIDDEN_OF_CHUNKS if layers is None else layers
            head = ChunkedHMLP(target_shapes, chunk_size, chunk_emb_size, layers=hidden, **options)

        super().__init__(head)
        self._no_cond_weights = no_cond_weights
        self._cond_shape = shape
        self._uncond_in_size = uncond_in_size
        self._cond_in_size = math.prod(size or 1 for size in shape)
        self._feature_size = feature_size
        self.wrap(head, block=2)
        self._has_fc_out, self._mask_fc_out = head.has_fc_out, head.mask_fc_out
        self._has_linear_out = head.has_linear_out
        self._trunk_part = ModulePart(self, "trunk", trunk, block=1, external=no_uncond_weights)
        if shape and None not in shape:
            sizes = [size or 1 for size in shape]
            self.per_condition(EMBEDDINGS, sizes, num_cond_embs, external=no_cond_weights, table=embedding_table)
        if verbose:
            print(self)

    @property
    def condition_dims(self) -> Any:
        """Number of dimensions of the input of the trunk for one weight set."""
        return len(self._cond_shape)

    def condition_owners(self) -> list[str]:
        """Conditions are those of this network."""
        return []

    def before(self, request: Request, values: Values) -> Request:
        """The features of the conditions are the input of the head."""
        inputs.check_combination(request.uncond, request.cond, None, required=True)
        dim = 0 if values.sets is None else 1
        x = self._mapped(request, dim) if isinstance(request.cond, Mapping) else self._joined_inputs(request, dim)
        lead = trees.tensors(x)[0].shape[: dim + 1]
        features = _flatten_features(self._trunk_part(x, values), lead, self._feature_size)
        return replace(request, uncond=None, cond=features)

    def _mapped(self, request: Request, dim: int) -> Any:
        """A dictionary of tensors as the keywords of the trunk; the batch is dimension ``dim``."""
        if request.uncond is not None or not self._cond_shape:
            checks.fail("cond_input", "a tensor, or a dictionary without an unconditional input beside it", "both")
        sizes = {f"cond_input[{i}]": leaf.shape[dim] for i, leaf in enumerate(trees.tensors(request.cond))}
        inputs.common_size(sizes)
        return request.cond

    def _joined_inputs(self, request: Request, dim: int) -> Tensor:
        """``[u, e]``, each checked by itself."""
        given = {"uncond_input": request.uncond, "cond_input": request.cond}
        shapes = ((self._uncond_in_size,) if self._uncond_in_size else (), self._cond_shape)
        for (name, value), shape in zip(given.items(), shapes, strict=True):
            got = None if value is None else tuple(value.shape)
            if got is not None and not shape:
                checks.fail(name, "None, since the network has no such input", f"shape {got}")
            if shape and (got is None or not _fits(got[dim + 1 :], shape)):
                checks.fail(name, f"shape {('N', *('any' if size is None else size for size in shape))}", got)
        uncond, cond = inputs.join_batches(given, dim)
        return concat(Request(uncond, cond))

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Initialise the head for the targets, and for features as large as they are. The trunk stays as it is.

        How large they are is measured in the mode that the trunk is in, without samples for conditions that are drawn.
        """
        super().start_at(wanted, plan.at(self))

    def sample_inputs(self, count: int) -> Request:
        """Draws from N(0, 1).

        Raises:
            ValueError: If the shape of conditions is open.
        """
        if None in self._cond_shape:
            checks.fail("cond_input", "conditions for which to measure the features, since their shape is open", None)
        like = next(iter(self.trunk.parameters()), self._like())
        count = min(count, max(16, MEASURED // max(self._cond_in_size, 1)))
        shapes = (self._uncond_in_size,) if self._uncond_in_size else (), self._cond_shape
        uncond, cond = (torch.randn(count, *shape).to(like) if shape else None for shape in shapes)  # type: ignore[arg-type]
        return Request(uncond, cond)


def _parse_shape(cond_in_size: Any) -> tuple[int | None, ...]:
    """The shape of a condition, ``None`` where it is open; ``()`` for no condition."""
    if not isinstance(cond_in_size, Sequence):
        size = checks.integer("cond_in_size", cond_in_size, 0)
        return (size,) if size else ()
    if not cond_in_size:
        checks.fail("cond_in_size", "a size or at least one of them", cond_in_size)
    return tuple(None if size is None else checks.integer("cond_in_size", size, 1) for size in cond_in_size)


def _check_inputs(uncond: int, shape: tuple[int | None, ...], num_cond_embs: int) -> int:
    """The number of embeddings, which is 0 without conditions."""
    if not uncond and not shape:
        checks.fail("cond_in_size", "an input: uncond_in_size or cond_in_size above 0", "0 and 0")
    if uncond and len(shape) > 1:
        checks.fail("uncond_in_size", "0, since only vectors can be joined to an unconditional input", uncond)
    if num_cond_embs and None in shape:
        checks.fail("num_cond_embs", "0, since the shape of conditions is open", num_cond_embs)
    if num_cond_embs and not shape:
        warnings.warn("num_cond_embs has no effect without conditional input (cond_in_size=0)", stacklevel=3)
    return num_cond_embs if shape else 0


def _count_features(trunk: nn.Module, uncond: int, shape: tuple[int | None, ...]) -> int:
    """The number of features that a trunk gives for one condition."""
    if None in shape:
        checks.fail("feature_size", "the number of features, since the shape of conditions is open", None)
    sizes = shape if len(shape) > 1 else (uncond + sum(size or 0 for size in shape),)
    like = next((p for p in trunk.parameters() if p.is_floating_point()), torch.empty(0))
    with evaluation(trunk), torch.no_grad():
        features = trunk(like.new_zeros(2, *sizes))  # type: ignore[arg-type]
    return _flatten_features(features, torch.Size([2])).shape[-1]


def _fits(got: Sequence[int], shape: Sequence[int | None]) -> bool:
    return len(got) == len(shape) and all(size in (None, n) for size, n in zip(shape, got, strict=True))


def _flatten_features(features: Any, lead: torch.Size, size: int | None = None) -> Tensor:
    """Features ``[*lead, ...]`` as ``[*lead, size]``."""
    checks.instance("trunk(...)", features, Tensor, "a tensor of features")
    if features.shape[: len(lead)] != lead or features.dim() == len(lead):
        checks.fail("trunk(...)", f"shape {(*lead, '...')}, a row of features per condition", tuple(features.shape))
    flat: Tensor = features.flatten(len(lead))
    if size is not None:
        checks.width("trunk(...)", flat, size)
    return flat
