"""From options to a running experiment: networks, devices, folders, seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from hypnettorch.core import checks
from hypnettorch.mnets.network import Network
from hypnettorch.utils.command_line.expressions import trusting
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS, Shapes
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS, sample_shapes
from hypnettorch.utils.command_line.options import names
from hypnettorch.utils.command_line.wrappers import Request, parse_wrappers, wrap
from hypnettorch.utils.environment import setup_environment

__all__ = ["calc_train_iter", "get_hypernet", "get_mnet_model", "setup_environment"]


def get_mnet_model(
    config: Any,
    net_type: str,
    in_shape: Sequence[int] | Mapping[str, Sequence[int]],
    out_shape: Sequence[int] | Mapping[str, Sequence[int]],
    device: torch.device | str,
    cprefix: str | None = None,
    no_weights: bool = False,
    **mnet_kwargs: Any,
) -> Any:
    """A main network from the options of :func:`hypnettorch.utils.cli_args.main_net_args`.

    Args:
        config: Options as attributes. What an option would determine is the network's own default where it is missing.
        net_type: A name in :data:`hypnettorch.utils.command_line.main_networks.MAIN_NETWORKS`.
        in_shape: Shape of an input: ``[height, width, channels]`` for convolutional networks, ``[size]`` (of a time
            step) for recurrent ones, any for the others, which see it as a vector. A ``module`` knows its own shapes;
            the networks of a ``multi`` have the same, or a dictionary gives them by their names.
        out_shape: Shape of an output, ``[size]``; see ``in_shape``.
        device: Where its parameters go.
        cprefix: Begins the names of all options. Those of the networks of a ``multi`` begin with ``<name>_`` after it.
        no_weights: Whether all parameters are external. A ``module`` and a ``multi`` have to get weights from outside.
        **mnet_kwargs: Further arguments of the network; they win over options.

    Raises:
        ValueError: If there is no such network, or an option makes no sense for it.

    Example:
        >>> from argparse import Namespace
        >>> net = get_mnet_model(Namespace(mlp_arch="8", net_act="linear"), "mlp", [4], [2], "cpu", verbose=False)
        >>> net.param_shapes
        [[8, 4], [8], [2, 8], [2]]
    """
    checks.one_of("net_type", net_type, MAIN_NETWORKS)
    kind, prefix = MAIN_NETWORKS[net_type], cprefix or ""
    with trusting(_trusted_by(config)):
        arguments = {**sample_shapes(kind, in_shape, out_shape), **kind.read(config, prefix), **mnet_kwargs}
    if net_type == "multi":
        parts = arguments.get("nets", ())
        arguments["nets"] = {name: _part_of_multi(config, device, prefix, in_shape, out_shape, name) for name in parts}
    if "no_weights" in kind.arguments:
        return kind.make(**{"no_weights": no_weights, **arguments}).to(device)
    if not no_weights:
        expected = f"True for a {kind.make.__name__}, which takes weights from outside"
        checks.fail("no_weights", expected, no_weights)
    verbose = arguments.pop("verbose", True)
    net = kind.make(**arguments)
    if verbose:
        print(net)
    return net.to(device)


def _trusted_by(config: Any) -> list[str]:
    """The packages that the user trusts besides the usual ones."""
    return names("--trust_module", getattr(config, "trust_module", ""))


def _part_of_multi(
    config: Any, device: torch.device | str, prefix: str, in_shape: Any, out_shape: Any, name: str
) -> Network:
    prefix = f"{prefix}{name}_"
    net_type = _type_of_part(config, prefix, "net_type")
    shapes = _shape_of("in_shape", in_shape, name), _shape_of("out_shape", out_shape, name)
    part: Network = get_mnet_model(config, net_type, *shapes, device, prefix, no_weights=True, verbose=False)
    return part


def _type_of_part(config: Any, prefix: str, option: str) -> str:
    """The kind of a network that is a part of another one."""
    found = getattr(config, prefix + option, None)
    if found is None:
        checks.fail(f"--{prefix}{option}", f"the kind of the part '{prefix.rstrip('_')}'", "no such option")
    return str(found)


def _shape_of(argument: str, shapes: Sequence[int] | Mapping[str, Sequence[int]], name: str) -> Sequence[int]:
    if not isinstance(shapes, Mapping):
        return shapes
    if name not in shapes:
        checks.fail(argument, f"an entry '{name}'", list(shapes))
    return shapes[name]


def get_hypernet(
    config: Any,
    device: torch.device | str,
    net_type: str,
    target_shapes: Shapes,
    num_conds: int,
    no_cond_weights: bool = False,
    no_uncond_weights: bool = False,
    uncond_in_size: int = 0,
    shmlp_chunk_shapes: Sequence[Shapes] | None = None,
    shmlp_num_per_chunk: Sequence[int] | None = None,
    shmlp_assembly_fct: Callable[..., Any] | None = None,
    verbose: bool = True,
    cprefix: str | None = None,
    mnet: Network | None = None,
) -> Any:
    """A hypernetwork from the options of :func:`hypnettorch.utils.cli_args.hnet_args`.

    Args:
        config: Options as attributes. Where ``cond_emb_size`` is missing, conditions have no embeddings; what another
            option would determine is the hypernetwork's own default.
        device: Where its parameters go.
        net_type: A name in :data:`hypnettorch.utils.command_line.hypernetworks.HYPERNETWORKS`.
        target_shapes: Shapes of the tensors to produce.
        num_conds: Number of conditions that it knows by id.
        no_cond_weights: Whether parameters of single conditions are external.
        no_uncond_weights: Whether the parameters that all conditions share are external.
        uncond_in_size: Size of the unconditional input; of all hypernetworks in a ``container``.
        shmlp_chunk_shapes: ``chunk_shapes`` of a ``structured_hmlp``.
        shmlp_num_per_chunk: ``num_per_chunk`` of a ``structured_hmlp``.
        shmlp_assembly_fct: ``assembly_fct`` of a ``structured_hmlp``. Without these three it is chunked by
            :mod:`hypnettorch.hnets.structured_hmlp_examples`.
        verbose: Whether to print a line about the network.
        cprefix: Begins the names of all options. Those of a hypernetwork in a ``container`` begin with the name of its
            part and ``_`` after it.
        mnet: The main network. A ``structured_hmlp`` may need it, a ``container`` knows from it what its targets are,
            and wrappers that keep weights draw these by its layers.

    Raises:
        ValueError: If there is no such hypernetwork, or an option makes no sense for it.

    Example:
        >>> from argparse import Namespace
        >>> config = Namespace(hmlp_arch="10,10", cond_emb_size=4)
        >>> hnet = get_hypernet(config, "cpu", "hmlp", [[2, 4], [2]], num_conds=3, verbose=False)
        >>> hnet.num_known_conds, hnet.param_shapes[:4]
        (3, [[4], [4], [4], [10, 4]])
    """
    checks.one_of("net_type", net_type, HYPERNETWORKS)
    prefix = cprefix or ""
    option = f"{prefix}hnet_wrappers"
    wrappers = parse_wrappers(f"--{option}", getattr(config, option, ""))
    if wrappers and no_uncond_weights:
        checks.fail("no_uncond_weights", f"False with --{option}: wrappers keep their parameters", True)
    kind = HYPERNETWORKS[net_type]
    with trusting(_trusted_by(config)):
        arguments = kind.read(config, prefix)
        wrapped = [(wrapper, wrapper.read(config, prefix)) for wrapper in wrappers]
    if "cond_emb_size" in kind.options:
        arguments.setdefault("cond_in_size", 0)
    given = {
        "chunk_shapes": shmlp_chunk_shapes,
        "num_per_chunk": shmlp_num_per_chunk,
        "assembly_fct": shmlp_assembly_fct,
        "make_part": partial(_part_of_container, config, device, prefix),
        "mnet": mnet,
    }
    arguments |= kind.of_program(given)

    def make(request: Request) -> Any:
        return kind.make(
            target_shapes=request.target_shapes,
            num_cond_embs=request.num_cond_embs,
            no_cond_weights=request.no_cond_weights,
            no_uncond_weights=no_uncond_weights,
            uncond_in_size=request.uncond_in_size,
            verbose=False,
            **arguments,
        )

    request = Request(target_shapes, num_conds, no_cond_weights, uncond_in_size, mnet)
    hnet: Any = wrap(make, wrapped, request)
    if verbose:
        print(hnet)
    return hnet.to(device)


def _part_of_container(
    config: Any, device: torch.device | str, prefix: str, name: str, target_shapes: Shapes, **kwargs: Any
) -> Any:
    prefix = f"{prefix}{name}_"
    net_type, num_conds = _type_of_part(config, prefix, "hnet_type"), kwargs.pop("num_cond_embs")
    return get_hypernet(config, device, net_type, target_shapes, num_conds, cprefix=prefix, verbose=False, **kwargs)


def calc_train_iter(num_train_samples: int, batch_size: int, num_iter: int = -1, epochs: int = -1) -> tuple[int, int]:
    """The number of training steps.

    Args:
        num_train_samples: Number of training samples.
        batch_size: Samples per step.
        num_iter: Number of steps; has no effect with ``epochs``.
        epochs: Number of epochs; -1 for none.

    Returns:
        The number of steps in all and, with ``epochs``, per epoch (-1 otherwise). The last step of an epoch may have
        fewer samples.

    Raises:
        ValueError: If a number is out of range, or neither of the last two is given.

    Example:
        >>> calc_train_iter(100, 32, epochs=3), calc_train_iter(100, 32, num_iter=7)
        ((12, 4), (7, -1))
    """
    if epochs != -1:
        checks.integer("epochs", epochs, 1)
        per_epoch = math.ceil(
            checks.integer("num_train_samples", num_train_samples, 1) / checks.integer("batch_size", batch_size, 1)
        )
        return epochs * per_epoch, per_epoch
    return checks.integer("num_iter", num_iter, 0), -1
