"""`casona.yaml`: what is read from it, and every way in which it can be wrong, told by file and line."""

from pathlib import Path

import pytest

from casona.configuration import Configuration, ConfigurationError, read
from casona.exchange.zones import Zone
from casona.settings import Model, Settings


def test_a_house_without_a_file_has_the_defaults(desk):
    assert desk.read() == Configuration(settings=Settings(), warnings=(), sources=())


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "{}", "\ufeff"])
def test_an_empty_file_has_the_defaults(desk, text):
    desk.write(text)
    assert desk.read().settings == Settings()


def test_the_file_is_read(desk, tmp_path):
    desk.write(
        """\
        server: {host: 0.0.0.0, port: 9000}
        nodes:
          - {name: general, kind: ollama, url: "http://10.66.66.10:11434", zone: private}
        models:
          assistant: {serve: ["llama3:8b@general"], fallback: [tiny@engine]}
        privacy: {max_zone: cloud}
        """
    )
    configuration = desk.read()
    settings = configuration.settings
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 9000)
    assert settings.nodes[0].url == "http://10.66.66.10:11434"
    assert settings.models == {"assistant": Model(serve=("llama3:8b@general",), fallback=("tiny@engine",))}
    assert settings.privacy.max_zone is Zone.CLOUD
    assert configuration.warnings == ()
    assert configuration.sources == (str(tmp_path / "casona.yaml"),)


def test_everything_wrong_is_told_at_once_by_line(desk):
    assert desk.problems(
        """\
        server: {host: 127.0.0.1, prot: 8080}
        nodes:
          - {name: general, kind: olama, url: "http://10.66.66.10:11434"}
          - kind: vllm
            url: nonsense
          - name: "two words"
            kind: vllm
            url: http://10.0.0.1:8000
        models:
          assistant: {serve: "llama3@general", fallback: [7]}
          empty: {serve: []}
        engine: {parallel: 0, memory_bytes: 8.5, warm: {}}
        library: [1]
        timeouts: {connect_s: 0, idle_s: .inf, first_event_s: soon}
        privacy: {max_zone: everywhere}
        discovery: {ollama: perhaps}
        """
    ) == [
        "casona.yaml:1: server.prot: no such setting; did you mean server.port?",
        "casona.yaml:3: nodes[0].kind: must be one of openai, llamacpp, vllm, mlx, localai, llamafile, "
        "ollama; did you mean ollama?",
        "casona.yaml:4: nodes[1].name: is required. What the node is called: `model@name` picks it.",
        "casona.yaml:5: nodes[1].url: is not understood. Where it listens, e.g. `http://10.0.0.5:11434`.",
        "casona.yaml:6: nodes[2].name: is no name: use up to 64 letters, digits, `.`, `_` and `-`",
        "casona.yaml:10: models.assistant.fallback[0]: must be text; put it in quotes",
        "casona.yaml:10: models.assistant.serve: must be a list such as [a, b]",
        "casona.yaml:11: models.empty.serve: must have at least 1 entry",
        "casona.yaml:12: engine.memory_bytes: must be a whole number, is 8.5",
        "casona.yaml:12: engine.parallel: must be at least 1, is 0",
        "casona.yaml:12: engine.warm: must be a list such as [a, b]",
        "casona.yaml:13: library: must be a map such as {name: value}",
        "casona.yaml:14: timeouts.connect_s: must be more than 0, is 0",
        "casona.yaml:14: timeouts.first_event_s: must be a number",
        "casona.yaml:14: timeouts.idle_s: must be at most 31536000, is inf",
        "casona.yaml:15: privacy.max_zone: must be one of local, private, cloud",
        "casona.yaml:16: discovery.ollama: must be true or false",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "server:\n  port: [",
            "casona.yaml:2: this is not YAML at column 10: expected the node content, but",
        ),
        ("a: 'x", "casona.yaml:1: this is not YAML at column 6: found unexpected end of stream"),
        ("server:\n\tport: 1\n", "casona.yaml:2: this is not YAML at column 1: found character '\\t'"),
        ("a: 1\n---\nb: 2\n", "casona.yaml:2: this is not YAML at column 1: but found another document"),
        (
            "a: !!python/object:os.system x",
            "casona.yaml:1: this is not YAML at column 4: could not determine",
        ),
        ("a: 1\nb: \x07\n", "casona.yaml:2: this is not YAML: a character that is not text (U+0007)"),
        ("- a\n- b\n", "casona.yaml:1: must be a map of settings such as `server: {port: 8080}`, is a list"),
        (
            "hello",
            "casona.yaml:1: must be a map of settings such as `server: {port: 8080}`, is a single value",
        ),
        ("[a, b]: 1", "casona.yaml:1: a key must be a name, not a list or map"),
        ("log: &a\n  level: *a\n", "casona.yaml:1: an alias that repeats itself without end"),
        ("server: !!int x", "casona.yaml:1: cannot be read: invalid literal for int() with base 10: 'x'"),
        ("a: " + "[" * 5000, "casona.yaml: this is nested too deeply"),
    ],
)
def test_what_is_not_yaml_is_told_by_line_and_column(desk, text, problem):
    [told] = desk.problems(text)
    assert told.startswith(problem)


