"""What a client of a REST API sees of a function that streams, and what the function sees of the client."""

import http.client
import json
import unittest
from urllib.parse import urlsplit

from tests.stack import http as whole
from tests.stack import stack, wait_for


class Streaming(unittest.TestCase):
    def setUp(self) -> None:
        self.go = stack().folder / "go"
        self.go.write_bytes(b"")

    def tearDown(self) -> None:
        # Whatever still streams comes to its end.
        self.go.write_bytes(b"." * 1000)

    def let(self, pieces: int) -> None:
        self.go.write_bytes(b"." * pieces)

    def open(self, what: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(urlsplit(stack().front).netloc, timeout=20)
        connection.request("GET", f"/streams/{what}")
        return connection, connection.getresponse()

    def ended(self, what: str) -> int:
        lines = stack().log_file.read_text().splitlines() if stack().log_file.exists() else []
        return sum(note["kind"] == "streamed" and note["what"] == what for note in map(json.loads, lines))

    def test_each_piece_arrives_before_the_next_one_is_made(self) -> None:
        connection, response = self.open("3")
        # The function has sent no piece yet.
        self.assertEqual((response.status, response.headers["content-type"]), (201, "text/event-stream"))
        self.assertEqual(response.headers["x-of-the-function"], "yes")
        self.assertEqual(response.headers.get_all("set-cookie"), ["a=1", "b=2"])
        for number in range(3):
            self.let(number + 1)
            self.assertEqual(response.readline(), f"piece {number}\n".encode())
        self.assertEqual(response.read(), b"")
        connection.close()

    def test_a_client_that_leaves_does_not_stop_the_function(self) -> None:
        before = self.ended("2")
        connection, response = self.open("2")
        self.let(1)
        self.assertEqual(response.readline(), b"piece 0\n")
        response.close()
        connection.close()
        self.assertEqual(self.ended("2"), before)
        self.let(2)
        wait_for("the end of the stream", lambda: self.ended("2") == before + 1)

    def test_a_function_that_dies_leaves_a_body_that_breaks_off(self) -> None:
        connection, response = self.open("die")
        self.let(1)
        with self.assertRaises(http.client.IncompleteRead):
            response.read()
        connection.close()

    def test_a_function_that_fails_before_it_streams_is_a_502_that_tells_nothing(self) -> None:
        answer = whole(f"{stack().front}/streams/panic")
        self.assertEqual((answer.status, answer.json()), (502, {"code": "from_the_template"}))

    def test_a_function_that_does_not_stream_where_it_must_is_an_error(self) -> None:
        answer = whole(f"{stack().front}/streams/buffered")
        self.assertEqual((answer.status, answer.json()), (500, {"code": "from_the_template"}))
