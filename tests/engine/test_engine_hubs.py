"""Names, and what a hub offers for them."""

import json
from collections.abc import Iterator

import pytest
from tests.engine import hub_server
from tests.engine.hub_server import Hub, sha256

from casona.engine.hub.offer import Item, Offer
from casona.engine.hub.reference import parse
from casona.engine.hub.rows import MISFITS, instead
from casona.engine.hub.web import Cancel
from casona.exchange.errors import BadRequest, CasonaError, Forbidden, NodeFailed, NotFound


@pytest.mark.parametrize(
    ("name", "hub", "full"),
    [
        ("llama3", "ollama", "registry.ollama.ai/library/llama3:latest"),
        ("llama3:8b", "ollama", "registry.ollama.ai/library/llama3:8b"),
        ("qwen2.5:7b-instruct-q4_K_M", "ollama", "registry.ollama.ai/library/qwen2.5:7b-instruct-q4_K_M"),
        ("user/model:tag", "ollama", "registry.ollama.ai/user/model:tag"),
        ("registry.ollama.ai/library/llama3:8b", "ollama", "registry.ollama.ai/library/llama3:8b"),
        ("registry.example/team/model:tag", "ollama", "registry.example/team/model:tag"),
        ("nas:5000/team/model", "ollama", "nas:5000/team/model:latest"),
        ("localhost:5000/model", "ollama", "localhost:5000/library/model:latest"),
        ("hf.co/org/repo:Q4_K_M", "huggingface", "hf.co/org/repo:Q4_K_M"),
        ("huggingface.co/org/repo-GGUF", "huggingface", "hf.co/org/repo-GGUF:latest"),
        ("https://huggingface.co/org/repo-GGUF/", "huggingface", "hf.co/org/repo-GGUF:latest"),
    ],
)
def test_a_name_means_one_place(name: str, hub: str, full: str) -> None:
    reference = parse(name)
    assert (reference.hub, reference.full) == (hub, full)


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ":", "a:", ":b", "a:b:c", "../etc/passwd", "a/../b", "a//b", "a b", "llama3:8b@engine"),
        *("hf.co/repo", "hf.co/a/b/c", "hf.co//b", "a/b/c", "x" * 300, "ñ", "a\nb", "a?b", "host.x/a/b/c/d"),
    ],
)
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=r"is not the name of a model|is not a model"):
        parse(name)


def test_known_misfits_come_from_hugging_face_under_their_own_name() -> None:
    found = instead(parse("gemma4:e4b"))
    assert found
    assert (found.name, found.full) == ("gemma4:e4b", "hf.co/ggml-org/gemma-4-E4B-it-GGUF:latest")
    eight = instead(parse("gemma3:12b-it-q8_0"))
    assert eight
    assert eight.full == "hf.co/ggml-org/gemma-3-12b-it-GGUF:Q8_0"


@pytest.mark.parametrize(
    "name", ["llama3:8b", "gemma3:1b", "me/gemma4:e4b", "hf.co/a/gemma4:e4b", "gpt-oss:20b-cloud"]
)
def test_all_others_come_from_where_they_are(name: str) -> None:
    assert instead(parse(name)) is None


def test_every_row_is_a_repository() -> None:
    for rows in MISFITS.values():
        for repository in rows.values():
            assert parse(f"hf.co/{repository}").hub == "huggingface"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.running() as hub:
        yield hub


def offer(hub: Hub, name: str, *, token: str = "") -> Offer:
    return hub.connect(token).offer(parse(name), Cancel())


def item(hub: Hub, content: bytes, role: str = "model") -> Item:
    digest = sha256(content)
    return Item(
        url=f"{hub.url}/v2/library/llama3/blobs/sha256:{digest}",
        digest=digest,
        size_bytes=len(content),
        role=role,  # type: ignore[arg-type]
        place=f"blobs/sha256-{digest}.gguf",
    )


