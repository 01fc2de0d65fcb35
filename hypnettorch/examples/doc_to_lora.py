"""Adapters of a language model from documents, as in Doc-to-LoRA.

Each paragraph of a document hides who keeps what in sentences about the weather; the model is asked without the
document. One hypernetwork (:class:`~hypnettorch.adapters.documents.HDocToLoRA`) reads what the frozen model itself
makes of a paragraph, and makes an adapter; the adapters of all paragraphs are put side by side.

The adapters of facts are learned first, through the loss of the model, without any text: ``A`` belongs to who keeps
something, and tells when the adapter acts; ``B`` belongs to what is kept, and tells what to answer. As documents have
several facts, adapters learn not to answer questions about others. The hypernetwork then learns to make these adapters
from paragraphs.

``python -m hypnettorch.examples.doc_to_lora`` trains and evaluates it, on as many paragraphs as were trained and on
more, beside the model itself, the document in the prompt, one LoRA for all documents, and the adapters of the facts.
``... ask --document FILE "What does Anna keep?"`` answers from a document that the model never sees. ``--smoke`` does
the same in seconds with a tiny random model, which learns nothing worth having.

References:
    Charakorn et al., "Doc-to-LoRA", 2026, https://arxiv.org/abs/2602.15902 (the test with needles in a haystack);
    "Text-to-LoRA", ICML 2025, https://arxiv.org/abs/2506.06105 (training by reconstruction).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hypnettorch.adapters.documents import HDocToLoRA
from hypnettorch.adapters.training import Reconstruction
from hypnettorch.core.low_rank import Key, LowRank, sum_of_stacked
from hypnettorch.examples import adapter_runs as runs
from hypnettorch.examples.adapter_runs import Options, Query
from hypnettorch.examples.hypercl.errors import UsageError
from hypnettorch.examples.language_models import LanguageModel, smollm2, tiny

ADAPTED, PART = ["o_proj"], 1 / 4
"""Outputs of attention in the last layers: what they get where the answer begins tells who is asked about."""

RANK = 2
STEPS = 100
RECONSTRUCTION_STEPS, PARAGRAPHS_OF_A_STEP = 6, 32
"""How many times as many steps of reconstruction, which does not need the model, and the paragraphs in each."""

READINGS = 5
"""Paragraphs for each fact in reconstruction."""

LONGEST_CHUNK = 128
"""Tokens of a piece that is read at once; longer paragraphs are cut."""

DOCUMENTS_OF_A_STEP = 8
TRAINED_LENGTHS, LENGTHS = (1, 2, 3, 4), (1, 2, 3, 4, 6, 8)
"""Numbers of paragraphs of documents, in training and in tests."""

TESTS, TESTS_IN_CONTEXT = 96, 24
"""Questions about documents of a length."""

PEOPLE = ["Anna", "Ben", "David", "Frank", "Henry", "Martin", "Robert", "Sarah", "Thomas", "Mary"]
THINGS = ["camera", "hat", "clock", "map", "coin", "key", "ring", "stone", "book", "flag", "bell", "chair"]
"""Words that are one token each."""

Fact = tuple[str, str]
"""Who keeps what."""

FACTS: list[Fact] = [*itertools.product(PEOPLE, THINGS)]

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


class Document(NamedTuple):
    """A document, one fact in each paragraph.

    Attributes:
        text: What is written.
        facts: Who keeps what by what it says.
    """

    text: str
    facts: tuple[Fact, ...]


def draw_paragraph(draws: random.Random, fact: Fact) -> str:
    """A paragraph that hides a fact in the weather."""
    sentences = ["{} keeps a {}.".format(*fact), *draws.sample(FILLERS, 2)]
    draws.shuffle(sentences)
    return " ".join(sentences)


def draw_queries(draws: random.Random, documents: int, lengths: Sequence[int]) -> list[Query]:
    """A question about each fact of some documents, whose numbers of paragraphs are drawn."""
    found = []
    for _ in range(documents):
        length = draws.choice(lengths)
        facts = tuple(zip(draws.sample(PEOPLE, length), draws.sample(THINGS, length), strict=True))
        document = Document("\n".join(draw_paragraph(draws, fact) for fact in facts), facts)
        told = f"{document.text}\nAnswer with one word."
        found += [Query(document, f"What does {person} keep?", f" {thing}", told) for person, thing in facts]
    return found


def texts() -> Iterator[str]:
    """Texts with all words that occur."""
    yield from (*FILLERS, "keeps a . What does keep ?", *PEOPLE, *THINGS)


def language_model(options: Options) -> LanguageModel:
    """The model of a run."""
    return tiny(ADAPTED, texts()) if options.smoke else smollm2(ADAPTED, PART)


def read_documents(model: LanguageModel, hnet: Any, documents: Sequence[str]) -> Any:
    """One adapter for each document: those of its paragraphs, side by side."""
    pieces, groups = [], []
    for document in documents:
        paragraphs = [model.encode(line) for line in document.splitlines() if line.strip()]
        cut = [ids[i : i + LONGEST_CHUNK] for ids in paragraphs for i in range(0, len(ids), LONGEST_CHUNK)]
        pieces += cut
        groups.append(len(cut))
    return sum_of_stacked(hnet.factors(cond_input=model.features(pieces), ret_format="stacked"), groups)


class AdaptersOfFacts(runs.LoRATable):
    """``A`` for each person and ``B`` for each thing.

    Args:
        model: The model.
        seed: Of their start.
    """

    def __init__(self, model: LanguageModel, seed: int) -> None:
        super().__init__(model.net.selected_shapes, max(len(PEOPLE), len(THINGS)), RANK, seed)

    def of_facts(self, facts: Sequence[Fact]) -> dict[Key, LowRank]:
        """One adapter for each fact."""
        return self([PEOPLE.index(person) for person, _ in facts], [THINGS.index(thing) for _, thing in facts])

    def of_documents(self, documents: Sequence[Document]) -> dict[Key, LowRank]:
        """One adapter for each document: those of its facts, side by side."""
        facts = [fact for document in documents for fact in document.facts]
        return sum_of_stacked(self.of_facts(facts), [len(document.facts) for document in documents])


def new_generator(model: LanguageModel, facts: AdaptersOfFacts, seed: int) -> Any:
    """A hypernetwork that starts at the mean of the adapters of all facts, after these were trained."""
    start = {key: LowRank(A.mean(0), B.mean(0)) for key, (A, B) in facts.of_facts(FACTS).items()}
    with runs.seeded(seed):
        return HDocToLoRA(model.net, 2 * model.module.config.hidden_size, RANK, size=256, start=start)


def reconstruction(model: LanguageModel, hnet: Any, facts: AdaptersOfFacts, seed: int) -> Callable[[int], torch.Tensor]:
    """What is generated from paragraphs is to be the adapters of their facts.

    Args:
        model: The model, which reads all paragraphs once.
        hnet: The generator.
        facts: The adapters of facts; they are as they are now.
        seed: Of what is drawn.

    Returns:
        From the number of a step to its loss.
    """
    with torch.no_grad():
        wanted = facts.of_facts(FACTS)
    targets = Reconstruction([{key: (A[i], B[i]) for key, (A, B) in wanted.items()} for i in range(len(FACTS))])
    draws = random.Random(f"{seed}, paragraphs")
    told = [i for i in range(len(FACTS)) for _ in range(READINGS)]
    paragraphs = model.features([model.encode(draw_paragraph(draws, FACTS[i])) for i in told])

    def loss(step: int) -> torch.Tensor:
        rows = random.Random(f"{seed}, reconstruction {step}").sample(range(len(told)), PARAGRAPHS_OF_A_STEP)
        condition = {name: tensor[rows] for name, tensor in paragraphs.items()}
        return targets.loss(hnet.factors(cond_input=condition), [told[row] for row in rows])

    return loss


def train(folder: Path, options: Options) -> None:
    """Train the adapters of facts, the generator, and one LoRA for all documents, or go on, and evaluate.

    Args:
        folder: The folder of the run.
        options: What the run is about.
    """
    runs.begin(folder, options)
    model, seed, steps = language_model(options), options.seed, options.steps
    facts, shared = AdaptersOfFacts(model, seed), runs.LoRATable(model.net.selected_shapes, 1, RANK, seed)

    def of_all(documents: Sequence[Document]) -> Any:
        return shared([0] * len(documents))

    def loss_with(factors_of: runs.FactorsOf) -> Callable[[int], torch.Tensor]:
        def loss(step: int) -> torch.Tensor:
            draws = random.Random(f"{seed}, step {step}")
            return runs.answer_loss(model, draw_queries(draws, DOCUMENTS_OF_A_STEP, TRAINED_LENGTHS), factors_of)

        return loss

    of_facts = runs.train(folder, "facts", facts, loss_with(facts.of_documents), steps, 4e-3)
    hnet = new_generator(model, facts, seed)
    rebuilt = reconstruction(model, hnet, facts, seed)
    losses = {
        "adapters of facts": of_facts,
        "generator (reconstruction)": runs.train(
            folder, "generator", hnet, rebuilt, RECONSTRUCTION_STEPS * steps, 1e-3, heads=1 / 8
        ),
        "one LoRA for all documents": runs.train(folder, "shared", shared, loss_with(of_all), steps, 4e-3),
    }
    hnet.save_pretrained(folder / runs.GENERATOR, base=model.net)
    methods: dict[str, runs.FactorsOf] = {
        "one LoRA for all documents": of_all,
        "generated": lambda documents: read_documents(model, hnet, [document.text for document in documents]),
        "adapters of the facts": facts.of_documents,
    }
    evaluate(folder, model, methods, losses)


def evaluate(
    folder: Path, model: LanguageModel, methods: dict[str, runs.FactorsOf], losses: dict[str, list[float]]
) -> None:
    """Ask all methods about new documents of all lengths, and write what came of it."""
    options = runs.options_of(folder)
    count = len(LENGTHS) if options.smoke else TESTS
    asked = [
        draw_queries(random.Random(f"{options.seed}, test"), max(count // length, 1), [length]) for length in LENGTHS
    ]
    of_chat = [[replace(q, answer=q.answer.strip()) for q in queries[:TESTS_IN_CONTEXT]] for queries in asked]
    rows: dict[str, Sequence[float | None]] = {
        "the model itself": [runs.accuracy(model, queries, None) for queries in asked],
        "the document in context": [runs.accuracy(model, queries, None, in_context=True) for queries in of_chat],
        **{
            name: [runs.accuracy(model, queries, factors_of) for queries in asked]
            for name, factors_of in methods.items()
        },
    }
    columns = [f"{length} paragraph{'s' * (length > 1)}" for length in LENGTHS]
    questions = {"questions": [*map(len, asked)], "questions in context": [*map(len, of_chat)]}
    runs.write_results(folder, columns, rows, losses, questions)


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
