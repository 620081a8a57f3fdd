"""The commands in README and docs exist and are run by .ci/run, and every link there leads to a file."""

import argparse
import configparser
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from mammo.commands.main import VERBS
from mammo.commands.shared import Parser
from mammo.settings.load import load_settings

pytestmark = pytest.mark.one_stack

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = ("Not run in CI", "CI 不运行")
# CI makes its runs smaller and puts them elsewhere; the docs need not say so.
SIZES = {"rounds", "steps", "cases", "kills", "minutes"}
SIZE_KEYS = {
    "output", "data.store", "data.phantom.patients", "data.phantom.film_size", "training.epochs",
    "training.checkpoint.every_steps", "evaluation.resamples",
}  # fmt: skip
VISUALDL_OPTIONS = {"--logdir", "--host", "--port"}


@dataclass(frozen=True)
class Command:
    """A command line of a page or of .ci/run, without what stands before it (`VARIABLE=value`, `do`)."""

    where: str
    words: tuple[str, ...]
    runs_in_ci: bool

    def __str__(self) -> str:
        return f"{self.where}: {' '.join(self.words)}"

    @property
    def verb(self) -> str:
        """The verb of `mammo VERB` or `python tools/VERB.py`; else the program's name."""
        if self.words[0] == "mammo":
            return self.words[1]
        if self.words[0] == "python":
            return Path(self.words[1]).stem
        return self.words[0]


