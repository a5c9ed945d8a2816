"""`casona chat`: talk to a model."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from casona.cli.door import Door, open_door
from casona.cli.output import CliError, print_json, printable
from casona.home import Home

NO_MODEL = "there is no model to chat with yet; `casona pull --recommend` shows which suit this machine"
HELP = "/clear begins anew, /bye or Ctrl-D ends, Ctrl-C stops an answer"

Turn = dict[str, str]


@click.command()
@click.argument("model", required=False)
@click.argument("question", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as one JSON object.")
@click.pass_obj
def chat(home: Home, model: str | None, question: str | None, as_json: bool) -> None:
    """Talk to MODEL, or to the first there is.

    With a QUESTION, or one on standard input, it is answered and that is all; a single argument with a space
    in it is the question.
    """
    if model is not None and question is None and len(model.split()) > 1:
        model, question = None, model
    if question is None and not sys.stdin.isatty():
        question = sys.stdin.read()
    if question is None and as_json:
        raise click.UsageError("--json goes with a question")
    if question is not None and not question.strip():
        raise click.UsageError("the question is empty")
    with open_door(home) as door:
        talk = Talk(door, model or _first_model(door))
        if question is None:
            _converse(home, talk)
        elif as_json:
            print_json(talk.whole(question))
        else:
            talk.answer(question)


@dataclass(slots=True)
class Talk:
    """A conversation, so far. What was said before goes along with each question."""

    door: Door
    model: str
    turns: list[Turn] = field(default_factory=list)

    def whole(self, question: str) -> Any:
        """The answer as the API gives it."""
        return self.door.post_json("/v1/chat/completions", self._asked(question))

    def answer(self, question: str) -> None:
        """Print an answer as it comes. Breaking off leaves what has come in the conversation."""
        said: list[str] = []
        try:
            for piece in self._pieces(question):
                said.append(piece)
                _write(piece)
        finally:
            if said:
                self.turns += [_turn("user", question), _turn("assistant", "".join(said))]
                click.echo()

    def _pieces(self, question: str) -> Iterator[str]:
        body = self._asked(question) | {"stream": True}
        thinking = False
        for event in self.door.stream_lines("/v1/chat/completions", body):
            for choice in event.get("choices", ()):
                delta = choice.get("delta", {})
                if thought := delta.get("reasoning_content"):
                    _write_thought(thought)
                    thinking = True
                if text := delta.get("content"):
                    if thinking:
                        _write_thought("\n\n")
                        thinking = False
                    yield text

    def _asked(self, question: str) -> dict[str, Any]:
        return {"model": self.model, "messages": [*self.turns, _turn("user", question)]}


def _converse(home: Home, talk: Talk) -> None:
    """Until the person ends it."""
    from casona.cli.prompt import lines

    click.echo(f"{printable(talk.model)}. {HELP}.", err=True)
    for line in lines(home.path / "chat_history"):
        match line.strip():
            case "":
                continue
            case "/bye" | "/exit" | "/quit":
                return
            case "/clear":
                talk.turns.clear()
            case "/help" | "/?":
                click.echo(HELP, err=True)
            case _:
                _answered(talk, line)


def _answered(talk: Talk, line: str) -> None:
    """A person may stop an answer, and a question that fails does not end the conversation."""
    try:
        talk.answer(line)
    except KeyboardInterrupt:
        click.echo("(stopped)", err=True)
    except CliError as fault:
        click.echo(f"casona: {fault}", err=True)


def _first_model(door: Door) -> str:
    model = door.get_json("/health").get("model")
    if not model:
        raise CliError(NO_MODEL)
    return str(model)


def _turn(role: str, content: str) -> Turn:
    return {"role": role, "content": content}


def _write(text: str) -> None:
    click.echo(printable(text, also="\n\t") if sys.stdout.isatty() else text, nl=False)
    sys.stdout.flush()


def _write_thought(text: str) -> None:
    """What a model thinks is no part of its answer: it is shown to people only."""
    if sys.stdout.isatty():
        click.echo(click.style(printable(text, also="\n\t"), dim=True), nl=False)
        sys.stdout.flush()