def test_the_registry_offers_files_and_texts(hub: Hub) -> None:
    digest = hub.add_ollama(
        "library/llama3:8b",
        ("model", b"weights"),
        ("template", b"{{ .Prompt }}"),
        ("license", b"first"),
        ("license", b"second"),
        ("params", b'{"stop": ["<|eot|>"], "temperature": 0.6}'),
        ("system", b"Be brief."),
        ("projector", b"eyes"),
        ("adapter", b"lora"),
        ("messages", b"[]"),
    )
    assert offer(hub, "llama3:8b") == Offer(
        digest=digest,
        items=(item(hub, b"weights"), item(hub, b"eyes", "projector"), item(hub, b"lora", "adapter")),
        source=f"{hub.url.removeprefix('http://')}/library/llama3:8b",
        template="{{ .Prompt }}",
        parameters={"stop": ["<|eot|>"], "temperature": 0.6},
        system="Be brief.",
        license="first\n\nsecond",
    )


def test_a_registry_on_this_machine_is_asked_as_it_is_named(hub: Hub) -> None:
    hub.add_ollama("team/model:tag", ("model", b"weights"))
    name = f"{hub.url.removeprefix('http://')}/team/model:tag"
    assert offer(hub, name).items[0].digest == sha256(b"weights")


def test_what_is_no_gguf_is_refused(hub: Hub) -> None:
    hub.add_ollama("library/a:latest", ("model", b"x"), config={"remote_host": "https://ollama.com:443"})
    hub.add_ollama("library/b:latest", ("tensor", b"x"), config={"model_format": "safetensors"})
    hub.add_ollama("library/c:latest", ("model", b"x"), ("model", b"y"))
    with pytest.raises(BadRequest, match=r"a runs in Ollama's cloud and cannot be pulled"):
        offer(hub, "a")
    for name in "bc":
        with pytest.raises(BadRequest, match=r"is not a single GGUF file"):
            offer(hub, name)


def test_an_unknown_model_is_told(hub: Hub) -> None:
    with pytest.raises(NotFound, match=r"has no model 'nothing:8b'"):
        offer(hub, "nothing:8b")
    with pytest.raises(NotFound, match=r"no repository a/b on Hugging Face"):
        offer(hub, "hf.co/a/b")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[]", b"{}", b'{"layers": 5}', b'{"layers": [{}]}', b"[" * 100_000),
        json.dumps({"layers": [{"mediaType": "x", "digest": "sha256:../../x", "size": 1}]}).encode(),
        json.dumps({"layers": [{"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": -1}]}).encode(),
        json.dumps({"layers": [{"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": 2**60}]}).encode(),
    ],
)
def test_a_manifest_that_is_none_is_told(hub: Hub, body: bytes) -> None:
    hub.manifests["/v2/library/llama3/manifests/latest"] = body
    with pytest.raises(NodeFailed, match=r"is not a model's manifest"):
        offer(hub, "llama3")


def test_a_text_with_a_wrong_checksum_is_refused(hub: Hub) -> None:
    hub.add_ollama("library/llama3:latest", ("model", b"weights"), ("template", b"good"))
    hub.blobs[sha256(b"good")] = b"evil"
    with pytest.raises(NodeFailed, match=r"the model's template came with wrong content"):
        offer(hub, "llama3")


FILES = {
    "repo-Q8_0.gguf": b"eight",
    "repo-Q4_K_M.gguf": b"four",
    "repo-UD-Q4_K_XL.gguf": b"dynamic",
    "BF16/repo-BF16-00001-of-00002.gguf": b"one",
    "BF16/repo-BF16-00002-of-00002.gguf": b"two",
    "repo-Q6_K-00001-of-00003.gguf": b"lonely",
    "mmproj-repo-BF16.gguf": b"eyes in bf16",
    "mmproj-repo-F16.gguf": b"eyes",
    "repo.imatrix.gguf": b"not a model",
}


