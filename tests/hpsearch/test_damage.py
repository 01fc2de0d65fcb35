"""Configurations, options and files that are not what they should be: one line that names them, and nothing is lost."""

from __future__ import annotations

import itertools
import json
import pickle
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hypnettorch.hpsearch import gather_random_seeds, hpsearch, hpsearch_postprocessing, plots, worker
from hypnettorch.hpsearch.search import SAMPLERS
from hypnettorch.hpsearch.search_config import load_config
from hypnettorch.hpsearch.seeds_summary import write_seeds_summary
from hypnettorch.hpsearch.shell import USER_ERRORS
from hypnettorch.hpsearch.table import read_csv

Run = Callable[..., Path]

NAMES = [
    "grid",
    "conditions",
    "_SCRIPT_NAME",
    "_SUMMARY_FILENAME",
    "_SUMMARY_KEYWORDS",
    "_OUT_ARG",
    "_PERFORMANCE_KEY",
    "_PERFORMANCE_SORT_ASC",
    "_SUMMARY_PARSER_HANDLE",
    "_PERFORMANCE_EVAL_HANDLE",
    "_ARGPARSE_HANDLE",
]
PARTS = r"""
None
3
-1.5
float('nan')
10**5000
True
''
'x'
'a b'
'x\0'
'\ud800'
b'x'
()
[]
[1, 2]
['x', 'score']
['score', 'finished']
{}
{'x': [1]}
{3: [1]}
{'x': []}
{'x': {1, 2}}
{'x': {'y': 1}}
{'x': (i for i in range(3))}
{'x': [print]}
{'x': [b'a']}
{'x y': [1]}
{'--x': [1]}
{'': 1}
{'x': ['a\0b']}
{'x': ['\ud800']}
{'x': [10**5000]}
{'x': numpy.zeros((2, 2))}
{'x': [D]}
{'x': D}
{'out_dir': ['a']}
[({}, {})]
[({'x': [1]},)]
[({'x': [1]}, {'x': D})]
[({'x': D}, {'x': [1]})]
[{'x': [1]}, {'x': [2]}]
[(1, 2)]
({'x': [1]}, {'x': [2]})
lambda *a, **k: 1 / 0
lambda *a, **k: {}
dict
type('Odd', (), {'__str__': lambda self: 3})()
'\''
object()
numpy.array(3)
{'x': numpy.array(3)}
""".strip().splitlines()


