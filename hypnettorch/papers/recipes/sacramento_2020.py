"""Economical ensembles with hypernetworks: what they cost, and what small ones know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hypnettorch.data.task_sequences import build_task_sequence
from hypnettorch.examples.ensembles import count_parameters, generated_ensemble, generator, main_network
from hypnettorch.examples.hypercl.tasks import Task
from hypnettorch.hnets.structured_mlp_hnet import StructuredHMLP
from hypnettorch.mnets.wide_resnet import WRN
from hypnettorch.papers.recipe import Job, Paper, Published, Recipe, Settings
from hypnettorch.utils.environment import seed_all

PAPER = Paper(
    key="sacramento2020",
    citation="J. Sacramento, J. von Oswald, C. Henning, B. F. Grewe, *Economical ensembles with hypernetworks*, 2020",
    link="https://arxiv.org/abs/2007.12927",
    claim="Ten members of an ensemble of wide residual networks, whose convolutions one linear hypernetwork generates "
    "from small embeddings, take little more parameters than one network.",
    equation=r"W_{k,c} = H_{g(c)} \, e_{k,c}, \qquad k = 1 \dots K \text{ members, chunks } c",
)

RELEASED = "released implementation, default chunks"


def count(job: Job) -> dict[str, float]:
    """Numbers of parameters of WRN-28-10 and of ensembles of it; nothing is allocated."""
    generated, whole, *_, own, _ = count_parameters(job.settings["members"])
    with torch.device("meta"):
        network = main_network()
        chunked, vertical = generator(network), generator(network, vertical=True)
    return {
        "WRN-28-10": network.num_params,
        "hypernetwork, all members": generated.total,
        "shared by members": generated.shared,
        "of single members": generated.own,
        "batch norm and output layers of ten members": own.own,
        "ensemble without generator": own.total,
        "ensemble": whole.total,
        "ensemble, shared": whole.shared,
        "ensemble, of single members": whole.own,
        "chunks": chunked.num_chunks,
        "generators": len(chunked.internal_hnets),
        "outputs of generators": _outputs(chunked),
        "vertical chunks": vertical.num_chunks,
        "outputs of generators, vertical chunks": _outputs(vertical),
    }


def _outputs(hnet: StructuredHMLP) -> int:
    """Numbers that all generators make together."""
    return sum(inner.num_outputs for inner in hnet.internal_hnets)


def small_network(in_shape: Sequence[int], external: bool) -> WRN:
    """A wide residual network of one block per group that normalises by the batch it sees."""
    options: dict[str, Any] = {"n": 1, "k": 1, "use_bias": False, "use_fc_bias": True, "bn_track_stats": False}
    return WRN(in_shape, 10, no_weights=external, verbose=False, **options)


def compare(job: Job) -> dict[str, float]:
    """Accuracies of members of an ensemble that one hypernetwork generates, and of as many separate networks."""
    settings = job.settings
    members = settings["members"]
    seed_all(job.seed)
    data = build_task_sequence(settings["data"], job.data_dir, num_tasks=1, num_classes_per_task=10, seed=job.seed)
    task = Task(0, data[0], torch.device("cpu"))
    networks = [small_network(task.data.in_shape, external=False) for _ in range(members)]
    net = small_network(task.data.in_shape, external=True)
    ensemble = generated_ensemble(net, members, embedding_sizes=settings["embedding_size"])
    ensemble.apply_calibrated_init(net)
    parameters = [parameter for network in networks for parameter in network.parameters()]

    def of_networks(x: Tensor) -> Tensor:
        return torch.stack([network(x) for network in networks])

    def of_members(x: Tensor) -> Tensor:
        weights = ensemble(cond_id=list(range(members)), ret_format="stacked")
        logits: Tensor = net.batched_forward(x, weights, share_input=True)
        return logits

    separate = _train_and_test(of_networks, parameters, task, settings)
    generated = _train_and_test(of_members, list(ensemble.parameters()), task, settings)
    return {
        "accuracy, single networks": separate[0],
        "accuracy, all networks": separate[1],
        "accuracy, single members": generated[0],
        "accuracy, all members": generated[1],
        "parameters, all members / network": ensemble.num_params / net.num_params,
    }


def _train_and_test(
    logits_of: Callable[[Tensor], Tensor], parameters: Sequence[Tensor], task: Task, settings: Settings
) -> tuple[float, float]:
    """Train, and return the mean accuracy of single predictors and that of their mean probabilities."""
    optimizer = torch.optim.Adam(parameters, lr=settings["lr"])
    for _ in range(settings["n_iter"]):
        batch = task.train_batch(settings["batch_size"])
        logits = logits_of(batch.inputs)
        loss = functional.cross_entropy(logits.flatten(0, 1), batch.labels.repeat(len(logits)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    single, together, number = 0.0, 0.0, 0
    for batch in task.epoch("test", settings["test_batch_size"]):
        with torch.no_grad():
            probabilities = logits_of(batch.inputs).softmax(-1)
        single += float((probabilities.argmax(-1) == batch.labels).float().mean(0).sum())
        together += float((probabilities.mean(0).argmax(-1) == batch.labels).sum())
        number += len(batch.labels)
    return 100 * single / number, 100 * together / number


def exact(figure: str, value: int) -> Published:
    """A count."""
    return Published(figure, value, tolerance=0, better=0, source=RELEASED)


RECIPES: list[Recipe] = [
    Recipe(
        paper=PAPER,
        part="parameters",
        title="Parameters of ten members of WRN-28-10",
        settings={"members": 10},
        method=count,
        published=(
            exact("WRN-28-10", 36_479_194),
            exact("hypernetwork, all members", 37_462_680),
            exact("shared by members", 37_457_120),
            exact("of single members", 5_560),
            exact("batch norm and output layers of ten members", 243_620),
            exact("ensemble without generator", 36_698_452),
            exact("ensemble", 37_544_732),
            exact("ensemble, shared", 37_475_072),
            exact("ensemble, of single members", 69_660),
            exact("generators", 8),
            exact("chunks", 42),
            exact("outputs of generators", 2_816_432),
            exact("vertical chunks", 49),
            exact("outputs of generators, vertical chunks", 2_701_232),
        ),
    ),
    Recipe(
        paper=PAPER,
        part="members",
        title="Four members of a small wide residual network on MNIST, generated and separate",
        settings={
            "data": "splitmnist",
            "members": 4,
            "embedding_size": 8,
            "n_iter": 500,
            "batch_size": 32,
            "test_batch_size": 500,
            "lr": 2e-3,
        },
        method=compare,
        published=(),
        also=(
            "accuracy, single networks",
            "accuracy, all networks",
            "accuracy, single members",
            "accuracy, all members",
            "parameters, all members / network",
        ),
        quick={"data": "splitdigits", "members": 2, "n_iter": 2},
        minutes=5,
        data="MNIST",
        remarks="The paper has larger networks and images of CIFAR. Networks have 78 thousand weights here, and "
        "normalise by the batch that they see. All members learn from the start, with the same batches.",
    ),
]
