"""The abstract main network of hypnettorch 0.0.4, for classes that implement the interface by themselves.

Such a class fills protected lists (:data:`hypnettorch.legacy.lists.LISTS`) and calls ``_is_properly_setup()``, which
makes a table of them; from then on it is a network like all others. The networks of this package are virtual
subclasses: ``isinstance(MLP(...), MainNetInterface)`` holds.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from hypnettorch.core import checks, old_files
from hypnettorch.core.table import Table
from hypnettorch.legacy import aliases, lists, names, recurrent
from hypnettorch.mnets.batched import batched_by_vmap
from hypnettorch.mnets.network import Network, Shapes


class MainNetInterface(lists.Helpers, ABC):
    """What every main network can be asked.

    The class is abstract and no ``nn.Module``: ``class Net(nn.Module, MainNetInterface)`` is the usual way to
    implement it. A new network derives from :class:`hypnettorch.mnets.network.Network` instead.
    """

    if TYPE_CHECKING:
        training: bool

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """See :meth:`forward`."""

    def __init__(self) -> None:
        if isinstance(self, Network):  # it has a table already, or will have one
            return
        if "_modules" not in self.__dict__:
            super().__init__()
        for name in lists.LISTS:
            self.__dict__.setdefault(name, None)
        self._mirrored: dict[str, Any] = {}

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

    def _is_properly_setup(self, check_has_bias: bool = True) -> None:
        """Check the lists and make the table of them; the last call of a constructor.

        Args:
            check_has_bias: Whether ``_has_bias`` is meaningful for this network.

        Raises:
            ValueError: If a list is missing or two of them contradict each other; the message names it.
        """
        self._adopt_old_names()
        lists.check_lists(self, check_has_bias)
        for old, new in lists.OLD_NAMES.items():
            if old != "_weights":
                self._mirrored[old] = getattr(self, new)
                setattr(self, old, self._mirrored[old])
        self.table: Table = lists.table_of_lists(self)
        if isinstance(self, nn.Module):
            aliases.install_hooks(self, _rename_loaded_state)

    _norms: Sequence[Any] = ()
    _modulations: Sequence[Any] = ()

    def _adopt_old_names(self) -> None:
        for old, new in lists.OLD_NAMES.items():
            value = getattr(self, old, None)
            if old == "_weights" or value is None or value is self._mirrored.get(old):
                continue
            warnings.warn(f"'{old}' is deprecated, use '{new}'", DeprecationWarning, stacklevel=4)
            setattr(self, new, value)
        weights = getattr(self, "_weights", None)
        if weights is not None and weights is not self._internal_params:
            if self._internal_params is not None:
                checks.fail("_weights", "only one of '_weights' and '_internal_params' to be set", "both")
            self._internal_params = weights

    # ------------------------------------------------------------------------------------- the lists by other names

    @property
    def internal_params(self) -> nn.ParameterList | None:
        """Tensors owned by the network: what goes to the optimiser."""
        return self._internal_params

    weights = names.Name(names.weights)

    @property
    def internal_params_ref(self) -> list[int] | None:
        """Position in :attr:`param_shapes` of every tensor in :attr:`internal_params`."""
        if self._internal_params is None:
            return None
        refs = [-1] * len(self._internal_params)
        for position, meta in enumerate(self.param_shapes_meta if refs else ()):
            if meta["index"] >= 0:
                refs[meta["index"]] = position
        return refs

    @property
    def param_shapes(self) -> Shapes:
        """Shapes of all parameter tensors, wherever their values come from."""
        return self._param_shapes  # type: ignore[attr-defined]

    @property
    def param_shapes_meta(self) -> list[dict[str, Any]]:
        """One dictionary per entry of :attr:`param_shapes`.

        Raises:
            NotImplementedError: If the network does not provide it.
        """
        metas: Any = self._param_shapes_meta  # type: ignore[attr-defined]
        if metas is None:
            raise NotImplementedError(f"{type(self).__name__} does not describe its parameters (param_shapes_meta)")
        return metas

    @property
    def hyper_shapes_learned(self) -> Shapes | None:
        """Shapes of the tensors that must be passed as ``weights=``; ``None`` if all are internal."""
        return self._hyper_shapes_learned  # type: ignore[attr-defined]

    @property
    def hyper_shapes_learned_ref(self) -> list[int] | None:
        """Position in :attr:`param_shapes` of every entry of :attr:`hyper_shapes_learned`.

        Raises:
            NotImplementedError: If there are such shapes but the network does not say where they belong.
        """
        if self.hyper_shapes_learned is None:
            return None
        refs: Any = self._hyper_shapes_learned_ref  # type: ignore[attr-defined]
        if refs is None:
            raise NotImplementedError(f"{type(self).__name__} does not provide hyper_shapes_learned_ref")
        return refs

    @property
    def hyper_shapes_distilled(self) -> Shapes | None:
        """Shapes of tensors that the network computes and that can be distilled; ``None`` if there are none."""
        return self._hyper_shapes_distilled  # type: ignore[attr-defined]

    @property
    def has_bias(self) -> bool:
        """Whether the layers have bias vectors."""
        return self._has_bias  # type: ignore[attr-defined]

    @property
    def has_fc_out(self) -> bool:
        """Whether the output layer is fully connected."""
        return self._has_fc_out  # type: ignore[attr-defined]

    @property
    def mask_fc_out(self) -> bool:
        """Whether output weight and bias are the last entries of :attr:`hyper_shapes_learned` if that is set."""
        return self._mask_fc_out  # type: ignore[attr-defined]

    @property
    def has_linear_out(self) -> bool:
        """Whether the output layer has no nonlinearity."""
        return self._has_linear_out  # type: ignore[attr-defined]

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
        return self._layer_weight_tensors  # type: ignore[attr-defined]

    @property
    def layer_bias_vectors(self) -> nn.ParameterList:
        """Internal biases parallel to :attr:`layer_weight_tensors`."""
        return self._layer_bias_vectors  # type: ignore[attr-defined]

    @property
    def batchnorm_layers(self) -> nn.ModuleList | None:
        """Batch norm layers in order of use."""
        return self._batchnorm_layers  # type: ignore[attr-defined]

    @property
    def context_mod_layers(self) -> nn.ModuleList | None:
        """Context-modulation layers in order of use."""
        return self._context_mod_layers  # type: ignore[attr-defined]

    @property
    def starts_exactly(self) -> bool:
        """Whether hyperfan gives each tensor its own start also where targets share the weights that produce them."""
        return False

    @property
    def depends_on_condition(self) -> bool:
        """Whether ``condition`` makes a difference: batch norm layers hold more than one set of statistics."""
        layers: Any = self.batchnorm_layers or ()
        return any(layer.num_stats > 1 for layer in layers)

    # ------------------------------------------------------------------------------------- as every network does it

    param_names = Network.param_names
    lists = Network.lists
    parts: Any = Network.parts
    shapes_to_num_weights = staticmethod(Network.shapes_to_num_weights)
    flatten_params = staticmethod(Network.flatten_params)
    overwrite_internal_params = Network.overwrite_internal_params
    _overwrite = Network._overwrite
    custom_init = Network.custom_init
    get_output_weight_mask = Network.get_output_weight_mask

    def output_positions(self) -> list[int]:
        """Positions of weight and bias of the output layer in ``param_shapes``: the last ones."""
        last = len(self.param_shapes) - 1
        return [last - 1, last] if self.has_bias else [last]

    def batched_forward(
        self,
        x: Tensor,
        weights: Any,
        share_input: bool = False,
        condition: int | Sequence[int] | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Evaluate the network with ``B`` weight sets at once, by ``torch.func.vmap`` of ``forward``.

        See :meth:`hypnettorch.mnets.network.Network.batched_forward`.
        """
        return batched_by_vmap(self, x, weights, share_input, condition, distilled_params, **kwargs)  # type: ignore[arg-type]


def _rename_loaded_state(net: Any, state_dict: dict[str, Any], prefix: str) -> None:
    net._rename_loaded_state(state_dict, prefix)
    old_files.rename(net, state_dict, prefix)


MainNetInterface.register(Network)
lists.install()
recurrent.install()
