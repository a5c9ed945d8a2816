"""Settings that contradict each other, and entries that nothing can reach."""

NODES = """\
nodes:
  - {name: general, kind: ollama, url: "http://10.66.66.10:11434"}
  - {name: deepseek, kind: openai, url: "https://api.deepseek.com/v1"}
"""


def test_two_nodes_cannot_share_a_name_and_none_takes_the_engines(desk):
    assert desk.problems(
        """\
        nodes:
          - {name: box, kind: vllm, url: "http://10.0.0.1:8000"}
          - {name: box, kind: vllm, url: "http://10.0.0.2:8000"}
          - {name: engine, kind: vllm, url: "http://10.0.0.3:8000"}
        """
    ) == [
        "casona.yaml:3: nodes[1].name: box is already the name of nodes[0]",
        "casona.yaml:4: nodes[2].name: engine is the built-in engine; choose another name",
    ]


def test_a_model_at_an_unknown_node_is_told_with_a_guess(desk):
    assert desk.problems(
        NODES
        + """\
discovery: {ollama: false}
models:
  assistant: {serve: ["llama3:8b@genral", llama3], fallback: ["x@ollama"]}
library: {embedder: "@general"}
"""
    ) == [
        "casona.yaml:6: models.assistant.fallback[0]: no node is called ollama; "
        "there are deepseek, engine, general",
        "casona.yaml:6: models.assistant.serve[0]: no node is called genral; did you mean llama3:8b@general?",
        "casona.yaml:6: models.assistant.serve[1]: names no node; "
        "write it as model@node, such as llama3@engine",
        "casona.yaml:7: library.embedder: names no node; write it as model@node, such as general@engine",
    ]


def test_the_engine_and_a_found_ollama_are_nodes_too(desk):
    text = "models: {assistant: {serve: [tiny@engine, 'team@lead:8b@ollama']}}\nlibrary: {embedder: e@engine}"
    assert desk.warnings(text) == []


def test_nothing_runs_on_an_engine_that_is_off(desk):
    assert desk.problems("engine: {enabled: false}\nmodels: {a: {serve: [tiny@engine]}}\n") == [
        "casona.yaml:2: models.a.serve[0]: tiny@engine cannot run: engine.enabled is false"
    ]


def test_passages_must_be_longer_than_what_they_share(desk):
    assert desk.problems("library:\n  passage_chars: 150\n") == [
        "casona.yaml:1: library.overlap_chars: must be less than library.passage_chars, 150; is 150"
    ]


def test_what_lies_beyond_the_furthest_zone_is_told_as_a_warning(desk):
    assert desk.warnings(
        NODES
        + """\
models:
  assistant: {serve: ["llama3:8b@general"], fallback: ["deepseek-chat@deepseek"]}
"""
    ) == [
        "casona.yaml:5: models.assistant.fallback[0]: deepseek-chat@deepseek can never be reached: "
        "it is cloud and privacy.max_zone is private"
    ]


def test_a_node_that_nobody_may_reach_is_told_where_no_model_names_it(desk):
    assert desk.warnings(NODES) == [
        "casona.yaml:3: nodes[1]: deepseek can never be reached: it is cloud and privacy.max_zone is private"
    ]


def test_an_owner_who_opens_the_house_gets_no_warning(desk):
    assert desk.warnings(NODES + "privacy: {max_zone: cloud}\n") == []


def test_a_zone_that_was_said_counts_before_the_address(desk):
    text = "nodes: [{name: vps, kind: vllm, url: 'https://vps.example.org', zone: private}]\n"
    assert desk.warnings(text) == []


def test_a_fallback_that_was_tried_before_is_told(desk):
    text = "models: {a: {serve: [x@engine], fallback: [y@engine, x@engine, y@engine]}}\n"
    assert desk.warnings(text) == [
        "casona.yaml:1: models.a.fallback[1]: x@engine can never be reached: it is tried before",
        "casona.yaml:1: models.a.fallback[2]: y@engine can never be reached: it is tried before",
    ]


def test_models_to_warm_need_an_engine(desk):
    assert desk.warnings("engine: {enabled: false, warm: [tiny]}\n") == [
        "casona.yaml:1: engine.warm: no model is loaded at start: engine.enabled is false"
    ]


def test_an_address_of_the_internet_in_new_clothes_is_no_private_one(desk):
    assert desk.warnings("nodes: [{name: box, kind: vllm, url: 'http://[::ffff:8.8.8.8]:8000'}]\n") == [
        "casona.yaml:1: nodes[0]: box can never be reached: it is cloud and privacy.max_zone is private"
    ]
