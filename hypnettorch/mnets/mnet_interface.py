"""The interface of all main networks.

A main network computes with weights that it holds itself (*internal*) or that it is given (*external*), for instance
by a hypernetwork. :class:`MainNetInterface` says what every such network can be asked. A new network derives from
:class:`~hypnettorch.mnets.main_network.MainNetwork`, which fills all of this from a declaration; a class that
implements the interface by itself fills the protected lists of
:class:`~hypnettorch.mnets.extension_protocol.HandFilledLists` and calls ``_is_properly_setup()``.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, formats
from hypnettorch.mnets.batched import batched_by_vmap
from hypnettorch.mnets.extension_protocol import HandFilledLists, Shapes
from hypnettorch.mnets.network import Network


class MainNetInterface(HandFilledLists):
    """What every main network can be asked.

    The class is abstract and no ``nn.Module``: ``class Net(nn.Module, MainNetInterface)`` is the usual way to
    implement it.
    """

    if TYPE_CHECKING:
        training: bool

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """See :meth:`forward`."""

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output of the network.

        The documented signature is ``forward(x, weights=None, distilled_params=None, condition=None)``.

        Args:
            x: The input.
            weights: External values of the parameters. A list is the first of these whose length and shapes fit:
                :attr:`hyper_shapes_learned`, the context-modulation tensors, :attr:`param_shapes`. A dictionary has
                the keys ``internal_weights`` and/or ``mod_weights``. A 1-D tensor is the flat
                :attr:`hyper_shapes_learned`. What is not given is taken from :attr:`internal_params`.
            distilled_params: Tensors of shapes :attr:`hyper_shapes_distilled`.
            condition: What the network's internal state depends on, e.g. the id of batch norm statistics. It is
                ignored where nothing depends on it.
        """

    @abstractmethod
    def distillation_targets(self) -> list[Tensor] | None:
        """Tensors computed by the network that are to be distilled after training.

        Returns:
            Tensors of shapes :attr:`hyper_shapes_distilled`, or ``None`` if there are none.
        """

    @property
    def internal_params(self) -> nn.ParameterList | None:
        """Tensors owned by the network: what goes to the optimiser."""
        return self._internal_params

    @property
    def weights(self) -> nn.ParameterList | None:
        """Deprecated name of :attr:`internal_params`."""
        warnings.warn("'weights' is deprecated, use 'internal_params'", DeprecationWarning, stacklevel=2)
        return self.internal_params

    @property
    def internal_params_ref(self) -> list[int] | None:
        """Position in :attr:`param_shapes` of every tensor in :attr:`internal_params`.

        ``None`` if the network has no :attr:`internal_params`; entries are ``-1`` where the position is unknown.
        """
        if self._internal_params is None:
            return None
        refs = [-1] * len(self._internal_params)
        if not refs:
            return refs
        for position, meta in enumerate(self.param_shapes_meta):
            if meta["index"] >= 0:
                refs[meta["index"]] = position
        return refs

    @property
    def param_shapes(self) -> Shapes:
        """Shapes of all parameter tensors, wherever their values come from."""
        return self._param_shapes  # type: ignore[return-value]

    @property
    def param_shapes_meta(self) -> list[dict[str, Any]]:
        """One dictionary per entry of :attr:`param_shapes`.

        Keys: ``name`` (``weight``, ``bias``, ``bn_scale``, ``bn_shift``, ``cm_scale``, ``cm_shift``, ``embedding`` or
        ``None``), ``index`` (position in :attr:`internal_params`, or ``-1``), ``layer`` (equal for tensors of one
        layer, ``-1`` if unknown). Networks may add keys.

        Raises:
            NotImplementedError: If the network does not provide it.
        """
        if self._param_shapes_meta is None:
            raise NotImplementedError(f"{type(self).__name__} does not describe its parameters (param_shapes_meta)")
        return self._param_shapes_meta

    @property
    def hyper_shapes_learned(self) -> Shapes | None:
        """Shapes of the tensors that must be passed as ``weights=``; ``None`` if all are internal."""
        return self._hyper_shapes_learned

    @property
    def hyper_shapes_learned_ref(self) -> list[int] | None:
        """Position in :attr:`param_shapes` of every entry of :attr:`hyper_shapes_learned`.

        Raises:
            NotImplementedError: If there are such shapes but the network does not say where they belong.
        """
        if self._hyper_shapes_learned is None:
            return None
        if self._hyper_shapes_learned_ref is None:
            raise NotImplementedError(f"{type(self).__name__} does not provide hyper_shapes_learned_ref")
        return self._hyper_shapes_learned_ref

    @property
    def hyper_shapes_distilled(self) -> Shapes | None:
        """Shapes of tensors that the network computes and that can be distilled; ``None`` if there are none."""
        return self._hyper_shapes_distilled

    @property
    def has_bias(self) -> bool:
        """Whether the layers have bias vectors."""
        return self._has_bias  # type: ignore[return-value]

    @property
    def has_fc_out(self) -> bool:
        """Whether the output layer is fully connected."""
        return self._has_fc_out  # type: ignore[return-value]

    @property
    def mask_fc_out(self) -> bool:
        """Whether output weight and bias are the last entries of :attr:`hyper_shapes_learned` if that is set."""
        return self._mask_fc_out  # type: ignore[return-value]

    @property
    def has_linear_out(self) -> bool:
        """Whether the output layer has no nonlinearity."""
        return self._has_linear_out  # type: ignore[return-value]

    @property
    def num_params(self) -> int:
        """Number of elements of all parameter tensors, internal or not."""
        return self.shapes_to_num_weights(self.param_shapes)

    @property
    def num_internal_params(self) -> int:
        """Number of elements of all internal parameter tensors."""
        return sum(param.numel() for param in self._internal_params or ())

    @property
    def layer_weight_tensors(self) -> nn.ParameterList:
        """Internal weight matrices and kernels, in order of the layers; empty if they are external."""
        return self._layer_weight_tensors  # type: ignore[return-value]

    @property
    def layer_bias_vectors(self) -> nn.ParameterList:
        """Internal biases parallel to :attr:`layer_weight_tensors`: ``None`` for a layer without; empty without any."""
        return self._layer_bias_vectors  # type: ignore[return-value]

    @property
    def batchnorm_layers(self) -> nn.ModuleList | None:
        """Batch norm layers in order of use."""
        return self._batchnorm_layers

    @property
    def context_mod_layers(self) -> nn.ModuleList | None:
        """Context-modulation layers in order of use."""
        return self._context_mod_layers

    @property
    def starts_exactly(self) -> bool:
        """Whether hyperfan gives each tensor its own start also where targets share the weights that produce them."""
        return False

    @property
    def depends_on_condition(self) -> bool:
        """Whether ``condition`` makes a difference: batch norm layers hold more than one set of statistics."""
        return any(layer.num_stats > 1 for layer in self._batchnorm_layers or ())  # type: ignore[operator]

    @staticmethod
    def shapes_to_num_weights(dims: Sequence[Sequence[int]]) -> int:
        """Number of elements of tensors with these shapes.

        Example:
            >>> MainNetInterface.shapes_to_num_weights([[10, 5], [10]])
            60
        """
        return formats.num_elements(checks.shapes("dims", dims))

    @staticmethod
    def flatten_params(
        params: Any, param_shapes: Sequence[Sequence[int]] | None = None, unflatten: bool = False
    ) -> Any:
        """Concatenate tensors into one vector, or undo that.

        Args:
            params: A list of tensors; with ``unflatten`` the vector ``[n]``.
            param_shapes: Shapes of the tensors, required to undo.
            unflatten: Whether to undo.

        Returns:
            The vector ``[n]``, or a list of views of it.

        Raises:
            ValueError: If shapes are missing or do not fit.
        """
        if not unflatten:
            for i, param in enumerate(params):
                checks.tensor(("params", i), param)
            return torch.cat([param.flatten() for param in params]) if len(params) else torch.empty(0)
        if param_shapes is None:
            checks.fail("param_shapes", "the shapes into which to cut the vector", None)
        checks.tensor("params", params)
        checks.shape("params", params, [formats.num_elements(param_shapes)])
        return formats.unflatten(params, param_shapes)

    def overwrite_internal_params(self, new_params: Sequence[Tensor]) -> None:
        """Copy values into :attr:`internal_params`.

        Args:
            new_params: Tensors of the same number and shapes.

        Raises:
            ValueError: If number or shapes differ.
        """
        own = list(self._internal_params or ())
        checks.length("new_params", new_params, len(own))
        for i, (param, new) in enumerate(zip(own, new_params, strict=True)):
            checks.shape(("new_params", i), new, param.shape)
        with torch.no_grad():
            for param, new in zip(own, new_params, strict=True):
                param.copy_(new)

    def custom_init(self, normal_init: bool = False, normal_std: float = 0.02, zero_bias: bool = True) -> None:
        """Initialise layer weights and biases; embeddings, batch norm and modulation stay as they are.

        Args:
            normal_init: Draw weights from ``N(0, normal_std²)`` instead of Xavier-uniform.
            normal_std: Standard deviation.
            zero_bias: Set biases to 0.
        """
        checks.number("normal_std", normal_std, 0)
        for weight in self.layer_weight_tensors:
            if normal_init:
                nn.init.normal_(weight, std=normal_std)
            else:
                nn.init.xavier_uniform_(weight)
        if zero_bias:
            for bias in self.layer_bias_vectors:
                if bias is not None:
                    nn.init.zeros_(bias)

    def get_output_weight_mask(
        self, out_inds: Sequence[int] | None = None, device: torch.device | str | None = None
    ) -> list[Tensor | None]:
        """Masks that select the output weights of some output units.

        Args:
            out_inds: Output units; all of them by default.
            device: Where the masks live.

        Returns:
            A list parallel to :attr:`param_shapes`: ``None``, except for boolean masks of weight ``[out, in]`` (rows
            ``out_inds``) and bias ``[out]`` of the output layer, which are the last ones.

        Raises:
            NotImplementedError: Unless :attr:`has_fc_out` and :attr:`mask_fc_out` hold.
            ValueError: If a unit does not exist.
        """
        if not (self.has_fc_out and self.mask_fc_out):
            raise NotImplementedError(f"{type(self).__name__} has no fully connected output layer that can be masked")
        positions = self._output_positions()
        num_out = self.param_shapes[positions[0]][0]
        units = range(num_out) if out_inds is None else checks.integers("out_inds", out_inds, 0)
        for i, unit in enumerate(units):
            checks.integer(("out_inds", i), unit, 0, num_out - 1)
        masks: list[Tensor | None] = [None] * len(self.param_shapes)
        for position in positions:
            mask = torch.zeros(self.param_shapes[position], dtype=torch.bool, device=device)
            mask[list(units)] = True
            masks[position] = mask
        return masks

    def _output_positions(self) -> list[int]:
        """Positions of weight and bias of the output layer in ``param_shapes``."""
        last = len(self.param_shapes) - 1
        return [last - 1, last] if self._has_output_bias() else [last]

    def _has_output_bias(self) -> bool:
        """Whether the output layer has a bias."""
        return self.has_bias

    def batched_forward(
        self,
        x: Tensor,
        weights: Any,
        share_input: bool = False,
        condition: int | Sequence[int] | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Evaluate the network with ``B`` weight sets at once.

        Args:
            x: The input of ``forward`` with a leading dimension: ``[B, N, ...]``; with ``share_input`` without it.
            weights: As for ``forward``, each tensor ``[B, *shape]``.
            share_input: Whether all sets see the same input.
            condition: One condition, or ``B`` of them.
            distilled_params: As for ``forward``, each tensor ``[B, *shape]``.
            **kwargs: Passed to ``forward``.

        Returns:
            What ``forward`` returns with a leading ``B`` on every tensor, equal to a loop over the sets.

        Raises:
            ValueError: If the number of sets differs between arguments.

        Note:
            This general version maps ``forward`` by ``torch.func.vmap``, once for every different condition. Where
            batch statistics are to be updated (training mode), it is a loop over the sets.
        """
        return batched_by_vmap(
            self,  # type: ignore[arg-type]
            x,
            weights,
            share_input=share_input,
            condition=condition,
            distilled_params=distilled_params,
            **kwargs,
        )


MainNetInterface.register(Network)
