"""What both commands that train generators of adapters have in common: losses, training that can go on, results."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hypnettorch.adapters.factor_heads import Adapter, draw_lora
from hypnettorch.core.low_rank import Key, LowRank
from hypnettorch.examples.hypercl.errors import UsageError, shell
from hypnettorch.examples.hypercl.plots import new_figure, save
from hypnettorch.examples.hypercl.report import table
from hypnettorch.examples.language_models import LanguageModel
from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.utils import safe_files

OPTIONS, RESULTS, GENERATOR = "options.json", "results.json", "generator"
SMOKE_STEPS = 20
SAVE_EVERY = 25
"""After how many steps the state of a training is written."""


@dataclass(frozen=True)
class Options:
    """What a run is about; it is kept in its folder.

    Attributes:
        smoke: Whether a tiny random model is used, to see that the command works.
        steps: Steps of training of the generator.
        seed: Of all that is drawn.
    """

    smoke: bool = False
    steps: int = 400
    seed: int = 0


@dataclass(frozen=True)
class Query:
    """A question to a model with the adapter of a condition.

    Attributes:
        condition: What the adapter is made from.
        question: The question.
        answer: The right answer.
        context: What stands before all questions where a model answers from its context.
        solved: Questions with their answers that it then has answered already.
    """

    condition: Hashable
    question: str
    answer: str
    context: str
    solved: tuple[tuple[str, str], ...] = ()


FactorsOf = Callable[[Sequence[Any]], Adapter]
"""From conditions to their adapters, stacked."""


# ---------------------------------------------------------------------------------------------------- questions


def answer_logits(
    model: LanguageModel, queries: Sequence[Query], factors_of: FactorsOf | None, in_context: bool = False
) -> tuple[Tensor, Tensor]:
    """Logits ``[M, V]`` of all tokens of the right answers, each after the right ones before it, and these tokens.

    Args:
        model: The model.
        queries: The questions, each with the adapter of its condition.
        factors_of: Makes adapters; ``None`` for the model itself.
        in_context: Whether the context stands before the question.
    """
    prompts = model.padded([_prompt(model, query, in_context) for query in queries], left=True)
    answers = model.padded([[*model.encode(query.answer), model.end] for query in queries])
    inputs = {name: torch.cat([prompts[name], answers[name]], dim=1) for name in prompts}
    length = answers["input_ids"].shape[1]
    arguments = {**inputs, "logits_to_keep": length + 1, "use_cache": False}
    if factors_of is None:
        logits = model.module(**arguments).logits
    else:
        conditions = list(dict.fromkeys(query.condition for query in queries))
        rows = [conditions.index(query.condition) for query in queries]
        with model.net.using(factors_of(conditions), sample_to_adapter=rows) as module:
            logits = module(**arguments).logits
    there = answers["attention_mask"].bool()
    return logits[:, :-1][there], answers["input_ids"][there]


def _prompt(model: LanguageModel, query: Query, in_context: bool) -> list[int]:
    """The ids of a question, in context with what comes before it in the conversation."""
    if not in_context:
        return model.encode(model.template.format(query.question))
    questions, answers = zip(*query.solved, (query.question, ""), strict=True)
    texts = [model.template.format(text) for text in (f"{query.context}\n{questions[0]}", *questions[1:])]
    turns = [[*model.encode(f"{text}{answer}"), model.end] for text, answer in zip(texts, answers, strict=True)]
    return [i for turn in turns for i in turn][:-1]


def answer_loss(model: LanguageModel, queries: Sequence[Query], factors_of: FactorsOf) -> Tensor:
    """Mean cross-entropy of the tokens of the right answers."""
    return nn.functional.cross_entropy(*answer_logits(model, queries, factors_of))


@torch.no_grad()
def accuracy(
    model: LanguageModel,
    queries: Sequence[Query],
    factors_of: FactorsOf | None,
    in_context: bool = False,
    batch_size: int = 32,
) -> float:
    """How many per cent of the answers are right word for word.

    The answer that is most probable token by token is the right one just if each of its tokens, and then the end, is
    the most probable after those before it; so one evaluation tells.
    """
    right = 0
    for part in (queries[i : i + batch_size] for i in range(0, len(queries), batch_size)):
        logits, tokens = answer_logits(model, part, factors_of, in_context)
        sizes = [len(model.encode(query.answer)) + 1 for query in part]
        right += sum(bool(hits.all()) for hits in (logits.argmax(-1) == tokens).split(sizes))
    return 100 * right / len(queries)


class LoRATable(nn.Module):
    """Adapters that are parameters: one LoRA for each of some conditions, all trained in one run from one start.

    Args:
        shapes: Shapes of the adapted weights.
        count: Number of adapters.
        rank: Their rank.
        seed: Of their start.
    """

    def __init__(self, shapes: Mapping[Any, Sequence[int]], count: int, rank: int, seed: int) -> None:
        super().__init__()
        with seeded(seed):
            start = draw_lora(shapes, rank)
        self._keys: list[Key] = list(shapes)
        self.A = nn.ParameterList(start[key].A.repeat(count, 1, 1) for key in shapes)
        self.B = nn.ParameterList(start[key].B.repeat(count, 1, 1) for key in shapes)

    def forward(self, ids: Sequence[int], ids_of_B: Sequence[int] | None = None) -> dict[Key, LowRank]:
        """The adapters of some conditions, stacked; ``B`` may be that of other ones."""
        pairs, others = zip(self._keys, self.A, self.B, strict=True), ids if ids_of_B is None else ids_of_B
        return {key: LowRank(A[list(ids)], B[list(others)]) for key, A, B in pairs}

    def adapter(self, number: int) -> dict[Key, LowRank]:
        """One adapter as it is, not to be trained."""
        return {key: LowRank(A[0].detach(), B[0].detach()) for key, (A, B) in self([number]).items()}

    def mean(self, ids: Sequence[int]) -> dict[Key, LowRank]:
        """The mean of the factors of some conditions."""
        return {key: LowRank(A.detach().mean(0), B.detach().mean(0)) for key, (A, B) in self(ids).items()}


# ---------------------------------------------------------------------------------------------------- training


def train(
    folder: Path,
    name: str,
    module: nn.Module,
    loss_of: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    heads: float = 1.0,
) -> list[float]:
    """Train a module, or go on where the training in a folder ended.

    Every step begins with a seed of its own, so that a training that was interrupted is the same as one that was not.

    Args:
        folder: The folder of the run.
        name: The training; its state is ``<name>.pt``.
        module: What is trained.
        loss_of: From the number of a step to its loss.
        steps: Number of steps.
        learning_rate: Of Adam; it rises within a twentieth of the steps and falls to 0 at the end.
        heads: How much of it the heads of a generator have. Each of their outputs is a sum over all hidden units, so
            that it changes fast.

    Returns:
        The loss of each step.
    """
    file, losses = folder / f"{name}.pt", []
    parts: dict[float, list[nn.Parameter]] = {}
    for key, parameter in module.named_parameters():
        is_head = "heads." in key and key.endswith(".linear.weight")
        parts.setdefault(learning_rate * (heads if is_head else 1), []).append(parameter)
    optimizer = torch.optim.AdamW([{"params": part, "lr": rate} for rate, part in parts.items()], weight_decay=0.0)
    if file.is_file():
        state = safe_files.load(file)
        losses = state["losses"]
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
    begun, first = time.monotonic(), len(losses)
    module.train()
    for step in range(first, steps):
        for group, rate in zip(optimizer.param_groups, parts, strict=True):
            group["lr"] = rate * min(20 * (step + 1) / steps, 1, 1.05 * (1 - step / steps))
        with seeded(step):
            loss = loss_of(step)
            optimizer.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        done = step + 1
        if done % SAVE_EVERY == 0 or done == steps:
            content = {"losses": losses, "module": module.state_dict(), "optimizer": optimizer.state_dict()}
            safe_files.save(file, content)
            left = (time.monotonic() - begun) / (done - first) * (steps - done) / 60
            mean = sum(losses[-SAVE_EVERY:]) / len(losses[-SAVE_EVERY:])
            print(f"{name}: step {done}/{steps}, loss {mean:.3f}, {left:.0f} min left", flush=True)
    module.eval()
    return losses


# ---------------------------------------------------------------------------------------------------- runs


class Action(NamedTuple):
    """What a command does with a trained generator.

    Attributes:
        name: What it is called: the first argument of the command.
        text: The name of a text that it needs, the second argument.
        option: The option with a path that it needs.
        help: What is said about this option.
        run: Called with the folder of the run, the text and the path.
    """

    name: str
    text: str
    option: str
    help: str
    run: Callable[[Path, str, Path], None]


def main(
    argv: Sequence[str] | None,
    module: str,
    summary: str,
    steps: int,
    train: Callable[[Path, Options], None],
    action: Action,
) -> None:
    """The command line of both.

    Args:
        argv: Arguments; by default those of the program.
        module: The name of the module of the command.
        summary: What it is about.
        steps: Default number of steps of training.
        train: Called with the folder of the run and its options: trains and evaluates, or goes on.
        action: What else it does.
    """
    parser = argparse.ArgumentParser(prog=f"python -m hypnettorch.examples.{module}", description=summary)
    parser.add_argument("action", nargs="?", choices=("train", action.name), default="train", help="[train]")
    parser.add_argument("text", nargs="?", metavar=action.text, help=f"{action.name}: the {action.text}")
    parser.add_argument(action.option, dest="path", type=Path, help=f"{action.name}: {action.help}")
    parser.add_argument("--run", type=Path, default=Path("out") / module, help="folder of the run [%(default)s]")
    parser.add_argument("--steps", type=int, help=f"steps of training [{steps}; {SMOKE_STEPS} with --smoke]")
    parser.add_argument("--seed", type=int, default=Options.seed, help="of all that is drawn [%(default)s]")
    parser.add_argument("--smoke", action="store_true", help="a tiny random model, to see that the command works")
    given = parser.parse_intermixed_args(argv)  # options may stand between what has no name
    with shell(parser.prog, "; the same command goes on"):
        if given.steps is not None and given.steps < 1:
            raise UsageError(f"--steps: expected at least 1, got {given.steps}")
        if given.action == "train":
            train(given.run, Options(given.smoke, given.steps or (SMOKE_STEPS if given.smoke else steps), given.seed))
        elif not given.text or not given.path:
            raise UsageError(f"{action.name}: expected a {action.text} and {action.option} PATH")
        else:
            action.run(given.run, given.text, given.path)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, what torch draws depends on a number only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def begin(folder: Path, options: Options) -> None:
    """Make the folder of a run, or go on in it.

    Raises:
        UsageError: If a run with other options is in it.
    """
    if (folder / OPTIONS).is_file() and (found := options_of(folder)) != options:
        raise UsageError(f"--run: a run with other options is in '{folder}' ({found}); choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    safe_files.write_json(folder / OPTIONS, asdict(options))


def options_of(folder: Path) -> Options:
    """The options of the run in a folder.

    Raises:
        UsageError: If there is none.
    """
    try:
        return Options(**json.loads((folder / OPTIONS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"--run: no run of this command is in '{folder}'; train one first ({error})") from error


def load_generator(folder: Path, model: LanguageModel) -> Any:
    """The trained hypernetwork in the folder of a run.

    Raises:
        UsageError: If the run has not been trained to its end, or beside another model.
    """
    try:
        return HyperNetwork.from_pretrained(folder / GENERATOR, base=model.net)
    except (OSError, ValueError) as error:
        raise UsageError(f"--run: no trained generator for {model.name} is in '{folder}' ({error})") from error


def write_results(
    folder: Path,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[float | None]],
    losses: Mapping[str, list[float]],
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write and print the table of results, and draw it where matplotlib is installed.

    Args:
        folder: The folder of the run.
        columns: What was asked.
        rows: For each method how many per cent of the answers are right; ``None`` where it has no say.
        losses: The losses of each training.
        details: What else the file is to contain.
    """
    content = {"columns": columns, "accuracy": rows, **(details or {}), "losses": losses}
    safe_files.write_json(folder / RESULTS, content)
    shown = [[name, *("–" if value is None else f"{value:.1f}" for value in values)] for name, values in rows.items()]
    print(table([["answers right (%)", *columns], *shown]))
    try:
        figure, axes = new_figure()
    except ImportError as error:
        print(error)
        return
    for name, curve in losses.items():
        axes.plot(torch.tensor(curve).unfold(0, min(SAVE_EVERY, len(curve)), 1).mean(1), label=name)
    axes.set(xlabel="step", ylabel=f"loss (mean of {SAVE_EVERY} steps)")
    axes.legend()
    save(figure, folder / "losses.png")
    figure, axes = new_figure()
    width = 0.8 / len(rows)
    for i, (name, values) in enumerate(rows.items()):
        places = [(j + i * width, value) for j, value in enumerate(values) if value is not None]
        axes.bar(*zip(*places, strict=True), width=width, label=name)
    axes.set_xticks([j + 0.4 for j in range(len(columns))], [column.replace(" ", "\n") for column in columns])
    axes.set(ylabel="answers right (%)", ylim=(0, 100))
    axes.legend(fontsize=7, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    save(figure, folder / "accuracy.png")
    print(f"results and figures: {folder}")