def blocks_of(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each fenced block of shell commands, after the paragraph that stands directly before it."""
    paragraph: list[str] = []
    block: list[str] | None = None
    blank = False
    for line in page.read_text("utf-8").splitlines():
        if block is not None and line == "```":
            yield "\n".join(paragraph), "\n".join(block)
            paragraph, block = [], None
        elif block is not None:
            block.append(line)
        elif line == "```sh":
            block = []
        elif line:
            paragraph = [line] if blank else [*paragraph, line]
        blank = not line


def commands_in(text: str, where: str, *, runs_in_ci: bool) -> Iterator[Command]:
    """Yield the commands of mammo, its tools, pip and visualdl; variables that the text sets are replaced."""
    known: dict[str, str] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if re.fullmatch(r'(\s*\w+=("[^"]*"|\S+))+', line):
            known |= {
                name: replaced(value.strip('"'), known) for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', line)
            }
        known |= dict(re.findall(r"for (\w+) in (\S+)", line))
        if re.search(r"mammo |tools/|pip install|visualdl", line):
            for part in parts_of(replaced(line, known)):
                while part and (re.match(r"\w+=", part[0]) or part[0] == "do"):
                    part = part[1:]
                if is_ours(part):
                    redirected = [number for number, word in enumerate(part) if re.fullmatch(r"\d?>", word)]
                    yield Command(where, tuple(part[: min(redirected, default=None)]), runs_in_ci)


def replaced(text: str, known: dict[str, str]) -> str:
    """Replace the variables that are known; the others stay."""
    return re.sub(r"\$(\w+)", lambda found: known.get(found[1], found[0]), text)


def parts_of(line: str) -> list[list[str]]:
    """Split a line of shell at `&&`, `;`, `|` and `&` into words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def is_ours(words: list[str]) -> bool:
    return bool(words) and (
        words[0] in ("mammo", "visualdl")
        or words[:2] == ["pip", "install"]
        or (words[0] == "python" and any(word.startswith("tools/") for word in words))
    )


@cache
def documented() -> list[Command]:
    found: list[Command] = []
    for page in PAGES:
        for before, block in blocks_of(page):
            runs = not any(words in before for words in NOT_RUN)
            found += commands_in(block, str(page.relative_to(ROOT)), runs_in_ci=runs)
    return found


@cache
def run_by_ci() -> list[Command]:
    """The commands of .ci/run, which also takes two from the README."""
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    two = re.search(r"<!-- two commands -->(.*?)<!-- end -->", README.read_text("utf-8"), re.S)
    assert two is not None
    lines = [line for line in two[1].splitlines() if line.startswith("pip install")]
    assert len(lines) == 2
    return list(commands_in("\n".join([text, *lines]), ".ci/run", runs_in_ci=True))


def is_launched(command: Command) -> bool:
    return "paddle.distributed.launch" in command.words


def of_mammo(commands: list[Command]) -> list[Command]:
    return [command for command in commands if command.words[0] in ("mammo", "python")]


def parse(command: Command) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse a command's options with the parser of its verb.

    Raises:
        SystemExit: An option or a value is wrong; the reason is on stderr.
    """
    words = list(command.words)
    if is_launched(command):
        tool = next(index for index, word in enumerate(words) if word.startswith("tools/"))
        words = ["python", *words[tool:]]
    verb = Command(command.where, tuple(words), command.runs_in_ci).verb
    assert verb in VERBS, f"{command}: {verb} is not a verb of mammo"
    module = import_module(f"mammo.commands.{verb}")
    parser = Parser(prog=f"mammo {verb}", description=module.__doc__)
    module.add_options(parser)
    return parser, parser.parse_intermixed_args(words[2:])


def what_it_does(command: Command) -> tuple[str, frozenset[str]]:
    """The verb, and every option and setting that it gives, but for sizes; paths do not count."""
    if command.verb == "pip":
        return "pip", frozenset(re.findall(r"\w+", command.words[-1].partition("[")[2]))
    if command.verb == "visualdl":
        return "visualdl", frozenset({"--logdir"} & set(command.words))
    parser, arguments = parse(command)
    given = {name for name, value in vars(arguments).items() if value != parser.get_default(name) and value != []}
    given |= {f"{len(vars(arguments)[name])} {name}" for name in given & {"runs", "paths", "ensemble"}}
    settings = {override.partition("=")[0] for override in getattr(arguments, "override", [])}
    what = {f"what {arguments.what}"} if command.verb == "bench" else set()
    return command.verb, frozenset((given - {"override"} - SIZES) | (settings - SIZE_KEYS) | what)


def test_pages_have_commands() -> None:
    assert len(documented()) > 60
    assert {command.verb for command in documented()} >= {*VERBS, "pip", "visualdl"} - {"configs"}


@pytest.mark.parametrize("command", [*of_mammo(documented()), *of_mammo(run_by_ci())], ids=str)
def test_options_and_settings_exist(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        _, arguments = parse(command)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    configs = [getattr(arguments, name, None) for name in ("config", "against")]
    for config in filter(None, configs):
        assert (ROOT / config).is_file(), f"{config}: there is no such configuration"
    if getattr(arguments, "override", None):
        load_settings(configs[0], arguments.override)


@pytest.mark.parametrize("command", [command for command in documented() if command.verb == "visualdl"], ids=str)
def test_visualdl_shows_a_folder(command: Command) -> None:
    assert {word for word in command.words if word.startswith("--")} <= VISUALDL_OPTIONS


@pytest.mark.parametrize("command", [command for command in documented() if command.verb == "pip"], ids=str)
def test_extras_exist(command: Command) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert what_it_does(command)[1] <= set(setup["options.extras_require"])


@pytest.mark.parametrize("command", [command for command in documented() if command.runs_in_ci], ids=str)
def test_ci_runs_it(command: Command) -> None:
    assert what_it_does(command) in {what_it_does(run) for run in run_by_ci()}


def test_ci_runs_tools_and_the_installed_command() -> None:
    first = [command.words[0] for command in of_mammo(run_by_ci())]
    assert min(first.count("mammo"), first.count("python")) >= 10


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_exists_in_both_languages(page: Path) -> None:
    if page.name != "experiments.md":  # a log, in English only
        name = page.name.replace(".zh-CN.md", ".md")
        assert {page.with_name(name), page.with_name(name.replace(".md", ".zh-CN.md"))} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_both_languages_have_the_same_commands(page: Path) -> None:
    """A command that stands in the English page stands in the Chinese one, word for word, and the other way round."""
    if page.name.endswith(".zh-CN.md"):
        english = page.with_name(page.name.replace(".zh-CN.md", ".md"))
        commands = [
            [
                (command.words, command.runs_in_ci)
                for command in documented()
                if command.where == str(one.relative_to(ROOT))
            ]
            for one in (english, page)
        ]
        assert commands[0] == commands[1]


def test_readme_is_short() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 170
    assert len(text.split()) <= 1700
