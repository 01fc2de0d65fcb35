"""The full hypernetwork: a multilayer perceptron that produces all weights at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import initialization, output_constants
from hypnettorch.hnets.hypernetwork import HyperNetwork, Request, concat, sizes_of
from hypnettorch.hnets.initialization import Plan
from hypnettorch.layers.stages import Elementwise, Linear, Stage, chain


class HMLP(HyperNetwork):
    """``h(u, e) = W_L σ(… σ(W_1 [u, e] + b_1) …) + b_L``, cut into tensors of the target shapes.

    ``u`` is the unconditional input, ``e`` the conditional one, by default an embedding of the condition that the
    network keeps itself. A hidden layer is the linear map, batch norm, dropout and the nonlinearity. Parameters are
    published in the order embeddings ``[cond_in_size]``, batch norm, layers.

    Args:
        target_shapes: Shapes of the tensors to produce.
        uncond_in_size: Size of the unconditional input.
        cond_in_size: Size of the conditional input.
        layers: Sizes of the hidden layers; ``()`` gives a linear hypernetwork.
        verbose: Whether to print a line about the network.
        activation_fn: Nonlinearity of the hidden layers; ``None`` for none.
        use_bias: Whether the layers have bias vectors.
        no_uncond_weights: Whether all parameters but the embeddings are external.
        no_cond_weights: Whether the embeddings are external.
        num_cond_embs: Number of embeddings, drawn from N(0, 1).
        dropout_rate: Probability of dropping a hidden unit; -1 for no dropout.
        use_spectral_norm: Divide each weight matrix by its largest singular value. The output layer has one row per
            target weight, so this is expensive.
        use_batch_norm: Whether hidden layers are batch-normalised; in training it needs more than one weight set per
            call.
        embedding_table: Whether the embeddings of all conditions are one parameter ``[num_cond_embs, cond_in_size]``,
            read by index: what many conditions (users, images) need. Without it each is a parameter of its own, which
            can be optimised, frozen and saved by itself.
        split_head: Whether the output layer is one weight and bias per target (key ``target`` of the weight in
            ``param_shapes_meta``) instead of one for all: the same function, but a training step of a large target
            network takes a fraction of the time, since no gradient is larger than a target. Files of one form load into
            the other.

    Raises:
        ValueError: If a size or rate is out of range, or ``split_head`` meets spectral norm, which divides the output
            layer as a whole.
        TypeError: If an argument has the wrong type.

    Example:
        >>> hnet = HMLP([[10, 5], [10]], cond_in_size=8, num_cond_embs=3, verbose=False)
        >>> [tuple(w.shape) for w in hnet(cond_id=0)]
        [(10, 5), (10,)]
        >>> hnet(cond_id=[0, 2], ret_format='flattened').shape
        torch.Size([2, 60])
    """

    first_children = ("norms",)

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
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
        split_head: bool = False,
        embedding_table: bool = False,
    ) -> None:
        super().__init__(target_shapes, uncond_in_size, cond_in_size)
        self.set_options(no_uncond_weights, no_cond_weights, num_cond_embs, embedding_table)
        self.set_layer_options(activation_fn, use_bias, use_spectral_norm, use_batch_norm)
        checks.flag("split_head", split_head)
        if split_head and use_spectral_norm:
            checks.fail("split_head", "False, since spectral norm divides the output layer as a whole", True)
        self._dropout_rate = checks.dropout_rate("dropout_rate", dropout_rate)
        self._dropout = nn.Dropout(max(self._dropout_rate, 0.0))
        self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self.register_load_state_dict_pre_hook(refit_head)
        sizes = [self._uncond_in_size + self._cond_in_size, *checks.integers("layers", layers, 1)]
        self._hidden = self._declare_hidden(sizes)
        self._pieces: list[Any] = self._declare_head(sizes[-1], split_head)
        self._output_layers = self._pieces
        if verbose:
            print(self)

    def _declare_hidden(self, sizes: Sequence[int]) -> list[Stage]:
        """The stages of the hidden layers in order of use."""
        stages: list[Stage] = []
        for i, (fan_in, size) in enumerate(pairwise(sizes)):
            stages.append(self.full_layer(f"layers.{i}", fan_in, size))
            if self._use_batch_norm:
                stages.append(self.norm(f"norms.{i}", size, self._no_uncond_weights))
            if self._dropout_rate > 0:
                stages.append(Elementwise(self._dropout))
            if self._act_fn is not None:
                stages.append(Elementwise(self._act_fn))
        return stages

    def _declare_head(self, fan_in: int, split: bool) -> list[Linear]:
        """The output layer, whole or in pieces."""
        if not split:
            return [self.full_layer("head", fan_in, self.num_outputs)]
        layer, sizes = self.table.next_layer(), sizes_of(self.target_shapes)
        return [
            self.full_layer(f"head.{i}", fan_in, size, layer=layer, of_weight={"target": i})
            for i, size in enumerate(sizes)
        ]

    def generate(self, request: Request, values: Values) -> Tensor | list[Tensor]:
        """The equation."""
        x: Any = request.cond if request.uncond is None else concat(request)
        for stage in self._hidden:
            x = stage(x, values)
        if len(self._pieces) == 1:
            return self._pieces[0](x, values)
        lead = x.shape[:-1]
        rows = [piece(x, values) for piece in self._pieces]
        return [row.view((*lead, *shape)) for row, shape in zip(rows, self.target_shapes, strict=True)]

    def last_layer(self, request: Request, values: Values) -> tuple[Tensor, list[tuple[Tensor, Tensor | None]]]:
        """Last hidden activations ``[N, k]`` with weight and bias of each piece of the output layer."""
        x = chain(self._hidden, concat(request), values)
        return x, [piece.tensors(values) for piece in self._pieces]

    def start_at(self, wanted: Sequence[Start], plan: Plan, **given: Sequence[float | None]) -> None:
        """Initialise for the targets, each of which has rows of the output layer of its own.

        Args:
            wanted: The start of each target.
            plan: How (:class:`hypnettorch.hnets.initialization.Plan`).
            **given: What a user prescribes for each target: ``w_val`` and ``w_var``, mean and variance of its rows,
                ``b_val`` and ``b_var``, those of their biases.
        """
        plan = plan.at(self)
        plain = not self._use_spectral_norm and type(self).generate is HMLP.generate
        if plan.calibrated and not plain:
            initialization.settle(self, wanted, plan, self.draw(plan))
            return
        output_constants.keep(self, None, None)
        activations = self._draw_hidden(plan)
        moment = float(activations.double().square().mean())
        weights, biases = self._rows_of_targets()
        columns = [given.get(name, [None] * len(wanted)) for name in ("w_val", "w_var", "b_val", "b_var")]
        for i, (start, *own) in enumerate(zip(wanted, *columns, strict=True)):
            variance = start.generated / (weights[i].shape[1] * moment) if moment > 0 else 0.0
            defaults = (0.0, variance, start.mean, start.constant)
            mean, spread, neutral, constant = (d if v is None else v for v, d in zip(own, defaults, strict=True))
            initialization.fill_uniform(weights[i], mean, spread)
            if self.has_bias:
                initialization.fill_uniform(biases[i], neutral, constant)
            elif neutral != 0 and own[1] is None and not plan.calibrated:
                expected = f"a hypernetwork with biases, or w_var for target {i} (it starts at {neutral})"
                checks.fail("b_val", expected, "use_bias=False")
        if plan.calibrated:
            self._bring_to_scale(wanted, weights, activations)
            if not self.has_bias:
                output_constants.keep(self, None, torch.tensor([start.mean for start in wanted]))

    def draw(self, plan: Plan) -> Tensor:
        """Draw all parameters but the embeddings, for targets that share the output layer.

        Args:
            plan: How, with samples that are looked up.

        Returns:
            The second moment ``[1]`` of what is produced; for a calibrated start it is 0 on average over the samples.
        """
        output_constants.keep(self, None, None)
        activations = self._draw_hidden(plan)
        for piece in self._pieces:
            weight, bias = piece.weight, piece.bias
            initialization.draw_layer(weight, bias, 1 / piece.fan_in)
            mean = activations.mean(0)
            if plan.calibrated and bias is not None:
                bias.copy_(-(piece.tensors(plan.samples[1])[0] @ mean))
            elif plan.calibrated and len(mean) > 1 and mean.any():
                weight.sub_(torch.outer(weight @ mean, mean) / mean.square().sum())
        return torch.full([1], float(activations.double().square().mean()) or 1.0, **output_constants.DOUBLE)

    def _draw_hidden(self, plan: Plan) -> Tensor:
        """Draw all layers but the output layer; returns the last hidden activations for the samples, ``[N, k]``."""
        hidden: list[Any] = [layer for layer in self._hidden if isinstance(layer, Linear)]
        for layer in hidden:
            initialization.draw_layer(layer.weight, layer.bias, plan.gain / layer.fan_in)
        initialization.draw_norms(self)
        return self.last_layer(*plan.samples)[0]

    def _rows_of_targets(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The rows of weight and bias of the output layer that belong to each target, as views."""
        if len(self._pieces) > 1:
            return [piece.weight for piece in self._pieces], [piece.bias for piece in self._pieces]
        (head,), sizes = self._pieces, sizes_of(self.target_shapes)
        return head.weight.detach().split(sizes), head.bias.detach().split(sizes) if self.has_bias else []

    def _bring_to_scale(self, wanted: Sequence[Start], weights: Sequence[Tensor], activations: Tensor) -> None:
        """Scale the rows of each target such that what they produce has the variance that it should have."""
        ratios = []
        for weight, start in zip(weights, wanted, strict=True):
            some = activations[: max(4, initialization.ELEMENTS // len(weight))]
            expected = start.generated * (some.square().mean() / activations.square().mean())
            found = (some @ weight.detach().T).double().square().mean()
            ratios.append(found / expected if expected > 0 else torch.ones_like(found))
        factors = initialization.trusted(torch.stack(ratios).cpu(), self.target_shapes).rsqrt().tolist()
        for weight, factor in zip(weights, factors, strict=True):
            weight.detach().mul_(factor)

    def apply_hyperfan_init(  # type: ignore[override]
        self,
        method: str = "in",
        use_xavier: bool = False,
        uncond_var: float = 1.0,
        cond_var: float = 1.0,
        mnet: Any = None,
        w_val: Any = None,
        w_var: Any = None,
        b_val: Any = None,
        b_var: Any = None,
        cond_input: Tensor | None = None,
        uncond_input: Tensor | None = None,
        target_var: Any = None,
    ) -> None:
        """Initialise such that the produced weights have the variance that their fans ask for.

        The mathematics stand in :mod:`hypnettorch.hnets.initialization`.

        Args:
            method: ``'in'`` (activations keep their variance), ``'out'`` (gradients do), or ``'harmonic'`` (harmonic
                mean of the two variances).
            use_xavier: Xavier instead of Kaiming initialisation: no factor 2 for rectified units.
            uncond_var: Mean square of an entry of the unconditional input: its variance, if its mean is 0.
            cond_var: Mean square of an entry of the conditional input.
            mnet: The main network, whose ``param_shapes_meta`` say what each target is. Without it, targets with more
                than one dimension count as weights and vectors as the bias of the weight before them.
            w_val: Mean of the rows of the output layer: a list (one entry per target, ``None`` for the default) or a
                dictionary by ``name`` of ``param_shapes_meta``.
            w_var: Their variance.
            b_val: Mean of the output layer's biases.
            b_var: Their variance. By default batch norm scales and gains start at 1 and shifts at 0 whatever the input.
            cond_input: Samples of the conditional input, for which to measure what enters the output layer. They
                replace both variances.
            uncond_input: Samples of the unconditional input, likewise.
            target_var: Variances of the targets that replace those of their fans, as
                :meth:`~hypnettorch.hnets.hypernetwork.HyperNetwork.apply_calibrated_init` takes them. Sines (SIREN)
                want ``2 / fan_in``, the variance of U(±√(6 / fan_in)).

        Raises:
            ValueError: If ``method`` is unknown, ``mnet`` takes tensors of other shapes, the parameters are external,
                or a neutral value other than 0 is needed but the output layer has no bias.
        """
        plan = initialization.checked_plan(method, use_xavier, uncond_var, cond_var, mnet)
        given = {"w_val": w_val, "w_var": w_var, "b_val": b_val, "b_var": b_var}
        initialization.apply_hyperfan_init(self, plan, mnet, cond_input, uncond_input, target_var, **given)


def refit_head(network: HMLP, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Bring the output layer in a file into the form that a network has: in pieces, or whole."""
    sizes = sizes_of(network.target_shapes)
    split = "head.0.weight" in network.table.by_name
    for key in ("weight", "bias"):
        whole, pieces = f"{prefix}head.{key}", [f"{prefix}head.{i}.{key}" for i in range(len(sizes))]
        if split and whole in state_dict and len(state_dict[whole]) == sum(sizes):
            state_dict.update(dict(zip(pieces, state_dict.pop(whole).split(sizes), strict=True)))
        elif not split and all(piece in state_dict for piece in pieces):
            state_dict[whole] = torch.cat([state_dict.pop(piece) for piece in pieces])