@pytest.mark.parametrize(
    ("tag", "contents", "quantisation"),
    [
        ("", [b"four"], "Q4_K_M"),
        (":latest", [b"four"], "Q4_K_M"),
        (":Q8_0", [b"eight"], "Q8_0"),
        (":q8_0", [b"eight"], "Q8_0"),
        (":UD-Q4_K_XL", [b"dynamic"], "Q4_K_XL"),
        (":Q4_K_XL", [b"dynamic"], "Q4_K_XL"),
        (":BF16", [b"one", b"two"], "BF16"),
        (":repo-Q8_0.gguf", [b"eight"], "Q8_0"),
    ],
)
def test_the_tag_names_the_quantisation(hub: Hub, tag: str, contents: list[bytes], quantisation: str) -> None:
    hub.add_repository("org/repo", FILES)
    found = offer(hub, f"hf.co/org/repo{tag}")
    assert [one.digest for one in found.items] == [sha256(content) for content in [*contents, b"eyes"]]
    assert [one.role for one in found.items] == [*["model"] * len(contents), "projector"]
    assert (found.quantisation, found.license) == (quantisation, "apache-2.0")


def test_shards_lie_side_by_side_under_names_that_belong_together(hub: Hub) -> None:
    hub.add_repository("org/repo", FILES)
    first, second, _ = offer(hub, "hf.co/org/repo:BF16").items
    folder = first.place.rpartition("/")[0]
    assert folder == f"blobs/set-{sha256((sha256(b'one') + sha256(b'two')).encode())}"
    assert (first.place, second.place) == (
        f"{folder}/model-00001-of-00002.gguf",
        f"{folder}/model-00002-of-00002.gguf",
    )


def test_without_four_bits_the_next_sensible_is_taken(hub: Hub) -> None:
    hub.add_repository("org/repo", {"m-Q2_K.gguf": b"2", "m-F16.gguf": b"16", "m-Q8_0.gguf": b"8"})
    assert offer(hub, "hf.co/org/repo").quantisation == "Q8_0"


def test_a_missing_quantisation_is_told_with_those_there_are(hub: Hub) -> None:
    hub.add_repository("org/repo", FILES)
    with pytest.raises(NotFound, match=r"there is no Q3_K_S; there are BF16, Q4_K_M, Q4_K_XL, Q8_0$"):
        offer(hub, "hf.co/org/repo:Q3_K_S")


def test_a_repository_without_gguf_is_told(hub: Hub) -> None:
    hub.add_repository("org/repo", {"model.safetensors": b"x"})
    with pytest.raises(NotFound, match=r"has no GGUF files; look for"):
        offer(hub, "hf.co/org/repo")


@pytest.mark.parametrize("siblings", [None, 5, [5], [{}], [{"rfilename": "a.gguf", "lfs": 7}]])
def test_an_answer_that_cannot_be_read_is_told(hub: Hub, siblings: object) -> None:
    hub.repositories["/api/models/org/repo"] = {"siblings": siblings}
    with pytest.raises(CasonaError, match=r"cannot be read|has no GGUF files"):
        offer(hub, "hf.co/org/repo")


def test_the_token_goes_to_the_hub_and_not_where_it_leads(hub: Hub) -> None:
    hub.token = "hf_secret"
    hub.add_repository("org/repo", FILES)
    with pytest.raises(Forbidden, match=r"accept its terms at http.*/org/repo, set HF_TOKEN$"):
        offer(hub, "hf.co/org/repo")
    found = offer(hub, "hf.co/org/repo", token="hf_secret")
    web = hub.connect("hf_secret").web(parse("hf.co/org/repo"))
    with web.get(found.items[0].url, {}, Cancel()) as answer:
        assert answer.read(100) == b"four"
    assert [(asked.server, asked.token) for asked in hub.asked[1:]] == [
        ("hub", "Bearer hf_secret"),
        ("hub", "Bearer hf_secret"),
        ("files", ""),
    ]