def test_entries_of_any_type_end_in_one_line(configure: Callable[..., str]) -> None:
    """Whatever stands in a configuration module, it is taken or refused by a message that names the entry."""
    begin = ["import numpy, optuna", "D = optuna.distributions.FloatDistribution(0, 1)"]
    messages = []
    for name in NAMES:
        for part in PARTS:
            module = configure("{'x': [1]}", *begin, f"{name} = {part}")
            try:
                load_config(module)
            except USER_ERRORS as error:
                messages.append((name, part, str(error)))
    assert len(messages) > 400
    unnamed = [found for found in messages if found[0] not in found[2]]
    assert [found for found in unnamed if found[:2] != ("_OUT_ARG", "'x'")] == []
    assert [found for found in messages if len(found[2].splitlines()) != 1] == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_configurations_that_are_taken_run(configure: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not refused at once makes a search, at most without any run that succeeds."""
    monkeypatch.setattr(worker, "run", lambda *arguments: 1.0)
    monkeypatch.setattr(plots, "draw", lambda *arguments: [])
    begin = ["import numpy, optuna", "D = optuna.distributions.FloatDistribution(0, 1)"]
    taken = 0
    for number, (name, part, sampler) in enumerate(itertools.product(("grid", "conditions"), PARTS, SAMPLERS)):
        module = configure("{'x': [1]}", *begin, f"{name} = {part}")
        options = [f"--grid_module={module}", f"--out_dir=out_{number}", "--force_out_dir", "--visible_gpus=-1"]
        with suppress(*USER_ERRORS):
            hpsearch.run([*options, f"--sampler={sampler}", "--num_searches=2"])
            taken += 1
    assert taken > 20


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 / 0", r"--grid_module \w+: ZeroDivisionError: division by zero \('.*py', line \d+\)"),
        ("grid = {", r"--grid_module \w+: SyntaxError: '{' was never closed \(configuration_\d+.py, line \d+\)"),
        ("raise SystemExit(3)", r"--grid_module \w+: SystemExit: 3"),
        ("import no_such_module", r"--grid_module \w+: No module named 'no_such_module'"),
        ("grid = {'x': {1, 2}}", r"grid\['x'\]: expected a list of values, got set"),
        ("grid = {'x': [print]}", r"grid\['x'\]: expected numbers, texts and truth values, got <built-in"),
        ("grid = {'x': ['a\\0b']}", r"grid\['x'\]: expected texts without NUL"),
        ("grid = {'--x': [1]}", r"grid: expected names of options, such as 'lr', got '--x'"),
        ("grid = [1]", "grid: expected Mapping, got list"),
        ("conditions = [({'x': [1]},)]", r"conditions\[0\]: expected 2 entries, got 1"),
        ("conditions = {'x': [1]}", "conditions: expected a list of pairs of dictionaries, got dict"),
        ("conditions = [({'x': [1]}, {'x': []})]", r"conditions\[0\]\[1\]\['x'\]: expected at least one value"),
        ("conditions = [({'x': [1]}, {'x': D})]", "conditions: expected lists of values; a distribution needs"),
        ("conditions = [({'x': D}, {'x': 1})]", r"conditions\[0\]\[0\]\['x'\]: expected a list .*, got a distribution"),
        ("_SCRIPT_NAME = 3", "_SCRIPT_NAME: expected str, got int"),
        ("_SCRIPT_NAME = 'train.py \"'", r"_SCRIPT_NAME: expected a script .*, got .*No closing quotation"),
        ("_SUMMARY_KEYWORDS = 'finished'", "_SUMMARY_KEYWORDS: expected a list of keywords, got str"),
        ("_SUMMARY_KEYWORDS = [1, 'finished']", r"_SUMMARY_KEYWORDS\[0\]: expected str, got int"),
        ("_PERFORMANCE_SORT_ASC = 'no'", "_PERFORMANCE_SORT_ASC: expected bool, got str"),
        ("_SUMMARY_PARSER_HANDLE = 'read'", "_SUMMARY_PARSER_HANDLE: expected a function"),
    ],
)
def test_message_in_a_shell(
    configure: Callable[..., str], monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    module = configure("{'x': [1]}", "import optuna", "D = optuna.distributions.IntDistribution(1, 2)", line)
    monkeypatch.setattr(sys, "argv", ["hpsearch", f"--grid_module={module}", "--out_dir=out", "--visible_gpus=-1"])
    with pytest.raises(SystemExit, match="^hpsearch: .*" + message):
        hpsearch.main()
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "content", ["[1]", "{", '{"grid": [1]}', '{"grid": {"x": []}}', '{"grid": {"x": {"y": 1}}}', "[" * 9999, '{"g": 1}']
)
def test_grid_in_a_damaged_file(configure: Callable[..., str], content: str) -> None:
    Path("grid.json").write_text(content)
    with pytest.raises(USER_ERRORS, match="grid"):
        hpsearch.run(
            [f"--grid_module={configure('{}')}", "--grid_config=grid.json", "--out_dir=out", "--visible_gpus=-1"]
        )
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["search.json", "commands.json"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"null", b'{"grid_module": 3}', b'{"x": 1}', b"\xff\xfe\x00", b"[3]"]
)
def test_damaged_files_of_a_search(search: Run, name: str, content: bytes) -> None:
    """They are named, and nothing is written over them."""
    folder = search('{"x": [1]}')
    (folder / name).write_bytes(content)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if (name, content) != ("commands.json", b"[]"):
        for command, option in [(hpsearch, "--resume="), (hpsearch_postprocessing, "")]:
            with pytest.raises(ValueError, match=name) as error:
                command.run([f"{option}{folder}", *(["--visible_gpus=-1"] if option else [])])
            assert len(str(error.value).splitlines()) == 1
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("value", ['"many"', "[]", "null"])
@pytest.mark.parametrize("name", ["num_searches", "heartbeat", "sampler", "grid_module"])
def test_settings_of_wrong_types(search: Run, name: str, value: str) -> None:
    folder = search('{"x": [1]}')
    settings = json.loads((folder / "search.json").read_text()) | {name: json.loads(value)}
    (folder / "search.json").write_text(json.dumps(settings))
    if (name, value) != ("grid_module", '"many"'):
        with pytest.raises(ValueError, match=rf"search.json, '{name}': expected"):
            hpsearch.run([f"--resume={folder}", "--visible_gpus=-1"])


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A file that was cut off, or has other bytes somewhere."""
    place = draw.randrange(len(content))
    kind = draw.choice(["cut", "zeros", "noise"])
    return (
        content[:place]
        + {"cut": b"", "zeros": b"\0" * 9, "noise": draw.randbytes(9)}[kind]
        + content[place + 9 :] * (kind != "cut")
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_of_runs_lose_nothing(search: Run, configure: Callable[..., str]) -> None:
    """Whatever stands in them: a table of the others, or one line; and no folder of a run is gone."""
    folder = search('{"x": [1, 2, 3]}', "--deterministic_search")
    module = configure('{"x": [1, 2, 3]}')
    run = next(folder.glob("sim_*_1"))
    files = {path: path.read_bytes() for path in run.iterdir()}
    draw, summarised = random.Random(0), 0
    for _ in range(40):
        path = draw.choice([run / name for name in ("summary.txt", "config.json", "hpsearch_options.json")])
        path.write_bytes(damaged(files[path], draw))
        table = Path(hpsearch_postprocessing.run([str(folder)]))
        rows = read_csv(table)
        assert {row["x"] for row in rows} >= {"1", "3"}
        aside = folder / "TO_BE_DELETED" / run.name
        assert run.exists() != aside.exists()
        if aside.exists():
            aside.rename(run)
        with suppress(ValueError):
            write_seeds_summary(folder, config=load_config(module))
            summarised += 1
        path.write_bytes(files[path])
    assert [len(list(folder.glob(f"postprocessing_{name}*"))) for name in ("results", "missing")] == [40, 40]
    assert summarised > 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected one of"),
        (b"x;score\n1;2\n", "columns: expected one of 'x', 'score', got 'finished'"),
        (b"finished;out_dir\n1\n", "row 1: expected 2 cells"),
        (b"finished;out_dir\n1;a;b\n", "row 1: expected 2 cells"),
        (b"finished;out_dir\n\xff;a\n", "expected a table of a search, got 'utf-8' codec"),
        (b'finished;out_dir\n"1;a\n', "expected a table of a search, got unexpected end of data"),
        (b"finished;out_dir\n1;nowhere\n", "nowhere: expected the options of a run in"),
    ],
)
def test_best_run_of_a_damaged_table(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "search_results.csv").write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        gather_random_seeds.get_best_hpsearch_config(tmp_path)


