"""The project's pages as tests see them: fenced blocks, what is said of each to the tests alone, links and anchors.

What a block needs stands in comments right above it, which no reader sees:

    <!-- runs: here -->          Python that needs nothing but the project; YAML, see below
    <!-- runs: stack -->         commands or Python on the embedded stack, after those above it
    <!-- runs: space -->         YAML that is a search space (`scenes`: of synthetic data, `rules`: of a gate,
                                 `classes`: a list of them)
    <!-- file: my_space.py -->   what a file of that name holds, for blocks below it
    <!-- not run: why -->        commands are still checked against the command line that there is
    <!-- output -->              what the last command of the block above prints
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from infra.cli import app

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
LANGUAGES = ("bash", "python", "yaml")
"""What has to say how it is run."""
MARKS = ("runs", "file", "not run", "output")
RUNS = ("here", "stack", "space", "scenes", "rules", "classes")

_FENCE = re.compile(r"(?P<above>(?:^<!-- [^\n]* -->\n)*)^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_MARK = re.compile(r"<!-- (?P<key>[a-z ]+?)(?:: (?P<value>.*?))? -->")
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<to>[^)\s]+)\)")
_BREAKS = {"|", ">", "<", "&&", ";", "&", "||"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    """Of its first line of text, from 1."""
    language: str
    text: str
    marks: dict[str, str]
    output: str
    """What the page says it prints; empty where it says nothing."""

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"

    @property
    def runs(self) -> str:
        return self.marks.get("runs", "")


def pages() -> list[Path]:
    """Every page for readers: the README, the pages of its table in that order, then any other."""
    table = re.findall(r"^\|.*\|$", README.read_text(encoding="utf-8"), re.M)
    named = [(REPOSITORY / match["to"]).resolve() for row in table for match in _LINK.finditer(row)]
    others = [*sorted((REPOSITORY / "docs").glob("*.md")), *sorted(REPOSITORY.glob("*.md"))]
    return list(dict.fromkeys([README, *(page for page in named if page.suffix == ".md" and page.is_file()), *others]))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, from top to bottom; an output belongs to the block above it."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        marks = {mark["key"]: mark["value"] or "" for mark in _MARK.finditer(match["above"])}
        line = text.count("\n", 0, match.start("text")) + 1
        if "output" in marks:
            above = found.pop()
            found.append(Block(**{**vars(above), "output": match["text"]}))
        else:
            found.append(
                Block(page=page, line=line, language=match["language"], text=match["text"], marks=marks, output="")
            )
    return found


def shell_commands(text: str) -> list[list[str]]:
    """The words of each command of a piece of shell, without comments, redirections and what is set before it."""
    commands: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split, words = True, []
        into_file = False
        for word in [*lexer, ";"]:
            if word in _BREAKS:
                if words:
                    commands.append(words)
                words, into_file = [], word in ("<", ">")
            elif not into_file and (words or not re.fullmatch(r"[A-Z_]+=.*", word)):
                words.append(word)
    return commands


def seldtune_commands(text: str) -> list[list[str]]:
    """The arguments of each `seldtune` command."""
    return [words[1:] for words in shell_commands(text) if words[0] == "seldtune"]


def parse(arguments: list[str]) -> tuple[str, dict[str, object]]:
    """What the command line makes of arguments: the command's words, and its parameters. Nothing is run.

    Raises:
        click.UsageError: there is no such command or option, or an argument is missing.
    """
    command, left, words = typer.main.get_command(app), list(arguments), []
    while hasattr(command, "commands"):
        while left and left[0].startswith("-"):
            left.pop(0)
        assert left, f"seldtune {' '.join(arguments)}: names no command"
        assert left[0] in command.commands, f"seldtune {' '.join(arguments)}: there is no command {left[0]!r}"
        words.append(left.pop(0))
        command = command.commands[words[-1]]
    return " ".join(words), command.make_context(" ".join(words), left).params


def links(page: Path) -> list[str]:
    """Where a page's links lead, as it says them; those inside of blocks are no links."""
    return [match["to"] for match in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8")))]


def anchors(page: Path) -> set[str]:
    """What `#...` may follow a page's name: its headings, as GitHub names them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


_SHAPES = (
    (re.compile(r"\b[a-z0-9]+://\S+"), "<address>"),
    (re.compile(r"\b\d+x-[\w-]+"), "<machine>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?"), "#"),
    (re.compile(r"(?<![\w.])[-+<]?\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?(?=[KMGT]?B\b|\W|$)"), "#"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"), "#"),
    (re.compile(r"\btoo few\b"), "#"),
    (re.compile(r"#(?: ?- ?#)+"), "#"),
    (re.compile(r"# (?:s|min|h)\b"), "# <time>"),
)


def shape(text: str, names: Iterable[str] = ()) -> list[str]:
    """The kinds of lines of an output, in the order in which they first come: without figures, addresses and names.

    Args:
        names: words that differ from run to run, as of fusions.
    """
    named = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, names)) + r")(?![\w.])") if names else None
    return list(dict.fromkeys(_shapes(text, named)))


def _shapes(text: str, named: re.Pattern[str] | None) -> Iterator[str]:
    for line in text.splitlines():
        if named is not None:
            line = named.sub("@", line)
        for pattern, kept in _SHAPES:
            line = pattern.sub(kept, line)
        if line := " ".join(line.split()):
            yield line
