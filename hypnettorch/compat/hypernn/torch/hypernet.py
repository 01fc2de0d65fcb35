"""A hypernetwork that consists of embeddings and what turns them into weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hypnettorch.compat.hypernn.torch.utils import count_params, get_weight_chunk_dims
from hypnettorch.core import checks
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.utils import safe_files


class TorchHyperNetwork(nn.Module):
    """``f(x; ω)`` with ``ω = g(E)``: a target network whose parameters a generator ``g`` makes of embeddings ``E``.

    ``E`` has ``num_embeddings`` rows, each of which becomes ``weight_chunk_dim`` weights; a surplus at the end is
    dropped. A subclass says what ``E`` and ``g`` are, by :meth:`make_embedding_module` and
    :meth:`make_weight_generator`, or how they work together, by :meth:`generate_params`.

    With ``embedding_module_constructor`` the network has the early interface: calling it returns the output *and* the
    weights.

    Args:
        target_network: The target network. It is copied, and stays as it is; ``target_network.eval()`` of the
            hypernetwork's own attribute is the one that counts.
        num_target_parameters: Number of its weights, which is known and therefore only checked.
        embedding_dim: Size of an embedding.
        num_embeddings: Number of embeddings.
        weight_chunk_dim: Number of weights that one embedding produces (default: as few as suffice).
        custom_embedding_module: ``E``: an ``nn.Embedding``, or a module that is called with the arguments of
            :meth:`generate_params` and returns ``[num_embeddings, embedding_dim]``, or ``B`` of them ``[B, ...]``. An
            embedding that gives all weights, ``[embedding_dim]``, may also come in a batch ``[B, embedding_dim]``.
        custom_weight_generator: ``g``: a module that is called with the embeddings.
        embedding_module_constructor: Called with ``embedding_dim, num_embeddings`` to make ``E``.
        weight_generator_constructor: Called with ``embedding_dim, hidden_dim`` to make ``g``.
        hidden_dim: ``weight_chunk_dim`` by its early name.

    Raises:
        ValueError: If ``num_target_parameters`` is wrong or a size is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> class OfPosition(TorchHyperNetwork):
        ...     def make_embedding_module(self):
        ...         return nn.Embedding(self.num_embeddings, self.embedding_dim)
        ...
        ...     def make_weight_generator(self):
        ...         output = nn.Linear(16, self.weight_chunk_dim)
        ...         return nn.Sequential(nn.Linear(self.embedding_dim, 16), nn.ReLU(), output)
        >>> hypernetwork = OfPosition(nn.Linear(8, 4), embedding_dim=5, num_embeddings=9)
        >>> hypernetwork.num_target_parameters, hypernetwork.weight_chunk_dim
        (36, 4)
        >>> hypernetwork(torch.zeros(1, 8)).shape
        torch.Size([1, 4])
        >>> generated_params, aux = hypernetwork.generate_params()
        >>> hypernetwork(torch.zeros(2, 1, 8), generated_params=torch.stack([generated_params, generated_params])).shape
        torch.Size([2, 1, 4])
    """

    def __init__(
        self,
        target_network: nn.Module,
        num_target_parameters: int | None = None,
        embedding_dim: int = 100,
        num_embeddings: int = 3,
        weight_chunk_dim: int | None = None,
        custom_embedding_module: nn.Module | None = None,
        custom_weight_generator: nn.Module | None = None,
        *,
        embedding_module_constructor: Callable[..., nn.Module] | None = None,
        weight_generator_constructor: Callable[..., nn.Module] | None = None,
        hidden_dim: int | None = None,
    ) -> None:
        super().__init__()
        checks.instance("target_network", target_network, nn.Module)
        self._target = ModuleNet(copy.deepcopy(target_network))
        if num_target_parameters not in (None, self.num_target_parameters):
            checks.fail("num_target_parameters", f"{self.num_target_parameters} or None", num_target_parameters)
        if weight_chunk_dim is not None and hidden_dim is not None:
            checks.fail("hidden_dim", "only one of 'weight_chunk_dim' and 'hidden_dim'", "both")
        self.embedding_dim = checks.integer("embedding_dim", embedding_dim, 1)
        self.num_embeddings = checks.integer("num_embeddings", num_embeddings, 1)
        chunk = hidden_dim if weight_chunk_dim is None else weight_chunk_dim
        self.weight_chunk_dim = (
            get_weight_chunk_dims(self.num_target_parameters, num_embeddings)
            if chunk is None
            else checks.integer("weight_chunk_dim", chunk, 1)
        )
        self.custom_embedding_module = custom_embedding_module
        self.custom_weight_generator = custom_weight_generator
        self._embedding_module_constructor = embedding_module_constructor
        self._weight_generator_constructor = weight_generator_constructor
        self.setup()

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """As in any module, without the own values of the target network, which stay as they are."""
        fixed = {id(parameter) for parameter in self._target.parameters()}
        for name, parameter in super().named_parameters(prefix, recurse, remove_duplicate):
            if id(parameter) not in fixed:
                yield name, parameter

    def setup(self) -> None:
        """Make the two modules: the ones that were given, else those of the two methods that make them."""
        embedding_module, weight_generator = self.custom_embedding_module, self.custom_weight_generator
        self.embedding_module = self.make_embedding_module() if embedding_module is None else embedding_module
        self.weight_generator = self.make_weight_generator() if weight_generator is None else weight_generator

    def make_embedding_module(self) -> nn.Module:
        """What produces the embeddings, unless a module was given."""
        sizes = self.embedding_dim, self.num_embeddings
        return self._construct("embedding_module", self._embedding_module_constructor, sizes)

    def make_weight_generator(self) -> nn.Module:
        """What turns embeddings into weights, unless a module was given."""
        sizes = self.embedding_dim, self.weight_chunk_dim
        return self._construct("weight_generator", self._weight_generator_constructor, sizes)

    def _construct(self, part: str, constructor: Callable[..., nn.Module] | None, sizes: tuple[int, int]) -> nn.Module:
        if constructor is None:
            ways = f"make_{part} of a subclass, custom_{part} or {part}_constructor"
            raise NotImplementedError(f"{type(self).__name__}: expected {ways}, got none")
        return constructor(*sizes)

    @classmethod
    def from_target(
        cls,
        target_network: nn.Module,
        target_input_shape: Any = None,
        num_target_parameters: int | None = None,
        inputs: Any = None,
        **kwargs: Any,
    ) -> Any:
        """A hypernetwork for a target network.

        Args:
            target_network: The target network.
            target_input_shape: Shape of an input, with which lazy layers of the target network are made.
            num_target_parameters: See the class.
            inputs: An input, or a tuple of positional arguments, for the same purpose.
            **kwargs: Further arguments of the class.

        Raises:
            ValueError: If there are lazy layers but no input to make them with.
        """
        checks.instance("target_network", target_network, nn.Module)
        if any(is_lazy(parameter) for parameter in target_network.parameters()):
            if inputs is None and target_input_shape is None:
                checks.fail("inputs", "an input, since the target network has lazy layers", None)
            example = torch.zeros(target_input_shape) if inputs is None else inputs
            with torch.no_grad():
                target_network(*example if isinstance(example, tuple) else (example,))
        return cls(target_network=target_network, num_target_parameters=num_target_parameters, **kwargs)

    @property
    def target_network(self) -> nn.Module:
        """The target network, with its own initial weights."""
        return self._target.module

    @property
    def num_target_parameters(self) -> int:
        """Number of weights of the target network."""
        return self._target.num_params

    @property
    def target_weight_shapes(self) -> list[list[int]]:
        """Shapes of the target network's parameters in the order of ``named_parameters()``."""
        return self._target.param_shapes

    @property
    def device(self) -> torch.device:
        """Where the parameters of the hypernetwork are."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def generate_params(self, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Any]]:
        """Produce weights for the target network.

        Args:
            *args: Arguments of the embedding module; none for an ``nn.Embedding``.
            **kwargs: Likewise.

        Returns:
            The flat weights ``[num_target_parameters]``, with ``B`` sets of embeddings ``[B, num_target_parameters]``;
            and a dictionary with what they come from, under ``'embedding'``.

        Raises:
            ValueError: If the generator produces too few weights, or more than a surplus.
        """
        if isinstance(self.embedding_module, nn.Embedding):
            args = (torch.arange(self.num_embeddings, device=self.device), *args)
        embedding = self.embedding_module(*args, **kwargs)
        return self._flat_weights(embedding), {"embedding": embedding}

    def _flat_weights(self, embedding: Tensor) -> Tensor:
        """The weights from one set of embeddings ``[num_embeddings, embedding_dim]``, or several ``[B, ...]``.

        Where each of several embeddings gives enough for all weights, as those of ``B`` inputs do, it is a set.
        """
        generated = self.weight_generator(embedding)
        checks.tensor("weight_generator(...)", generated)
        chunks = (self.num_embeddings, self.weight_chunk_dim)
        whole = generated.dim() == 2 and generated.shape[1] >= self.num_target_parameters and generated.shape != chunks
        several = embedding.dim() == 3 or (whole and len(generated) > 1)
        return self._trim(generated.flatten(start_dim=1 if several else 0))

    def _trim(self, flat: Tensor) -> Tensor:
        """Drop the surplus, unless it cannot be one."""
        least = self.num_target_parameters
        most = max(2 * least - 1, self.num_embeddings * self.weight_chunk_dim)
        if flat.dim() not in (1, 2) or not least <= flat.shape[-1] <= most:
            wanted = f"shape (n,) or (B, n) with n = {least} (up to {most}, of which a surplus is dropped)"
            checks.fail("generated_params", wanted, tuple(flat.shape))
        return flat[..., :least]

    def target_forward(
        self, *args: Any, generated_params: Any, assert_parameter_shapes: bool = True, **kwargs: Any
    ) -> Any:
        """Evaluate the target network.

        Args:
            *args: Arguments of the target network.
            generated_params: Flat weights, or a list of tensors. With ``B`` sets (``[B, n]`` or
                ``[B, *shape]``) tensors among the arguments carry a leading ``B``, and so does the output.
            assert_parameter_shapes: Whether tensors in a list must have the shapes of the parameters; otherwise they
                are reshaped.
            **kwargs: Keyword arguments of the target network.

        Returns:
            What the target network returns.

        Raises:
            ValueError: If the weights do not fit.
        """
        shapes = self.target_weight_shapes
        if isinstance(generated_params, Tensor):
            generated_params = self._trim(generated_params)
            stacked = generated_params.dim() == 2
        else:
            checks.length("generated_params", generated_params, len(shapes))
            if not assert_parameter_shapes:
                generated_params = [value.reshape(s) for value, s in zip(generated_params, shapes, strict=True)]
            stacked = generated_params[0].dim() > len(shapes[0])
        evaluate = self._target.batched_forward if stacked else self._target.forward
        return evaluate(*args, weights=generated_params, **kwargs)

    def forward(
        self,
        *args: Any,
        generated_params: Any = None,
        has_aux: bool = False,
        assert_parameter_shapes: bool = True,
        generate_params_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Produce weights and evaluate the target network with them.

        Args:
            *args: Arguments of the target network.
            generated_params: Weights to use instead of new ones (:meth:`target_forward`).
            has_aux: Whether to return more than the output.
            assert_parameter_shapes: See :meth:`target_forward`.
            generate_params_kwargs: Arguments of :meth:`generate_params`.
            **kwargs: Keyword arguments of the target network.

        Returns:
            The output. With ``has_aux`` the output, the weights and the dictionary that came with them (empty for given
            weights); with the early interface otherwise the output and the weights.
        """
        aux: dict[str, Any] = {}
        if generated_params is None:
            generated_params, aux = self.generate_params(**(generate_params_kwargs or {}))
        output = self.target_forward(
            *args, generated_params=generated_params, assert_parameter_shapes=assert_parameter_shapes, **kwargs
        )
        if has_aux:
            return output, generated_params, aux
        return output if self._embedding_module_constructor is None else (output, generated_params)

    @staticmethod
    def count_params(module: nn.Module) -> int:
        """See :func:`hypnettorch.compat.hypernn.torch.utils.count_params`."""
        return count_params(module)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters to a file."""
        safe_files.save(path, self.state_dict())

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read the parameters from a file that :meth:`save` wrote; nothing in it is executed."""
        self.load_state_dict(safe_files.load(path, self.device))
