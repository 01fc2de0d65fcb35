"""HyperNetworks: what static ones cost, and an LSTM with a dynamic one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypnettorch.examples.hyper_lstm import HyperLSTM
from hypnettorch.mnets.wide_resnet import WRN
from hypnettorch.papers.recipe import Job, Paper, Published, Recipe, Settings
from hypnettorch.utils.environment import seed_all

PAPER = Paper(
    key="ha2017",
    citation="D. Ha, A. M. Dai, Q. V. Le, *HyperNetworks*, ICLR 2017",
    link="https://arxiv.org/abs/1609.09106",
    claim="One small network generates the kernels of all layers of a deep convolutional network, each from an "
    "embedding of its own, with few parameters and little loss of accuracy.",
    equation=r"a_i = W_i z_j + b_i, \qquad K_{j,i} = W_{\mathrm{out}} \, a_i + b_{\mathrm{out}}, "
    r"\qquad i = 1 \dots N_{\mathrm{in}}",
)

UNIT = 16
"""Input and output channels of the kernel that is generated at once; larger ones are tiled."""
EMBEDDING = 64


def generator(embedding: int, channels_in: int, outputs: int) -> nn.ModuleList:
    """The two linear layers: one embedding to an embedding for each input channel, and that to a slice of the kernel.

    Args:
        embedding: Size ``N_z`` of an embedding, and of what the first layer makes for each input channel.
        channels_in: Input channels of the generated kernel.
        outputs: Size of its slice for one input channel.
    """
    return nn.ModuleList([nn.Linear(embedding, channels_in * embedding), nn.Linear(embedding, outputs)])


def size(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_wide_resnet(widening: int) -> dict[str, float]:
    """Parameters of WRN 40-k, and of the same with generated kernels, in which the first layer is not generated."""
    with torch.device("meta"):
        network = WRN(num_classes=10, n=6, k=widening, use_bias=False, use_fc_bias=True, no_weights=True, verbose=False)
        hypernetwork = size(generator(EMBEDDING, UNIT, UNIT * 3 * 3))
    kernels = [shape for shape in network.param_shapes if len(shape) == 4 and shape[2] == 3]
    shortcuts = [shape for shape in network.param_shapes if len(shape) == 4 and shape[2] == 1]
    others = kernels[1:]
    biases = sum(shape[0] for shape in kernels)
    whole = network.num_params - _count(shortcuts) + biases
    units = sum(math.ceil(shape[0] / UNIT) * math.ceil(shape[1] / UNIT) for shape in others)
    name = f"WRN 40-{widening}"
    return {
        name: whole,
        f"{name}, embeddings": units * EMBEDDING,
        f"{name}, generated": whole - _count(others) + hypernetwork + units * EMBEDDING,
        "generator": hypernetwork,
    }


def _count(shapes: Sequence[Sequence[int]]) -> int:
    return sum(math.prod(shape) for shape in shapes)


def count(job: Job) -> dict[str, float]:
    """All counts; nothing is allocated."""
    embedding, channels, kernel = job.settings["mnist"]
    with torch.device("meta"):
        mnist = size(generator(embedding, channels, channels * kernel**2))
    return {
        **count_wide_resnet(1),
        **count_wide_resnet(2),
        "MNIST, generator": mnist,
        "MNIST, generated kernel": channels**2 * kernel**2,
    }


def rounded(figure: str, value: float) -> Published:
    """A count in thousands, which may have been rounded or cut off."""
    return Published(figure, value, tolerance=1000, better=0, source="the table on CIFAR-10")


def exact(figure: str, value: float, source: str) -> Published:
    """A count in full."""
    return Published(figure, value, tolerance=0, better=0, source=source)


CLAIM = "a statement: scaled rows improve on an LSTM of the same size"


class CharacterModel(nn.Module):
    """Logits of the next character after each character of a text.

    Args:
        core: Makes states ``[T, N, size]`` of a sequence of one-hot characters.
        size: Number of units.
        alphabet: Number of characters.
    """

    def __init__(self, core: nn.Module, size: int, alphabet: int) -> None:
        super().__init__()
        self.core = core
        self.output = nn.Linear(size, alphabet)
        self._alphabet = alphabet

    def forward(self, text: Tensor) -> Tensor:
        """``[T, N]`` to ``[T, N, alphabet]``."""
        states = self.core(functional.one_hot(text, self._alphabet).float())
        logits: Tensor = self.output(states[0] if isinstance(states, tuple) else states)
        return logits

    def bits(self, text: Tensor) -> Tensor:
        """Mean number of bits for a character of ``text`` ``[T, N]`` but the first, given those before it."""
        logits = self(text[:-1])
        return functional.cross_entropy(logits.flatten(0, 1), text[1:].flatten()) / math.log(2)


def read_text() -> tuple[Tensor, int]:
    """A text of half a million characters that comes with Python, as numbers, and the size of its alphabet."""
    text = "".join(topics[name] for name in sorted(topics))
    alphabet = sorted(set(text))
    numbers = {character: number for number, character in enumerate(alphabet)}
    return torch.tensor([numbers[character] for character in text]), len(alphabet)


def read_and_predict(job: Job) -> dict[str, float]:
    """Bits for a character of the last tenth of the text, after training on what comes before."""
    settings = job.settings
    text, alphabet = read_text()
    units = settings["units"]
    sizes = (alphabet, units, settings["hyper_units"], settings["signal_size"])
    larger = _units_for(size(HyperLSTM(*sizes)), alphabet)
    models: dict[str, Callable[[], CharacterModel]] = {
        "LSTM": lambda: CharacterModel(nn.LSTM(alphabet, units), units, alphabet),
        "LSTM with as many parameters": lambda: CharacterModel(nn.LSTM(alphabet, larger), larger, alphabet),
        "HyperLSTM": lambda: CharacterModel(HyperLSTM(*sizes), units, alphabet),
    }
    figures = {}
    for name, make in models.items():
        seed_all(job.seed)
        model = make()
        _learn(model, text[: -len(text) // 10], settings)
        held_out = text[-len(text) // 10 :]
        columns = held_out[: len(held_out) // settings["steps"] * settings["steps"]].view(-1, settings["steps"]).T
        with torch.no_grad():
            figures[f"bits, {name}"] = float(model.bits(columns[:, : settings["held_out"]]))
    figures["bits, LSTM / HyperLSTM"] = figures["bits, LSTM"] / figures["bits, HyperLSTM"]
    return figures


def _units_for(parameters: int, n_in: int) -> int:
    """The size of an LSTM with about as many parameters: ``4 n (n_in + n + 2)``."""
    half = (n_in + 2) / 2
    return round(math.sqrt(half**2 + parameters / 4) - half)


def _learn(model: CharacterModel, text: Tensor, settings: Settings) -> None:
    """Train on random pieces of a text."""
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])
    offsets = torch.arange(settings["steps"]).unsqueeze(1)
    for _ in range(settings["n_iter"]):
        starts = torch.randint(len(text) - settings["steps"], (settings["batch_size"],))
        loss = model.bits(text[offsets + starts])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


RECIPES = [
    Recipe(
        paper=PAPER,
        part="parameters",
        title="Parameters of wide residual networks and of a convolution on MNIST",
        settings={"mnist": [4, 16, 7]},
        method=count,
        published=(
            rounded("WRN 40-1", 563_000),
            rounded("WRN 40-2", 2_236_000),
            rounded("WRN 40-1, generated", 97_000),
            rounded("WRN 40-2, generated", 148_000),
            exact("MNIST, generator", 4_240, "the experiment on MNIST"),
            exact("MNIST, generated kernel", 12_544, "the experiment on MNIST"),
        ),
        remarks="The published counts come out if convolutions have biases and shortcuts have no weights, in both "
        "kinds of networks. The generator has 75,920 parameters.",
    ),
    Recipe(
        paper=PAPER,
        part="characters",
        title="Characters of a text, HyperLSTM beside LSTM",
        settings={
            "units": 128,
            "hyper_units": 32,
            "signal_size": 4,
            "steps": 50,
            "batch_size": 32,
            "n_iter": 600,
            "lr": 3e-3,
            "held_out": 200,
        },
        method=read_and_predict,
        published=(Published("bits, LSTM / HyperLSTM", 1, tolerance=0, better=1, source=CLAIM),),
        also=("bits, LSTM", "bits, LSTM with as many parameters", "bits, HyperLSTM"),
        quick={"units": 8, "hyper_units": 4, "n_iter": 2, "batch_size": 2, "held_out": 2},
        seeds=3,
        minutes=4,
        remarks="Published as a statement on other texts, of which the verdict is *better* where it holds. Python's "
        "own help is read (``pydoc_data.topics``), which differs a little between versions.",
    ),
]
