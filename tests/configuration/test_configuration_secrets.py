"""Secrets that stand elsewhere: `${VARIABLE}` and `file:PATH`."""

import pytest
from pydantic import SecretStr

NODE = """\
nodes:
  - name: box
    kind: openai
    zone: private
    url: http://10.0.0.1:8000
    api_key: "{}"
"""


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${BOX_KEY}", "sk-1"),
        ("Bearer ${BOX_KEY}-${BOX_KEY}", "Bearer sk-1-sk-1"),
        ("$${BOX_KEY}", "${BOX_KEY}"),
        ("$BOX_KEY $$", "$BOX_KEY $$"),
        ("${SELF}", "${SELF}"),
    ],
)
def test_variables_are_put_in_once(desk, written, meant):
    desk.write(NODE.format(written))
    settings = desk.read({"BOX_KEY": "sk-1", "SELF": "${SELF}"}).settings
    assert settings.nodes[0].api_key == SecretStr(meant)


def test_variables_may_stand_in_dotenv(desk):
    desk.write(NODE.format("${BOX_KEY}"))
    desk.write("BOX_KEY=sk-2\n", ".env")
    assert desk.read().settings.nodes[0].api_key == SecretStr("sk-2")


def test_variables_reach_settings_of_every_type(desk):
    desk.write('server: {port: "${PORT}"}\n')
    assert desk.read({"PORT": "9000"}).settings.server.port == 9000


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("${NO_KEY}", "the variable NO_KEY is not set; export it or write it into .env"),
        ("${EMPTY}", "the variable EMPTY is not set; export it or write it into .env"),
        ("${NO-KEY}", "${NO-KEY} names no variable; write ${NAME}, or $${ for the characters ${"),
        ("${NO_KEY", "${NO_KEY names no variable; write ${NAME}, or $${ for the characters ${"),
        ("file:nowhere", "the file nowhere cannot be read: No such file or directory"),
        ("file:", "the file HOME cannot be read: Is a directory"),
        ("file:empty", "the file empty is empty"),
        ("file:/dev/zero", "the file /dev/zero is too large for a secret"),
        ("file:binary", "the file binary cannot be read: is not a text file"),
    ],
)
def test_a_secret_that_is_not_there_is_told_by_line(desk, written, problem):
    (desk.home / "empty").touch()
    (desk.home / "binary").write_bytes(b"\xff\xfe")
    told = desk.problems(NODE.format(written), environ={"EMPTY": ""})
    assert told == [f"casona.yaml:6: nodes[0].api_key: {problem.replace('HOME', str(desk.home))}"]


def test_secrets_are_read_from_files_beside_the_settings(desk, tmp_path):
    desk.write(NODE.format("file:box.key"))
    desk.write("sk-3\n", "box.key")
    assert desk.read().settings.nodes[0].api_key == SecretStr("sk-3")


def test_a_missing_secret_is_told_once_even_where_its_text_is_no_value(desk):
    assert desk.problems('nodes: [{name: box, kind: vllm, url: "${URL}"}]\nserver: {port: "${PORT}"}') == [
        "casona.yaml:1: nodes[0].url: the variable URL is not set; export it or write it into .env",
        "casona.yaml:2: server.port: the variable PORT is not set; export it or write it into .env",
    ]


def test_no_complaint_shows_a_secret(desk):
    told = desk.problems(
        """\
        nodes:
          - {name: box, kind: vllm, url: "${URL}", api_key: ["${KEY}"], zone: "${KEY}"}
        """,
        environ={"URL": "http://me:hunter2@box", "KEY": "hunter2"},
    )
    assert "hunter2" not in "".join(told)
    assert len(told) == 3


def test_the_token_of_hugging_face_may_have_the_name_its_own_tools_read(desk):
    (desk.home / ".env").write_text("HF_TOKEN=from-dotenv\n")
    tokens = [
        desk.read(environ).settings.hubs.huggingface_token
        for environ in ({}, {"HF_TOKEN": "own"}, {"CASONA_HUBS__HUGGINGFACE_TOKEN": "set"})
    ]
    assert tokens == [SecretStr("from-dotenv"), SecretStr("own"), SecretStr("set")]
