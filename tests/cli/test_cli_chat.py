"""`casona chat`: one question, or a conversation on a real terminal, with the real engine."""

import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.web.reading_house import Reading, reading_house

from casona.cli import main
from casona.cli.chat import Talk, _answered
from casona.home import Home

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tiny_gguf: Path) -> Iterator[Reading]:
    folder = tmp_path_factory.mktemp("chatting")
    # random weights end an answer when they like: a short context ends it in time
    with reading_house(folder, [tiny_gguf], engine={"keep_alive": "-1", "threads": 1}) as house:
        yield house


def chatted(house: Reading, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["--home", str(house.house.home.path), "chat", *arguments], input=stdin)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["tiny", "hello"], None),
        (["tiny"], "hello\n"),
        (["hello there"], None),
        ([], "hello\n"),
    ],
    ids=["model and question", "standard input", "question alone", "standard input alone"],
)
def test_one_question_is_answered_and_that_is_all(
    house: Reading, arguments: list[str], stdin: str | None
) -> None:
    result = chatted(house, *arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout) > 1
    assert result.stdout.endswith("\n")


def test_an_answer_for_programs_is_one_object(house: Reading) -> None:
    told = json.loads(chatted(house, "tiny", "hello", "--json").stdout)
    assert (told["object"], told["model"], told["choices"][0]["message"]["role"]) == (
        "chat.completion",
        "tiny",
        "assistant",
    )


@pytest.mark.parametrize(
    ("arguments", "stdin", "complaint"),
    [
        (["nope", "hello"], None, "casona: the model 'nope' does not exist; there are: tiny\n"),
        (["tiny"], "  \n", "casona: the question is empty (see `casona chat --help`)\n"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    house: Reading, arguments: list[str], stdin: str | None, complaint: str
) -> None:
    result = chatted(house, *arguments, stdin=stdin)
    assert (result.exit_code > 0, result.stderr) == (True, complaint)


def test_without_a_model_the_way_to_one_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--home", str(tmp_path), "chat", "hello there"])
    assert (result.exit_code, result.stderr) == (
        1,
        "casona: there is no model to chat with yet; `casona pull --recommend` shows which suit this "
        "machine\n",
    )


def test_a_model_that_only_embeds_is_no_partner(tmp_path: Path, minilm_gguf: Path, tiny_gguf: Path) -> None:
    with reading_house(tmp_path, [minilm_gguf, tiny_gguf]) as house:
        health = house.ask("GET", "/health").json
    assert (health["models"], health["model"]) == (["minilm", "tiny"], "tiny")


class Recorded:
    """A door that says the same each time, and remembers what it was asked."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.asked: list[Any] = []

    def stream_lines(self, _path: str, body: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(body["messages"])
        yield {"choices": [{"delta": {"reasoning_content": "let me think"}}]}
        for piece in self.pieces:
            if piece == "^C":
                raise KeyboardInterrupt
            yield {"choices": [{"delta": {"content": piece}}]}
        yield {"choices": [], "usage": {}}


def test_what_was_said_goes_along_with_the_next_question(capsys: pytest.CaptureFixture[str]) -> None:
    door: Any = Recorded("Good ", "day.")
    talk = Talk(door, "m")
    talk.answer("Hello?")
    talk.answer("Again?")
    assert door.asked[1] == [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "Again?"},
    ]
    assert capsys.readouterr().out == "Good day.\n" * 2


@pytest.mark.parametrize(("pieces", "kept"), [(["Good ", "^C"], ["Hello?", "Good "]), (["^C"], [])])
def test_an_answer_that_was_stopped_is_kept_as_far_as_it_came(pieces: list[str], kept: list[str]) -> None:
    door: Any = Recorded(*pieces)
    talk = Talk(door, "m")
    with pytest.raises(KeyboardInterrupt):
        talk.answer("Hello?")
    assert [turn["content"] for turn in talk.turns] == kept


ON_A_TERMINAL = """
import fcntl, sys, termios
from casona.cli import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C becomes a signal
main(sys.argv[1:])
"""


def test_ctrl_c_stops_an_answer_and_not_the_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    door: Any = Recorded("Good ", "^C")
    _answered(Talk(door, "m"), "Hello?")
    assert capsys.readouterr() == ("Good \n", "(stopped)\n")


class Terminal:
    """`casona chat` on a terminal of its own."""

    def __init__(self, house: Reading) -> None:
        self._end, child = pty.openpty()
        home = str(house.house.home.path)
        self.program = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, "--home", home, "chat", "tiny"],
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb"},
        )
        os.close(child)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def wait_for(self, pattern: str) -> None:
        """Until something new on the screen looks like this."""
        deadline = time.monotonic() + DEADLINE_S
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.shown!r}"
            if select.select([self._end], [], [], 0.1)[0]:
                self.shown += os.read(self._end, 65536).decode(errors="replace")
        self.shown = self.shown[found.end() :]

    def close(self) -> int:
        code = self.program.wait(DEADLINE_S)
        os.close(self._end)
        return code


def test_a_conversation_on_a_terminal(house: Reading) -> None:
    terminal = Terminal(house)
    terminal.wait_for("/clear begins anew")
    terminal.wait_for(">>> ")
    terminal.type("hello\n")
    terminal.wait_for(r"hello\r?\n[\s\S]*\n>>> ")
    terminal.type("half a line\x03")
    terminal.wait_for(">>> ")
    terminal.type("/clear\n")
    terminal.wait_for(">>> ")
    terminal.type("\x04")
    assert terminal.close() == 0
    history = Home(house.house.home.path).path / "chat_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "hello" in history.read_text()