@pytest.mark.parametrize("content", ["[1]", "{", "3", '{"lr"', "null"])
def test_options_of_a_run_in_a_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json: expected"):
        gather_random_seeds.get_single_run_config(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.pickle").write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match=r"config\.pickle: expected values by the names of their options, got \[1\]"):
        gather_random_seeds.get_single_run_config(tmp_path)


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        ("score many\nfinished 1\n", "sim_1, 'score': expected numbers, got"),
        ("score 1,2\nfinished 1\n", r"sim_1, 'score': expected as many numbers as other runs have \(1\), got 2"),
        ("loss 3\nfinished 1\n", "sim_1, 'score': expected numbers, got none"),
    ],
)
def test_runs_that_say_something_else_than_others(tmp_path: Path, summary: str, message: str) -> None:
    for number, text in enumerate(["score 1\nfinished 1\n", summary]):
        folder = tmp_path / f"sim_{number}"
        folder.mkdir()
        (folder / "performance_summary.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        write_seeds_summary(tmp_path)
    assert not (tmp_path / "seeds_summary_text.txt").exists()


def test_seeds_of_runs_without_options(tmp_path: Path) -> None:
    (tmp_path / "sim_0").mkdir()
    (tmp_path / "sim_0" / "performance_summary.txt").write_text("score 1\nfinished 1\n")
    (tmp_path / "sim_0" / "config.json").write_text('{"lr": 1}')
    with pytest.raises(ValueError, match="sim_0: expected a run with the option random_seed, got only lr"):
        write_seeds_summary(tmp_path, ret_seeds=True)
    assert not (tmp_path / "seeds_summary_text.txt").exists()


@pytest.mark.parametrize(
    "line",
    [
        "_SUMMARY_PARSER_HANDLE = lambda out_dir, cmd_ident: 3",
        "_SUMMARY_PARSER_HANDLE = lambda out_dir, cmd_ident: {'score': 1}",
        "_SUMMARY_PARSER_HANDLE = lambda out_dir, cmd_ident: {'score': [], 'finished': []}",
        "_SUMMARY_PARSER_HANDLE = lambda out_dir, cmd_ident: 1 / 0",
        "_SUMMARY_PARSER_HANDLE = lambda: {}",
    ],
)
def test_parsers_that_fail(search: Run, capsys: pytest.CaptureFixture[str], line: str) -> None:
    folder = search('{"x": [1]}', lines=(line,))
    assert read_csv(folder / "search_results.csv") == []
    assert (
        "run 0: x=1: failed: its summary cannot be read (ValueError: _SUMMARY_PARSER_HANDLE: "
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("_PERFORMANCE_EVAL_HANDLE = lambda: True", "_PERFORMANCE_EVAL_HANDLE: TypeError"),
        ("_ARGPARSE_HANDLE = lambda argv: train.parser.parse_args(['--no_such'])", "_ARGPARSE_HANDLE: SystemExit: 2"),
        ("_ARGPARSE_HANDLE = lambda argv: 3", "_ARGPARSE_HANDLE: TypeError: vars"),
    ],
)
def test_functions_of_the_user_that_fail(search: Run, line: str, message: str) -> None:
    folder = search('{"x": [1]}', lines=(line,))
    with pytest.raises(ValueError, match=message):
        hpsearch_postprocessing.run([str(folder), "--performance_criteria=1"])
    assert list(folder.glob("sim_*"))


def test_gathering_twice_is_refused_before_anything_is_written(search: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = search('{"x": [1]}')
    module = load = next(found.glob("configuration_*.py")).stem
    arguments = [f"--grid_module={module}", f"--run_dir={found}", "--num_seeds=2", "--visible_gpus=-1"]
    monkeypatch.setattr(sys, "argv", ["program", *arguments, "--start_gathering"])
    folder = Path(gather_random_seeds.run(results_dir="seeds"))
    before = (folder / "seeds.json").read_text()
    monkeypatch.setattr(sys, "argv", ["program", *arguments, "--num_seeds=3", "--start_gathering"])
    with pytest.raises(RuntimeError, match=r"results_dir: 'seeds/sim_.*' holds a search; .*--resume.*--seeds_dir"):
        gather_random_seeds.run(results_dir="seeds")
    assert (folder / "seeds.json").read_text() == before
    assert load in (found / "search.json").read_text()


def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(USER_ERRORS, match="link"):
        hpsearch.run([f"--resume={link}"])
    with pytest.raises(USER_ERRORS, match="link"):
        hpsearch_postprocessing.run([str(link)])