def test_aliases_that_stand_for_billions_are_refused(desk):
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    [told] = desk.problems("\n".join(["a0: &a0 [x]", *rows]))
    assert told.endswith("an alias that repeats itself without end")


def test_a_setting_given_twice_is_told_with_both_lines(desk):
    assert desk.problems("server:\n  port: 1\n  host: a\n  port: 2\nserver: {}\n") == [
        "casona.yaml:4: server.port: given twice, the first time in line 2; keep one",
        "casona.yaml:5: server: given twice, the first time in line 1; keep one",
    ]


def test_an_unknown_setting_is_looked_for_in_the_other_groups(desk):
    assert desk.problems("port: 9000\nkeep_alive: 5m\nkeep_alive_s: 3\nname: x\n") == [
        "casona.yaml:1: port: no such setting; did you mean server.port?",
        "casona.yaml:2: keep_alive: no such setting; did you mean engine.keep_alive?",
        "casona.yaml:3: keep_alive_s: no such setting; did you mean server.keep_alive_s?",
        "casona.yaml:4: name: no such setting; docs/settings.md has all",
    ]


def test_yaml_keeps_its_anchors_and_merges(desk):
    desk.write(
        """\
        nodes:
          - &box {name: one, kind: vllm, url: "http://10.0.0.1:8000", timeouts: {connect_s: 1}}
          - {<<: *box, name: two}
        """
    )
    one, two = desk.read().settings.nodes
    assert two == one.model_copy(update={"name": "two"})


def test_names_that_yaml_takes_for_other_things_stay_names(desk):
    desk.write("models: {8: {serve: [a@engine]}, on: {serve: [2026-01-01@engine]}}\n")
    assert list(desk.read().settings.models) == ["8", "on"]


def test_relative_paths_mean_the_home_directory(desk, tmp_path):
    desk.write(
        """\
        nodes: [{name: box, kind: vllm, url: "https://10.0.0.1", ca_file: ca.pem}]
        engine: {program: bin/llama-server, lora: [styles/formal.gguf, /opt/legal.gguf]}
        """
    )
    settings = desk.read().settings
    assert settings.nodes[0].ca_file == f"{tmp_path}/ca.pem"
    assert settings.engine.program == f"{tmp_path}/bin/llama-server"
    assert settings.engine.lora == (f"{tmp_path}/styles/formal.gguf", "/opt/legal.gguf")


def test_a_program_without_a_folder_is_looked_for_on_the_path(desk):
    desk.write("engine: {program: llama-server}\n")
    assert desk.read().settings.engine.program == "llama-server"


def test_a_file_by_the_other_suffix_is_not_passed_over_in_silence(desk, tmp_path):
    desk.write("server: {port: 1}\n", "casona.yml")
    with pytest.raises(ConfigurationError, match=r"casona\.yml: is not read; rename it to casona\.yaml$"):
        desk.read()


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "casona.yaml").mkdir()
    with pytest.raises(ConfigurationError, match=r"casona\.yaml: cannot be read: Is a directory$"):
        read(tmp_path, {})


def test_a_file_in_another_encoding_is_refused_by_line(tmp_path: Path):
    (tmp_path / "casona.yaml").write_bytes("server: {}\n# año\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"casona\.yaml:2: is not UTF-8; save the file as UTF-8$"):
        read(tmp_path, {})


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path):
    (tmp_path / "casona.yaml").symlink_to("/dev/zero")
    with pytest.raises(ConfigurationError, match="is larger than 4194304 bytes, too large for settings"):
        read(tmp_path, {})
