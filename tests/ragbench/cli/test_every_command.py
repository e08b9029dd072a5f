"""Every command on names, paths, questions, errors and logs that look like styles: all are shown, none is parsed.

And every command that writes a file has written it when the terminal fails.
"""

import json
import shlex
import sys
from types import SimpleNamespace

import pytest

from ragbench import __main__
from ragbench.cli.common import terminal
from ragbench.machine.doctor import Finding
from tests.ragbench.retrieval.test_retrieval_command import FAKE as MEASURING
from tests.ragbench.running import FAKE, ragbench, write_study

FOLDER = "re[x] [/INST] [bold]"
SAID = "[/INST] [x] [bold]b[/bold] :smile: \x1b[31mred"
SHOWN = "[/INST] [x] [bold]b[/bold] :smile: \\x1b[31mred"
LOAD = 'arrivals = ["ideal"]\nrates = [200]\nrequests = 20\nready_timeout_s = 10.0'
BREAKS = f'[designs.a]\ncommand = "FAKE --mode breaks"\nsettings = {{ say = {json.dumps(SAID)} }}\n'
DIES = f'[designs.b]\ncommand = "FAKE --mode dies-at-start"\nsettings = {{ say = {json.dumps(SAID)} }}\n'
SWEPT = '[designs.a]\ncommand = "FAKE"\nsettings = { mark = ["[/INST]", "[x]:smile:"] }\n'


