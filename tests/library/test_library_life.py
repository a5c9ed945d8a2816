"""The life of a document, told to a real library in its own process."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from library_house import ABEJAS, BEES, TIDES, Library, found, holding, put

from casona.exchange.errors import BadRequest, NotFound
from casona.library.client import LibraryClient
from casona.library.outcome import Outcome, Progress


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    library = Library(tmp_path_factory.mktemp("house") / "home")
    yield library
    library.close()


def test_a_file_is_stored_once_and_updated_when_it_changes(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        file = tmp_path / "nature.md"
        first, document = await put(client, file, BEES, "changing")
        second, same = await put(client, file, BEES, "changing")
        third, still = await put(client, file, TIDES, "changing")
        assert [first, second, third] == ["stored", "unchanged", "updated"]
        assert document == same == still
        assert await found(client, "moon and tide", "changing") == ["nature.md"]
        (hit,) = await client.retrieve("queen bee", collection="changing", limit=4)
        assert "moon" in hit.content
        swept = await client.sweep()
        assert (swept["collections"]["changing"], swept["leftovers"]) == (
            {"documents": 1, "passages": 1, "vectors": 1, "terms": 1, "removed_vectors": 0},
            0,
        )

    library.run(story)


def test_a_hit_is_exactly_the_text_at_its_place(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        source = tmp_path / "abejas.md"
        _, document = await put(client, source, ABEJAS, "exact")
        (hit,) = await client.retrieve("¿cuantos huevos pone la ABEJA?", collection="exact", limit=4)
        page = await client.page(document, 1)
        assert page.text[hit.start : hit.end] == hit.content
        told = (hit.document_id, hit.source, hit.page, hit.language, hit.heading, hit.collection)
        assert told == (document, str(source), 1, "es", ("Abejas",), "exact")
        assert 0 < hit.score <= 1

    library.run(story)


def test_what_is_known_of_a_document_is_told(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        _, document = await put(client, tmp_path / "abejas.md", ABEJAS, "told")
        (record,) = await client.documents("told")
        assert record == await client.document(document)
        assert msgspec.structs.asdict(msgspec.convert(record, _Told, from_attributes=True)) == {
            "id": document,
            "collection": "told",
            "source": str(tmp_path / "abejas.md"),
            "media_type": "text/markdown",
            "language": "es",
            "size_bytes": len(ABEJAS.encode()),
            "pages": 1,
            "passages": 1,
        }
        with pytest.raises(NotFound, match="has no page 2"):
            await client.page(document, 2)

    library.run(story)


class _Told(msgspec.Struct):
    id: str
    collection: str
    source: str
    media_type: str
    language: str
    size_bytes: int
    pages: int
    passages: int


def test_documents_of_two_languages_are_found_each_in_its_own(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        await put(client, tmp_path / "bees.md", BEES, "two")
        await put(client, tmp_path / "abejas.md", ABEJAS, "two")
        assert (await found(client, "How many eggs do queen bees lay?", "two"))[0] == "bees.md"
        assert (await found(client, "¿Cuántos huevos ponen las abejas reinas?", "two"))[0] == "abejas.md"

    library.run(story)


def test_a_removed_document_leaves_nothing_on_disk(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        await put(client, tmp_path / "bees.md", BEES, "removing")
        text = "Xylophagous quandaries perplexed Brunhilde's zephyrs yesterday."
        _, document = await put(client, tmp_path / "secret.md", text, "removing")
        assert holding(library.home, "Brunhilde") != []
        removed = await client.remove(document)
        assert removed.source == str(tmp_path / "secret.md")
        for word in ("Xylophagous", "xylophag", "Brunhilde", "brunhild", "zephyr", "secret.md"):
            assert holding(library.home, word) == [], word
        assert await found(client, "queen bee", "removing") == ["bees.md"]
        with pytest.raises(NotFound):
            await client.document(document)
        with pytest.raises(NotFound):
            await client.remove(document)

    library.run(story)


def test_what_an_update_replaces_leaves_nothing_on_disk(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        await put(client, tmp_path / "note.md", "The password of the vault is Gryphonsquatch.", "replacing")
        await put(client, tmp_path / "note.md", BEES, "replacing")
        await client.sweep()
        assert holding(library.home, "Gryphonsquatch") == holding(library.home, "gryphonsquatch") == []

    library.run(story)


def test_equal_bytes_are_kept_until_the_last_source_goes(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        text = BEES + "Only here: Quetzalwort.\n"
        _, first = await put(client, tmp_path / "a.md", text, "sharing")
        _, second = await put(client, tmp_path / "b.md", text, "sharing")
        assert first != second
        (record,) = [one for one in await client.collections() if one.name == "sharing"]
        assert (record.documents, record.passages) == (2, 1)
        await client.remove(first)
        assert await found(client, "queen bee", "sharing") == ["b.md"]
        await client.remove(second)
        assert "sharing" not in [one.name for one in await client.collections()]
        assert holding(library.home, "Quetzalwort") == []

    library.run(story)


def test_collections_keep_to_themselves(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        await put(client, tmp_path / "bees.md", BEES, "land")
        await put(client, tmp_path / "tides.md", TIDES, "sea")
        assert await found(client, "queen bee", "sea") == ["tides.md"]  # the nearest there is
        assert await found(client, "queen bee", "land") == ["bees.md"]
        hits = await client.retrieve("the tide and the queen bee", collection=None, limit=50)
        assert {"land", "sea"} <= {hit.collection for hit in hits}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        with pytest.raises(NotFound, match="there is no collection 'work'"):
            await client.retrieve("bees", collection="work", limit=4)
        assert [record.source for record in await client.documents("sea")] == [str(tmp_path / "tides.md")]

    library.run(story)


def test_what_cannot_be_read_is_refused_and_leaves_nothing(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        file = tmp_path / "fake.pdf"
        file.write_text("This is no PDF, says Wolpertinger.")
        outcome = await client.ingest(file, source="fake.pdf", collection="refusing")
        assert (outcome.path, outcome.outcome, outcome.document) == ("fake.pdf", "refused", None)
        assert outcome.reason
        assert holding(library.home, "Wolpertinger") == []
        assert "refusing" not in (await client.sweep())["collections"]

    library.run(story)


def test_a_source_that_can_no_longer_be_read_keeps_what_it_held(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        file = tmp_path / "bees.md"
        await put(client, file, BEES, "keeping")
        file.write_bytes(b"")
        assert (await client.ingest(file, source=str(file), collection="keeping")).outcome == "refused"
        assert await found(client, "queen bee", "keeping") == ["bees.md"]

    library.run(story)


def test_the_same_file_added_twice_at_once_is_one_document(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        file = tmp_path / "bees.md"
        file.write_text(BEES)
        adding = (client.ingest(file, source="bees.md", collection="once") for _ in range(4))
        outcomes = await asyncio.gather(*adding)
        assert sorted(each.outcome for each in outcomes) == ["stored", "unchanged", "unchanged", "unchanged"]
        assert len({each.document for each in outcomes}) == 1

    library.run(story)


def test_searches_are_answered_while_documents_come_in(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        await put(client, tmp_path / "bees.md", BEES, "busy")
        large = "\n\n".join(
            f"Paragraph {i} of a long report about harbours and cranes. " * 9 for i in range(2000)
        )
        coming = asyncio.create_task(put(client, tmp_path / "large.txt", large, "busy"))
        answers = 0
        while not coming.done():
            assert "bees.md" in await found(client, "queen bee", "busy")
            answers += 1
        assert answers
        assert (await coming)[0] == "stored"

    library.run(story)


def test_progress_is_told(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        (tmp_path / "bees.md").write_text(BEES)
        told: list[Progress] = []
        await client.ingest(tmp_path / "bees.md", source="bees.md", collection="telling", told=told.append)
        assert told == [
            Progress(stage="reading"),
            Progress(stage="embedding", done=1, total=1),
            Progress(stage="storing", done=1, total=1),
        ]

    library.run(story)


def test_a_name_that_is_no_text_is_refused(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        (tmp_path / "bees.md").write_text(BEES)
        with pytest.raises(BadRequest, match="is not valid Unicode"):
            await client.ingest(tmp_path / "bees.md", source="bees\udcff.md", collection="names")
        with pytest.raises(BadRequest, match=r"missing\.md: No such file"):
            await client.ingest(tmp_path / "missing.md", source="missing.md", collection="names")

    library.run(story)


def test_a_question_of_any_length_is_answered(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        await put(client, tmp_path / "bees.md", BEES, "long")
        assert await found(client, "queen bee " * 200_000, "long") == ["bees.md"]

    library.run(story)


def test_a_question_without_words_finds_nothing(library: Library, tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        await put(client, tmp_path / "bees.md", BEES, "wordless")
        assert await found(client, "\u2003", "wordless") == []
        assert await found(client, "", "wordless") == []

    library.run(story)


def test_outcomes_are_what_the_command_line_prints() -> None:
    assert msgspec.json.encode(Outcome(path="a.pdf", outcome="stored", document="1")) == (
        b'{"path":"a.pdf","outcome":"stored","document":"1","reason":""}'
    )
