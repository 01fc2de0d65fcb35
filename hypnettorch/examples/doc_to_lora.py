"""Adapters of a language model from documents, as in Doc-to-LoRA.

Each paragraph of a document hides who keeps what in sentences about the weather; the model is asked without the
document. One hypernetwork (:class:`~hypnettorch.adapters.documents.HDocToLoRA`) reads what the frozen model itself
makes of a paragraph, and makes an adapter; the adapters of all paragraphs are put side by side.

``python -m hypnettorch.examples.doc_to_lora`` trains and evaluates it, on as many paragraphs as it was trained on and
on more, beside the model itself, the document in the prompt, one LoRA for all documents, and a LoRA for each.
``... ask --document FILE "What does Anna keep?"`` answers from a document that the model never sees. ``--smoke`` does
the same in seconds with a tiny random model, which learns nothing worth having.

References:
    Charakorn et al., "Doc-to-LoRA", 2026, https://arxiv.org/abs/2602.15902 (the test with needles in a haystack).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hypnettorch.adapters.documents import HDocToLoRA
from hypnettorch.core.low_rank import sum_of_stacked
from hypnettorch.examples import adapter_runs as runs
from hypnettorch.examples.adapter_runs import Options, Query
from hypnettorch.examples.hypercl.errors import UsageError
from hypnettorch.examples.language_models import LanguageModel, smollm2, tiny

ADAPTED = ["down_proj"]
RANK = 4
STEPS = 400
BARE = 1 / 3
"""In which part of the steps, the first ones, documents are facts without the weather."""

LONGEST_CHUNK = 128
"""Tokens of a piece that is read at once; longer paragraphs are cut."""

DOCUMENTS_OF_A_STEP = 8
TRAINED_LENGTHS, LENGTHS = (1, 2, 3), (1, 2, 3, 4, 6)
"""Numbers of paragraphs of documents, in training and in tests."""

TESTS = 40
"""Documents of a test."""

PEOPLE = ["Anna", "Ben", "David", "Frank", "Henry", "Martin", "Robert", "Sarah", "Thomas", "Mary"]
THINGS = ["camera", "hat", "clock", "map", "coin", "key", "ring", "stone", "book", "flag", "bell", "chair"]
"""Words that are one token each."""

FILLERS = (
    "The sky is grey today.",
    "It rained in the morning.",
    "The wind comes from the sea.",
    "Snow lies on the hills.",
    "The evening was warm.",
    "Fog covers the river.",
    "The sun sets early now.",
    "A storm passed in the night.",
)


def draw_document(draws: random.Random, paragraphs: int, bare: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """A document, and who keeps what by what it says, one fact in each paragraph, which is ``bare`` or in weather."""
    facts = list(zip(draws.sample(PEOPLE, paragraphs), draws.sample(THINGS, paragraphs), strict=True))
    written = []
    for person, thing in facts:
        sentences = [f"{person} keeps a {thing}.", *draws.sample(FILLERS, 0 if bare else 2)]
        draws.shuffle(sentences)
        written.append(" ".join(sentences))
    return "\n".join(written), facts


def draw_queries(draws: random.Random, documents: int, lengths: Sequence[int], bare: bool = False) -> list[Query]:
    """A question about each fact of some documents, whose numbers of paragraphs are drawn."""
    found = []
    for _ in range(documents):
        document, facts = draw_document(draws, draws.choice(lengths), bare)
        told = f"{document}\nAnswer with one word."
        found += [Query(document, f"What does {person} keep?", f" {thing}", told) for person, thing in facts]
    return found


def texts() -> Iterator[str]:
    """Texts with all words that occur."""
    yield from (*FILLERS, "keeps a . What does keep ?", *PEOPLE, *THINGS)


def language_model(options: Options) -> LanguageModel:
    """The model of a run."""
    return tiny(ADAPTED, texts()) if options.smoke else smollm2(ADAPTED)


def read_documents(model: LanguageModel, hnet: Any, documents: Sequence[str]) -> Any:
    """One adapter for each document: those of its paragraphs, side by side."""
    pieces, groups = [], []
    for document in documents:
        paragraphs = [model.encode(line) for line in document.splitlines() if line.strip()]
        cut = [ids[i : i + LONGEST_CHUNK] for ids in paragraphs for i in range(0, len(ids), LONGEST_CHUNK)]
        pieces += cut
        groups.append(len(cut))
    return sum_of_stacked(hnet.factors(cond_input=model.features(pieces), ret_format="stacked"), groups)


def new_generator(model: LanguageModel, seed: int) -> Any:
    """A hypernetwork before training."""
    with runs.seeded(seed):
        return HDocToLoRA(model.net, 2 * model.module.config.hidden_size, RANK, size=256)


def new_loras(model: LanguageModel, count: int, seed: int) -> runs.LoRATable:
    """LoRAs before training."""
    return runs.LoRATable(model.net.selected_shapes, count, RANK, seed)


def train(folder: Path, options: Options) -> None:
    """Train the generator and one LoRA for all documents, or go on, and evaluate.

    Args:
        folder: The folder of the run.
        options: What the run is about.
    """
    runs.begin(folder, options)
    model = language_model(options)
    hnet, shared = new_generator(model, options.seed), new_loras(model, 1, options.seed)
    methods: dict[str, runs.FactorsOf] = {
        "generated": lambda documents: read_documents(model, hnet, documents),
        "one LoRA for all documents": lambda documents: shared([0] * len(documents)),
    }

    def loss_with(factors_of: runs.FactorsOf) -> Callable[[int], torch.Tensor]:
        def loss(step: int) -> torch.Tensor:
            draws = random.Random(f"{options.seed}, step {step}")
            bare = step < BARE * options.steps
            return runs.answer_loss(model, draw_queries(draws, DOCUMENTS_OF_A_STEP, TRAINED_LENGTHS, bare), factors_of)

        return loss

    few = max(options.steps // 8, 1)
    losses = {
        "generated": runs.train(
            folder, "generator", hnet, loss_with(methods["generated"]), options.steps, 1e-3, heads=1 / 8
        ),
        "one LoRA for all documents": runs.train(
            folder, "shared", shared, loss_with(methods["one LoRA for all documents"]), few, 2e-3
        ),
    }
    hnet.save_pretrained(folder / runs.GENERATOR, base=model.net)
    evaluate(folder, model, methods, losses)


def evaluate(
    folder: Path, model: LanguageModel, methods: dict[str, runs.FactorsOf], losses: dict[str, list[float]]
) -> None:
    """Ask all methods about new documents of all lengths, and write what came of it."""
    options = runs.options_of(folder)
    count = 2 if options.smoke else TESTS
    asked = [draw_queries(random.Random(f"{options.seed}, test"), count, [length]) for length in LENGTHS]
    of_chat = [[replace(query, answer=query.answer.strip()) for query in queries] for queries in asked]
    rows: dict[str, Sequence[float | None]] = {
        "the model itself": [runs.accuracy(model, queries, None) for queries in asked],
        "the document in context": [runs.accuracy(model, queries, None, in_context=True) for queries in of_chat],
        **{
            name: [runs.accuracy(model, queries, factors_of) for queries in asked]
            for name, factors_of in methods.items()
        },
        "LoRA per document": [own_loras(folder, model, asked[0]), *[None] * (len(LENGTHS) - 1)],
    }
    columns = [f"{length} paragraph{'s' * (length > 1)}" for length in LENGTHS]
    runs.write_results(folder, columns, rows, losses)


def own_loras(folder: Path, model: LanguageModel, queries: Sequence[Query]) -> float:
    """What LoRAs achieve that are trained on the very question about their document."""
    numbers = {query.condition: i for i, query in enumerate(queries)}
    own = new_loras(model, len(numbers), runs.options_of(folder).seed)

    def factors_of(documents: Sequence[Any]) -> Any:
        return own([numbers[document] for document in documents])

    def loss(step: int) -> torch.Tensor:
        some = random.Random(f"own, step {step}").sample(list(queries), min(DOCUMENTS_OF_A_STEP, len(queries)))
        return runs.answer_loss(model, some, factors_of)

    runs.train(folder, "per_document", own, loss, max(runs.options_of(folder).steps // 8, 1), 4e-3)
    return runs.accuracy(model, queries, factors_of)


def ask(folder: Path, question: str, document: Path) -> None:
    """Answer a question about a document that only the generator reads.

    Args:
        folder: The folder of a trained run.
        question: The question.
        document: A file of text.

    Raises:
        ~hypnettorch.examples.hypercl.errors.UsageError: If the run has not been trained, or the document is empty.
    """
    text = document.read_text(encoding="utf-8")
    if not text.strip():
        raise UsageError(f"--document: there is no text in '{document}'")
    model = language_model(runs.options_of(folder))
    with torch.no_grad():
        adapters = read_documents(model, runs.load_generator(folder, model), [text])
    print(model.answer(question, adapters))


def main(argv: Sequence[str] | None = None) -> None:
    """The command line.

    Args:
        argv: Arguments; by default those of the program.
    """
    action = runs.Action("ask", "question", "--document", "a file of text", ask)
    runs.main(argv, "doc_to_lora", "Adapters of a language model from documents.", STEPS, train, action)


if __name__ == "__main__":
    main()