def hostile_study(folder, designs, load=LOAD):
    """A study whose questions look like styles too."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    study = write_study(folder / FOLDER, designs, load=load)
    questions = folder / FOLDER / "questions.jsonl"
    lines = [{"id": f"[/INST]{n}", "query": f"{SAID} w{n}?", "answers": [f"w{n}"]} for n in range(20)]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return study


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of a study with hostile settings, questions and paths."""
    folder = tmp_path_factory.mktemp("measured")
    study = hostile_study(folder, SWEPT)
    done = ragbench("run", study, "--results", folder / FOLDER, "--no-report")
    assert done.returncode == 0, done.stderr
    assert FOLDER in done.stdout
    return folder / FOLDER / "study"


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process. -> (exit code, stdout and stderr)"""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ragbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            __main__.main()
        return end.value.code or 0, "".join(capsys.readouterr())

    return run


def broken_report(folder):
    raise ValueError(SAID)


def hostile_checks(results):
    return [lambda: Finding("[/INST]", "warn", SAID, f"see {results}")]


def limit_words(folder):
    study = hostile_study(
        folder, BREAKS.replace("{ ", "{ max_batch_size = 1, "), load="concurrency = [1]\nrequests = 5"
    )
    bare = shlex.join(["python", "-c", f"import sys; sys.exit({SAID!r})"])
    return ("limit", study, "--results", folder / FOLDER, "--bare", bare)


def retrieval_words(folder):
    (folder / FOLDER).mkdir(parents=True)
    command = json.dumps(shlex.join(["python", str(MEASURING), "--mode", "fails", "--reason", SAID]))
    grid = '[grids.exact]\nmetric = ["ip"]\nn = 40\nd = 8\nbatch = [1, 32]\nbackend = ["plain"]\n'
    study = folder / "mine.toml"
    study.write_text(f"[study]\ncommand = {command}\nthreads = 2\n{grid}")
    return ("retrieval", study, "--results", folder / FOLDER, "--no-report")


# The words of a command, its exit code, and what must be seen as it is.
CASES = {
    "run": (lambda f, r: ("run", hostile_study(f, BREAKS + DIES), "--results", f / FOLDER), 1, SHOWN),
    "run --dry-run": (
        lambda f, r: ("run", hostile_study(f, SWEPT), "--dry-run", "--results", f / FOLDER),
        0,
        "mark=[x]:smile:",
    ),
    "load": (
        lambda f, r: (
            "load",
            "--url",
            "http://127.0.0.1:9",
            "--rate",
            "5",
            "--requests",
            "2",
            "--questions",
            f / FOLDER,
        ),
        2,
        FOLDER,
    ),
    "report --recompute": (lambda f, r: ("report", r, "--recompute", "--no-page"), 0, FOLDER),
    "report": (lambda f, r: ("report", r), 1, SHOWN),
    "calibrate --arrivals": (
        lambda f, r: ("calibrate", "--arrivals", "--seeds", "1", "--out", f / "absent" / FOLDER),
        0,
        FOLDER,
    ),
    "doctor": (lambda f, r: ("doctor", "--results", f / FOLDER), 0, SHOWN),
    "calibrate": (lambda f, r: ("calibrate", "--out", f / "file" / FOLDER), 2, FOLDER),
    "compare": (lambda f, r: ("compare", f"{r}:a-mark=[/INST]", f"{r}:a-mark=[x]:smile:"), 0, "a-mark=[x]:smile:"),
    "report --answers": (lambda f, r: ("report", r, "--answers"), 0, "a mark=[x]:smile:"),
    "capacity": (
        lambda f, r: ("capacity", hostile_study(f, DIES), "--slo", "latency_p95_s=1", "--results", f / FOLDER),
        1,
        SHOWN,
    ),
    "limit": (lambda f, r: limit_words(f), 2, SHOWN),
    "retrieval": (lambda f, r: retrieval_words(f), 1, SHOWN),
    "simulate": (lambda f, r: ("simulate", f / FOLDER), 2, FOLDER),
    "chaos": (
        lambda f, r: ("chaos", "kill", "--command", fleet(), "--out", f / FOLDER),
        1,
        SHOWN,
    ),
}


def fleet():
    return shlex.join(["python", str(FAKE), "--mode", "dies-at-start", "--say", SAID])


def test_every_command_has_a_case():
    assert {case.split()[0] for case in CASES} == set(__main__.COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("command", CASES)
def test_what_looks_like_a_style_is_shown_as_it_is(command, call, tmp_path, results, monkeypatch):
    monkeypatch.setitem(sys.modules, "ragbench.report.page", SimpleNamespace(build=broken_report))
    monkeypatch.setattr("ragbench.cli.doctor.checks", hostile_checks)
    (tmp_path / "file").touch()
    words, wanted_code, wanted = CASES[command]
    code, text = call(*words(tmp_path, results))
    assert wanted in text
    assert "\x1b" not in text
    assert "MarkupError" not in text
    assert code == wanted_code, text


class Closed(Exception):
    """The terminal is gone."""


def written(folder, *names):
    return [folder / name for name in names]


# The words of a command, and the files that it writes.
WRITES = {
    "run": lambda f, r: (("run", hostile_study(f, SWEPT), "--results", f), written(f, "study/summary.csv", "built")),
    "load": lambda f, r: (
        ("load", "--url", f.joinpath("url").read_text(), "--rate", "200", "--requests", "20", "--out", f / "out"),
        written(f, "out/service-poisson-200rps-seed1/requests.csv"),
    ),
    "report --recompute": lambda f, r: (("report", r, "--recompute"), [r / "summary.csv", f / "built"]),
    "report": lambda f, r: (("report", r), written(r, "summary.csv")),
    "calibrate --arrivals": lambda f, r: (
        ("calibrate", "--arrivals", "--seeds", "1", "--out", f / "c"),
        written(f, "c/arrivals.csv"),
    ),
    "doctor": lambda f, r: (("doctor", "--out", f / "d.csv"), written(f, "d.csv")),
    "compare": lambda f, r: (
        ("compare", f"{r}:a-mark=[/INST]", f"{r}:a-mark=[x]:smile:", "--out", f / "c.csv"),
        written(f, "c.csv"),
    ),
    "report --answers": lambda f, r: (("report", r, "--answers"), written(r, "answers.csv")),
    "capacity": lambda f, r: (
        ("capacity", hostile_study(f, DIES), "--slo", "latency_p95_s=1", "--results", f),
        written(f, "study-capacity/capacity.csv"),
    ),
    "retrieval": lambda f, r: (retrieval_words(f)[:-1], written(f, f"{FOLDER}/mine/summary.csv", "built")),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", WRITES)
def test_files_are_written_before_anything_is_printed(command, tmp_path, results, elsewhere, monkeypatch):
    def closed(*things, **options):
        raise Closed

    (tmp_path / "url").write_text(elsewhere)
    words, files = WRITES[command](tmp_path, results)
    for path in files:
        path.unlink(missing_ok=True)
    for module in ("ragbench.report.page", "ragbench.retrieval.report"):
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(build=lambda folder: (tmp_path / "built").touch()))
    monkeypatch.setattr("ragbench.cli.doctor.checks", hostile_checks)
    monkeypatch.setattr("ragbench.cli.retrieval._print_rates", lambda *arguments: None)
    monkeypatch.setattr(terminal, "print", closed)
    monkeypatch.setattr(sys, "argv", ["ragbench", *map(str, words)])
    with pytest.raises(Closed):
        __main__.main()
    assert [path for path in files if not path.is_file()] == []
