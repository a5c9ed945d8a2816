"""The load, the mock node and the streams' clock, without a network."""

import time

import httptools
from bench.calls import Call
from bench.load import wrk_script
from bench.mock_node import AFTER_STAMP, BEFORE_STAMP, STREAM_HEAD, WHOLE_REPLY
from bench.streams import Stream, StreamFigures, Tape, figures


class Reader:
    def __init__(self) -> None:
        self.body = b""
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def chunk(sent_ns: int) -> bytes:
    return b"%b%019d%b" % (BEFORE_STAMP, sent_ns, AFTER_STAMP)


def test_a_request_says_its_length_and_carries_its_headers() -> None:
    call = Call(port=8080, path="/v1/x", model="m", headers={"authorization": "Bearer k"})
    head, _, body = call.request(stream=True).partition(b"\r\n\r\n")
    assert head.decode().split("\r\n") == [
        "POST /v1/x HTTP/1.1",
        "host: 127.0.0.1:8080",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "authorization: Bearer k",
    ]
    assert body == call.body(stream=True)


def test_the_nodes_whole_answer_is_framed_right() -> None:
    reader = Reader()
    httptools.HttpResponseParser(reader).feed_data(WHOLE_REPLY)
    assert reader.complete


def test_a_chunk_is_one_event_of_one_frame() -> None:
    reader = Reader()
    httptools.HttpResponseParser(reader).feed_data(STREAM_HEAD + chunk(7) + chunk(8))
    events = reader.body.split(b"\n\n")
    assert [b'"t0000000000000000007"' in events[0], b'"t0000000000000000008"' in events[1]] == [True, True]
    assert events[2:] == [b""]


def test_a_chunk_cut_anywhere_is_counted_once() -> None:
    whole = chunk(time.monotonic_ns())
    for cut in range(len(whole) + 1):
        tape = Tape()
        tape.running = True
        stream = Stream(b"", tape)
        for piece in (STREAM_HEAD, whole[:cut], whole[cut:], whole):
            stream.data_received(piece)
        assert len(tape.latencies_ns) == 2, cut


def test_chunks_before_the_measuring_count_for_nothing() -> None:
    tape = Tape()
    Stream(b"", tape).data_received(STREAM_HEAD + chunk(1))
    assert tape.latencies_ns == []


def test_stream_figures_are_rates_and_milliseconds() -> None:
    latencies_ns = [1_000_000 * number for number in range(1, 201)]
    assert figures(latencies_ns, 4, 2.0) == StreamFigures(4, 100.0, 100.0, 198.0, 200.0)


def test_texts_of_any_kind_can_be_given_to_wrk() -> None:
    script = wrk_script(Call(port=1, path="/a]]b", headers={"x-strange": 'quote " and ]=]'}))
    assert "wrk.path = [=[/a]]b]=]" in script
    assert 'wrk.headers[ [=[x-strange]=] ] = [==[quote " and ]=]]==]' in script
