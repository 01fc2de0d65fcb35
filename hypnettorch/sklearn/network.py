"""The network that turns a training set into the weights of a classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hypnettorch.common.extras import require
from hypnettorch.common.files import FileError, write_atomically
from hypnettorch.hnets import ChunkedHMLP, HResidual, HSetInput
from hypnettorch.sklearn.tables import WIDTH

UNITS = 256
"""Number of hidden units of a classifier."""

CONDITION = 64
"""Size of what is known of a training set."""

PURPOSE = "the weights of a classifier"

WEIGHTS = Path(__file__).with_name("weights.safetensors")


@dataclass(frozen=True)
class Classifier:
    """``scale · (relu(W [x, 1]) V + c)``, the logits of rows ``x``.

    Attributes:
        hidden: ``W``, ``[..., UNITS, WIDTH + 1]``.
        output: ``V``, ``[..., UNITS, C]``.
        intercept: ``c``, ``[..., 1, C]``.
        scale: A number.
    """

    hidden: Tensor
    output: Tensor
    intercept: Tensor
    scale: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Rows ``[..., n, WIDTH]`` to logits ``[..., n, C]``."""
        return self.scale * (features(x, self.hidden) @ self.output + self.intercept)


def features(x: Tensor, hidden: Tensor) -> Tensor:
    """The hidden units ``[..., n, UNITS]`` for rows ``[..., n, WIDTH]``."""
    return (x @ hidden[..., :-1].mT + hidden[..., None, :, -1]).relu() / math.sqrt(hidden.shape[-2])


class Encoder(nn.Module):
    """Encodes a row together with the mean of its class, so that nothing depends on how classes are called."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * WIDTH, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, size)
        )

    def forward(self, x: Tensor, centre: Tensor) -> Tensor:
        """Rows and centres ``[M, WIDTH]`` to ``[M, size]``."""
        encoded: Tensor = self.layers(torch.cat([x, centre], dim=-1))
        return encoded


class TrainingSetNetwork(nn.Module):
    """Generates the hidden layer for a training set, and solves for the output layer.

    The training set is the condition of a hypernetwork: a set of pairs of a row and the mean of its class. A chunk is
    what one hidden unit has, and the same small network makes all of them; what it makes is added to weights that all
    training sets share. The output layer is ridge regression onto classes, in closed form. So classes may be of any
    number and in any order, and gradients reach the hypernetwork through the solution.

    References:
        Bertinetto et al., "Meta-learning with differentiable closed-form solvers", ICLR 2019,
        https://arxiv.org/abs/1805.08136, section 3.2.
    """

    def __init__(self) -> None:
        super().__init__()
        units = ChunkedHMLP(
            [[UNITS, WIDTH + 1]],
            chunk_size=WIDTH + 1,
            chunk_emb_size=32,
            cond_in_size=CONDITION,
            layers=(128,),
            num_cond_embs=0,
            verbose=False,
        )
        self.hnet = HResidual(HSetInput(units, Encoder(CONDITION), verbose=False), verbose=False)
        self.hnet.start_at_base()
        self.log_penalty = nn.Parameter(torch.tensor([0.0, 0.0]))  # of the logarithm of the number of rows
        self.log_scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor, targets: Tensor) -> Classifier:
        """The classifier of a training set, or of ``T`` of them.

        Args:
            x: Rows ``[n, WIDTH]`` or ``[T, n, WIDTH]``.
            targets: Their classes, one-hot, ``[n, C]`` or ``[T, n, C]``.
        """
        centres = targets.mT @ x / targets.sum(-2).unsqueeze(-1).clamp(min=1)
        (hidden,) = self.hnet(cond_input=(x, targets @ centres), ret_format="stacked")
        hidden = hidden.view(*x.shape[:-2], UNITS, WIDTH + 1)
        penalty = (self.log_penalty[0] + self.log_penalty[1] * math.log(x.shape[-2])).exp()
        output, intercept = ridge(features(x, hidden), targets, penalty)
        return Classifier(hidden, output, intercept, self.log_scale.exp())


def ridge(x: Tensor, y: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """Linear least squares with a penalty: ``V`` minimises ``|x V - y|² + penalty · |V|²`` around the means.

    Args:
        x: ``[..., n, k]``.
        y: ``[..., n, C]``.
        penalty: A number.

    Returns:
        ``V [..., k, C]`` and the intercept ``[..., 1, C]``, which has no penalty.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> weight, intercept = ridge(x, 3 * x + 1, torch.tensor(1e-6))
        >>> weight.round(decimals=3).item(), intercept.round(decimals=3).item()
        (3.0, 1.0)
    """
    mean_x, mean_y = x.mean(-2, keepdim=True), y.mean(-2, keepdim=True)
    x, y = x - mean_x, y - mean_y
    if x.shape[-2] < x.shape[-1]:  # (xᵀ x + p)⁻¹ xᵀ = xᵀ (x xᵀ + p)⁻¹
        weight = x.mT @ _solve(x @ x.mT, penalty, y)
    else:
        weight = _solve(x.mT @ x, penalty, x.mT @ y)
    return weight, mean_y - mean_x @ weight


def _solve(gram: Tensor, penalty: Tensor, y: Tensor) -> Tensor:
    """``(gram + penalty)⁻¹ y``."""
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return torch.cholesky_solve(y, torch.linalg.cholesky(gram + penalty * identity))


def save(network: TrainingSetNetwork, path: Path) -> None:
    """Write the parameters of a network, in half precision."""
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in network.state_dict().items()}
    content = require("safetensors.torch", PURPOSE, "sklearn").save(tensors)
    write_atomically(path, lambda file: file.write(content))


def load(path: Path) -> TrainingSetNetwork:
    """A network with the parameters of a file, in double precision.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it holds something else.
    """
    damage = require("safetensors", PURPOSE, "sklearn").SafetensorError
    with torch.random.fork_rng(devices=[]):  # what is drawn is replaced
        network = TrainingSetNetwork().double()
    try:
        network.load_state_dict(require("safetensors.torch", PURPOSE, "sklearn").load(path.read_bytes()))
    except (damage, RuntimeError) as error:
        raise FileError(f"weights: expected a file of 'hypnettorch pretrain', got {path}: {error}") from error
    return network.eval()
