"""Adapters of a language model from descriptions of tasks, as in Text-to-LoRA.

All tasks have the same questions, three words, so that only an adapter (or an instruction) can tell what is wanted: the
first word, all words in reversed order, the one that is a fruit, … One hypernetwork
(:class:`~hypnettorch.adapters.text.HTextToLoRA`) reads the description of a task in a few words and makes the adapter.

``python -m hypnettorch.examples.text_to_lora`` trains and evaluates it, beside the model itself, instructions in the
prompt, one LoRA for all tasks and a LoRA for each. ``... make "Give the last word." --out DIR`` writes an adapter that
PEFT reads. ``--smoke`` does the same in seconds with a tiny random model, which learns nothing worth having.

References:
    Charakorn et al., "Text-to-LoRA", ICML 2025, https://arxiv.org/abs/2506.06105.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch

from hypnettorch.adapters.text import HTextToLoRA
from hypnettorch.adapters.training import Reconstruction
from hypnettorch.examples import adapter_runs as runs
from hypnettorch.examples.adapter_runs import Options, Query
from hypnettorch.examples.hypercl.report import table
from hypnettorch.examples.language_models import LanguageModel, smollm2, tiny
from hypnettorch.utils.peft_adapters import save_peft_adapter

ADAPTED = ["q_proj", "v_proj"]
RANK = 8
STEPS = 200
TASKS_OF_A_STEP, QUERIES_OF_A_TASK = 8, 2
RECONSTRUCTION_STEPS, DESCRIPTIONS_OF_A_STEP = 3, 16
"""How many times as many steps of reconstruction, which does not need the model, and the descriptions in each."""

TESTS = 20
"""Questions per task of an evaluation."""

ANIMALS = [
    "cat",
    "dog",
    "horse",
    "cow",
    "sheep",
    "lion",
    "tiger",
    "bear",
    "wolf",
    "fox",
    "rabbit",
    "mouse",
    "duck",
    "goose",
    "frog",
    "snake",
    "eagle",
    "owl",
    "fish",
    "whale",
]
FRUITS = [
    "apple",
    "pear",
    "plum",
    "cherry",
    "grape",
    "lemon",
    "orange",
    "banana",
    "peach",
    "mango",
    "melon",
    "fig",
    "kiwi",
    "lime",
    "papaya",
    "apricot",
]
TOOLS = [
    "hammer",
    "saw",
    "drill",
    "wrench",
    "knife",
    "spoon",
    "needle",
    "brush",
    "rope",
    "ladder",
    "shovel",
    "broom",
    "pencil",
    "ruler",
    "scissors",
    "axe",
]

VERBS = ("Give", "Write", "Return", "Name", "Answer with", "Tell me")


class Task(NamedTuple):
    """What is to be done with three words.

    Attributes:
        phrases: What it is called after a verb; the last phrase is in no description for training.
        answer: From the words to the answer.
    """

    phrases: tuple[str, ...]
    answer: Callable[[list[str]], str]


def _one_of(kind: Sequence[str]) -> Callable[[list[str]], str]:
    return lambda words: next(word for word in words if word in kind)


TASKS = {
    "first": Task(
        (
            "the first word",
            "the word at the beginning",
            "the word that comes first",
            "the initial word",
            "the word that the list starts with",
            "the word in front of the others",
            "the opening word",
        ),
        lambda words: words[0],
    ),
    "last": Task(
        (
            "the last word",
            "the word at the end",
            "the word that comes last",
            "the closing word",
            "the word that the list ends with",
            "the word behind the others",
            "the final word",
        ),
        lambda words: words[-1],
    ),
    "reversed": Task(
        (
            "the words in reversed order",
            "the words backwards",
            "the words from last to first",
            "the list in reverse",
            "the words the other way round",
            "the list flipped back to front",
            "the list turned around",
        ),
        lambda words: " ".join(reversed(words)),
    ),
    "sorted": Task(
        (
            "the words in alphabetical order",
            "the words sorted by the alphabet",
            "the list ordered from A to Z",
            "the words in the order of a dictionary",
            "the list in alphabetic order",
            "the words arranged by their first letters",
            "the words sorted alphabetically",
        ),
        lambda words: " ".join(sorted(words)),
    ),
    "capitals": Task(
        (
            "the first word in capital letters",
            "the first word in upper case",
            "the first word with big letters",
            "the initial word in upper case letters",
            "the word at the beginning in capital letters",
            "the word that comes first, written big",
            "the opening word in capitals",
        ),
        lambda words: words[0].upper(),
    ),
    "twice": Task(
        (
            "the first word twice",
            "the first word two times",
            "the first word repeated",
            "the initial word twice",
            "the word at the beginning two times",
            "the word that comes first, and again",
            "the opening word doubled",
        ),
        lambda words: f"{words[0]} {words[0]}",
    ),
    "animal": Task(
        (
            "the animal",
            "the word for an animal",
            "the living creature among the words",
            "the name of an animal",
            "the animal in the list",
            "the beast",
            "the word that is an animal",
        ),
        _one_of(ANIMALS),
    ),
    "fruit": Task(
        (
            "the fruit",
            "the word for a fruit",
            "the word that one can eat as a fruit",
            "the name of a fruit",
            "the fruit in the list",
            "the thing that grows on a tree",
            "the word that is a fruit",
        ),
        _one_of(FRUITS),
    ),
    "without last": Task(
        (
            "all words but the last",
            "the words without the last one",
            "every word except the last",
            "the list up to the last word",
            "the words except for the one at the end",
            "all but the closing word",
            "the list without its final word",
        ),
        lambda words: " ".join(words[:-1]),
    ),
    "commas": Task(
        (
            "the words with commas between them",
            "the words separated by commas",
            "the list with commas",
            "the words divided by commas",
            "the list punctuated with commas",
            "all words, commas in between",
            "the words joined by commas",
        ),
        ", ".join,
    ),
    "tool": Task(
        ("the tool", "the word for a tool", "the thing to work with", "the word that is a tool"), _one_of(TOOLS)
    ),
    "middle": Task(
        ("the second word", "the word in the middle", "the word between the others", "the middle word"),
        lambda words: words[1],
    ),
}
"""Tasks by name; the last two are held out: no generator is trained on them."""

NAMES = list(TASKS)
TRAINED, HELD_OUT = range(len(TASKS) - 2), range(len(TASKS) - 2, len(TASKS))


class Described(NamedTuple):
    """A condition: the number of a task, and a description of it."""

    task: int
    text: str


def descriptions(task: int, new: bool) -> list[str]:
    """All descriptions of a task for training, or those that are new afterwards."""
    phrases = TASKS[NAMES[task]].phrases
    return [f"{verb} {phrase}." for phrase in (phrases[-1:] if new else phrases[:-1]) for verb in VERBS]


def draw_query(draws: random.Random, condition: Described) -> Query:
    """A question of a task; in context, the description and three solved questions come before it."""
    task = TASKS[NAMES[condition.task]]
    (question, answer), *solved = ((" ".join(words), task.answer(words)) for words in map(_three_words, [draws] * 4))
    return Query(condition, question, answer, condition.text, tuple(solved))


def _three_words(draws: random.Random) -> list[str]:
    words = [draws.choice(kind) for kind in (ANIMALS, FRUITS, TOOLS)]
    draws.shuffle(words)
    return words


def draw_queries(draws: random.Random, tasks: Sequence[int], new: bool, each: int) -> list[Query]:
    """Questions of some tasks, ``each`` of them for one description of each task."""
    found = []
    for task in tasks:
        condition = Described(task, draws.choice(descriptions(task, new)))
        found += [draw_query(draws, condition) for _ in range(each)]
    return found


def texts() -> Iterator[str]:
    """Texts with all words that occur."""
    yield from (*ANIMALS, *FRUITS, *TOOLS, *(word.upper() for word in (*ANIMALS, *FRUITS, *TOOLS)), ",")
    for task in range(len(TASKS)):
        yield from (*descriptions(task, False), *descriptions(task, True))


def language_model(options: Options) -> LanguageModel:
    """The model of a run."""
    return tiny(ADAPTED, texts()) if options.smoke else smollm2(ADAPTED)


class Adapters:
    """The adapters of a run: generated ones, one for each task, and one for all.

    Args:
        model: The model.
        seed: Of what is drawn at their start.
    """

    hnet: Any

    def __init__(self, model: LanguageModel, seed: int) -> None:
        self._model, self._seed = model, seed
        self._vector = cache(lambda text: model.embed([text])[0])
        self.own = runs.LoRATable(model.net.selected_shapes, len(TASKS), RANK, seed)
        self.shared = runs.LoRATable(model.net.selected_shapes, 1, RANK, seed)

    def make_generator(self) -> None:
        """A hypernetwork that starts at the mean of the LoRAs of the tasks, after these were trained."""
        size = len(self._vector("a description"))
        with runs.seeded(self._seed):
            self.hnet = HTextToLoRA(self._model.net, size, RANK, size=256, start=self.own.mean(TRAINED))

    def generated(self, conditions: Sequence[Described]) -> Any:
        """From their descriptions."""
        described = torch.stack([self._vector(condition.text) for condition in conditions])
        return self.hnet.factors(cond_input=described, ret_format="stacked")

    def of_tasks(self, conditions: Sequence[Described]) -> Any:
        """From the numbers of their tasks."""
        return self.own([condition.task for condition in conditions])

    def of_all(self, conditions: Sequence[Described]) -> Any:
        """One and the same."""
        return self.shared([0] * len(conditions))


def reconstruction(adapters: Adapters, seed: int) -> Callable[[int], torch.Tensor]:
    """What is generated from descriptions of some tasks is to be the LoRAs of these tasks.

    Args:
        adapters: The adapters; those of the tasks are as they are now.
        seed: Of the descriptions that are drawn.

    Returns:
        From the number of a step to its loss.
    """
    targets = Reconstruction([adapters.own.adapter(task) for task in TRAINED])

    def loss(step: int) -> torch.Tensor:
        draws = random.Random(f"{seed}, reconstruction {step}")
        tasks = draws.choices(TRAINED, k=DESCRIPTIONS_OF_A_STEP)
        described = [Described(task, draws.choice(descriptions(task, False))) for task in tasks]
        return targets.loss(adapters.generated(described), tasks)

    return loss


def train(folder: Path, options: Options) -> None:
    """Train all adapters, or go on, and evaluate them.

    The generator learns the LoRAs of the tasks first, which costs little, and then through the loss of the model.

    Args:
        folder: The folder of the run.
        options: What the run is about.
    """
    runs.begin(folder, options)
    model = language_model(options)
    adapters = Adapters(model, options.seed)

    def loss_with(factors_of: runs.FactorsOf, tasks: Sequence[int]) -> Callable[[int], torch.Tensor]:
        def loss(step: int) -> torch.Tensor:
            draws = random.Random(f"{options.seed}, step {step}")
            some = draws.sample(list(tasks), TASKS_OF_A_STEP)
            return runs.answer_loss(model, draw_queries(draws, some, False, QUERIES_OF_A_TASK), factors_of)

        return loss

    steps = options.steps
    all_tasks = loss_with(adapters.of_tasks, range(len(TASKS)))
    losses = {"LoRA per task": runs.train(folder, "per_task", adapters.own, all_tasks, steps, 4e-3)}
    adapters.make_generator()
    rebuilt = reconstruction(adapters, options.seed)
    runs.train(folder, "reconstruction", adapters.hnet, rebuilt, RECONSTRUCTION_STEPS * steps, 5e-4)
    losses["generator"] = runs.train(
        folder, "generator", adapters.hnet, loss_with(adapters.generated, TRAINED), steps, 2e-4
    )
    losses["shared LoRA"] = runs.train(
        folder, "shared", adapters.shared, loss_with(adapters.of_all, TRAINED), max(steps // 2, 1), 2e-3
    )
    adapters.hnet.save_pretrained(folder / runs.GENERATOR, base=model.net)
    evaluate(folder, model, adapters, losses)


def evaluate(folder: Path, model: LanguageModel, adapters: Adapters, losses: dict[str, list[float]]) -> None:
    """Ask all methods new questions of the tasks and write what came of it."""
    columns = ["known descriptions", "new descriptions", "held-out tasks"]
    seed, each = runs.options_of(folder).seed, 2 if runs.options_of(folder).smoke else TESTS

    def asked(tasks: Sequence[int], new: bool) -> dict[str, list[Query]]:
        draws = random.Random(f"{seed}, test")
        return {NAMES[task]: [draw_queries(draws, [task], new, 1)[0] for _ in range(each)] for task in tasks}

    questions = [asked(TRAINED, False), asked(TRAINED, True), asked(HELD_OUT, True)]
    methods: dict[str, tuple[runs.FactorsOf | None, bool]] = {
        "the model itself": (None, False),
        "description and examples in context": (None, True),
        "one LoRA for all tasks": (adapters.of_all, False),
        "generated": (adapters.generated, False),
        "LoRA per task": (adapters.of_tasks, False),
    }
    by_task = {
        name: [
            {task: runs.accuracy(model, queries, factors_of, in_context) for task, queries in column.items()}
            for column in questions
        ]
        for name, (factors_of, in_context) in methods.items()
    }
    rows = {name: [mean(column.values()) for column in found] for name, found in by_task.items()}
    new = {name: found[1] for name, found in by_task.items()}
    print(table([[columns[1], *new], *([task, *(f"{new[name][task]:.0f}" for name in new)] for task in questions[1])]))
    runs.write_results(folder, columns, rows, losses, {columns[1]: new})


def make(folder: Path, description: str, out: Path) -> None:
    """Write the adapter of a description.

    Args:
        folder: The folder of a trained run.
        description: What the model is to do.
        out: A folder for the adapter, in the form of PEFT.

    Raises:
        ~hypnettorch.examples.hypercl.errors.UsageError: If the run has not been trained.
    """
    model = language_model(runs.options_of(folder))
    hnet = runs.load_generator(folder, model)
    save_peft_adapter(out, hnet.factors(cond_input=model.embed([description])), model.net, model.name)
    print(f"an adapter for '{description}' of {model.name}: {out}")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line.

    Args:
        argv: Arguments; by default those of the program.
    """
    action = runs.Action("make", "description", "--out", "a folder for the adapter", make)
    runs.main(argv, "text_to_lora", "Adapters of a language model from descriptions of tasks.", STEPS, train, action)


if __name__ == "__main__":
    main()
