"""The environment over the file, and `.env` beneath the environment."""

from pydantic import SecretStr

from casona.settings import Model


def test_the_environment_wins_over_the_file(desk):
    desk.write("server: {port: 9000, host: 0.0.0.0}\n")
    configuration = desk.read({"CASONA_SERVER__PORT": "9100", "PATH": "/bin"})
    assert (configuration.settings.server.port, configuration.settings.server.host) == (9100, "0.0.0.0")
    assert configuration.sources == (f"{desk.home}/casona.yaml", "CASONA_SERVER__PORT")


def test_lists_and_maps_are_given_as_yaml(desk):
    settings = desk.read(
        {
            "CASONA_NODES": '[{name: box, kind: vllm, url: "http://10.0.0.1:8000", api_key: "0042"}]',
            "CASONA_MODELS__ASSISTANT": "{serve: [qwen@box]}",
            "CASONA_SERVER__CORS_ORIGINS": '["*"]',
        }
    ).settings
    assert settings.nodes[0].api_key == SecretStr("0042")
    assert settings.models == {"assistant": Model(serve=("qwen@box",))}
    assert settings.server.cors_origins == ("*",)


def test_a_group_is_replaced_before_what_is_inside_it_is_set(desk):
    desk.write("server: {host: 0.0.0.0}\n")
    server = desk.read(
        {"CASONA_SERVER__PORT": "9100", "CASONA_SERVER": "{max_body_bytes: 2048}"}
    ).settings.server
    assert (server.host, server.port, server.max_body_bytes) == ("127.0.0.1", 9100, 2048)


def test_scalars_are_read_as_the_setting_wants_them(desk):
    settings = desk.read(
        {
            "CASONA_ENGINE__CONTEXT": "null",
            "CASONA_ENGINE__KEEP_ALIVE": "-1",
            "CASONA_ENGINE__MEMORY_BYTES": "8589934592",
            "CASONA_DISCOVERY__OLLAMA": "false",
            "CASONA_LIBRARY__ANSWER_MODEL": "123",
            "CASONA_LOG__LEVEL": "",
        }
    ).settings
    assert settings.engine.context is None
    assert settings.engine.keep_alive == "-1"
    assert settings.engine.memory_bytes == 8 * 2**30
    assert settings.discovery.ollama is False
    assert settings.library.answer_model == "123"
    assert settings.log.level == "info"


def test_unknown_variables_are_told_with_a_guess(desk):
    assert desk.problems(
        environ={
            "CASONA_PORT": "1",
            "CASONA_SERVR__PORT": "1",
            "CASONA_SERVER__PORT__HIGH": "1",
            "CASONA_NODES__0__URL": "http://10.0.0.1",
            "CASONA_WHATEVER_ELSE": "1",
            "CASONA_APIKEY": "1",
        }
    ) == [
        "CASONA_APIKEY: no such setting; did you mean CASONA_API_KEY?",
        "CASONA_NODES__0__URL: nodes is a list: give all of it as YAML in CASONA_NODES",
        "CASONA_PORT: no such setting; did you mean CASONA_SERVER__PORT?",
        "CASONA_SERVER__PORT__HIGH: no such setting; did you mean CASONA_SERVER__PORT?",
        "CASONA_SERVR__PORT: no such setting; did you mean CASONA_SERVER__PORT?",
        "CASONA_WHATEVER_ELSE: no such setting; docs/settings.md has all",
    ]


def test_variables_of_the_command_line_are_no_settings(desk):
    names = ("CASONA_HOME", "CASONA_SHARED", "CASONA_URL", "CASONA_API_KEY")
    assert desk.read(dict.fromkeys(names, "x")).sources == ()


def test_wrong_values_are_told_by_variable(desk):
    assert desk.problems(
        "server: {port: 1}",
        environ={
            "CASONA_SERVER__PORT": "99999",
            "CASONA_TIMEOUTS": "{connect_s: 1",
            "CASONA_LOG": "{level: debug, level: info}",
            "CASONA_MODELS__ASSISTANT": "{serve: [qwen@nowhere, 1], back: []}",
        },
    ) == [
        "CASONA_LOG: log: level is given twice; keep one",
        "CASONA_MODELS__ASSISTANT: models.assistant.back: no such setting; "
        "did you mean models.assistant.fallback?",
        "CASONA_MODELS__ASSISTANT: models.assistant.serve[1]: must be text; put it in quotes",
        "CASONA_SERVER__PORT: server.port: must be at most 65535, is 99999",
        "CASONA_TIMEOUTS: timeouts: this is not YAML at column 14: expected ',' or '}', "
        "but got '<stream end>', while parsing a flow mapping",
    ]


def test_a_file_that_has_something_else_in_the_way_is_told(desk):
    problems = desk.problems("server: 7\n", environ={"CASONA_SERVER__PORT": "1"})
    assert problems == ["casona.yaml:1: server: must be a map such as {name: value}"]


def test_a_group_left_empty_in_the_file_can_be_filled(desk):
    desk.write("log:\n")
    assert desk.read({"CASONA_LOG__LEVEL": "debug"}).settings.log.level == "debug"


def test_the_dotenv_file_is_read_and_the_real_environment_wins(desk):
    desk.write("# of this house\nexport CASONA_SERVER__PORT='9001'\nCASONA_LOG__LEVEL=debug\n", ".env")
    configuration = desk.read({"CASONA_SERVER__PORT": "9100"})
    assert (configuration.settings.server.port, configuration.settings.log.level) == (9100, "debug")
    assert configuration.sources == (f"{desk.home}/.env", "CASONA_SERVER__PORT")


def test_the_dotenv_file_is_told_by_line(desk):
    desk.write("# of this house\n\nCASONA_SERVER__PORT=no\nhalf a line\nCASONA_PROT=1\nNAME\n", ".env")
    assert desk.problems() == [
        ".env:3: server.port: must be a whole number",
        ".env:4: write it as NAME=value",
        ".env:5: CASONA_PROT: no such setting; did you mean CASONA_SERVER__PORT?",
        ".env:6: write it as NAME=value",
    ]
