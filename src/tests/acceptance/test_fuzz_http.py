"""Broken and odd requests against Gunicorn as deployed: each gets an answer or a closed connection."""

import json
import socket
from contextlib import ExitStack

import pytest

from tests.acceptance.service import call
from tests.make import REQUEST, short_id

BODY = json.dumps(REQUEST).encode()
PATH = b"/api/v1/payouts/"


def post(*headers, body=BODY, path=PATH):
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path, *headers, version=b"HTTP/1.1", method=b"GET"):
    return b"\r\n".join([method + b" " + path + b" " + version, b"Host: localhost", *headers]) + b"\r\n\r\n"


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = get(b"/api/v1/smuggled/")
# A request, and the statuses that it may get. None means that the connection is closed without an answer.
ODD_REQUESTS = {
    "two lengths": (post(LENGTH, b"Content-Length: 3"), {400}),
    "the same length twice": (post(LENGTH, LENGTH), {400}),
    "a list of lengths": (post(b"Content-Length: 5, 5"), {400}),
    "a length with a sign": (post(b"Content-Length: +%d" % len(BODY)), {400}),
    "a negative length": (post(b"Content-Length: -1"), {400}),
    "a length in hex": (post(b"Content-Length: 0x10"), {400}),
    "a length of other digits": (post("Content-Length: ١٠".encode()), {400}),
    "an endless length": (post(b"Content-Length: " + b"9" * 30), {400}),
    "length and chunks": (post(LENGTH, b"Transfer-Encoding: chunked", body=CHUNKS + SMUGGLED), {400}),
    "chunks and length": (post(b"Transfer-Encoding: chunked", LENGTH, body=CHUNKS + SMUGGLED), {400}),
    "chunks": (post(b"Transfer-Encoding: chunked", body=CHUNKS), {411}),
    "an unknown coding": (post(b"Transfer-Encoding: xchunked", body=CHUNKS), {400, 411, 501}),
    "chunks, then identity": (post(b"Transfer-Encoding: chunked, identity", body=CHUNKS), {400, 411, 501}),
    "a coding after a space": (post(b"Transfer-Encoding : chunked", body=CHUNKS), {400}),
    "a coding after a tab": (post(b"Transfer-Encoding:\tchunked", body=CHUNKS), {400, 411}),
    "a coding in a folded line": (post(b"X: y\r\n Transfer-Encoding: chunked"), {400}),
    "a length in a folded line": (post(b"X: y\r\n " + LENGTH), {400}),
    "a chunk that is no chunk": (post(b"Transfer-Encoding: chunked", body=b"zz\r\n" + BODY), {400, 411}),
    "a chunk of endless size": (post(b"Transfer-Encoding: chunked", body=b"f" * 40 + b"\r\n"), {400, 411}),
    "a body shorter than announced": (post(b"Content-Length: %d" % (len(BODY) + 9)), {400}),
    "a body longer than announced": (post(LENGTH, body=BODY + b"x" * 99), {201}),
    "no body": (post(b"Content-Length: 9", body=b""), {400}),
    "a header of 100 KB": (get(PATH, b"X-Long: " + b"x" * 100_000), {400, 431}),
    "5000 headers": (get(PATH, *(b"X-%d: y" % number for number in range(5000))), {400, 431}),
    "a path of 100 KB": (get(PATH + b"x" * 100_000), {400, 414}),
    "a query of 3 KB": (get(PATH + b"?search=" + b"x" * 3000), {400}),
    "a header without a colon": (get(PATH, b"nonsense"), {400}),
    "a header without a name": (get(PATH, b": nonsense"), {400}),
    "a space in a header's name": (get(PATH, b"X Y: z"), {400}),
    "an underscore for a dash": (post(b"Content_Length: 3", LENGTH), {201, 400}),
    "a null in a header": (get(PATH, b"X-Null: a\0b"), {400}),
    "a bare line feed in a header": (get(PATH, b"X-LF: a\nX-Other: b"), {200, 400}),
    "a bare carriage return in a header": (get(PATH, b"X-CR: a\rb"), {400}),
    "a header that is not ASCII": (get(PATH, b"X-Request-ID: \xff\xfe"), {200, 400}),
    "two hosts": (get(PATH, b"Host: elsewhere.example"), {400}),
    "no host": (b"GET " + PATH + b" HTTP/1.1\r\n\r\n", {200, 400}),
    "a null for a host": (b"GET " + PATH + b" HTTP/1.1\r\nHost: \0\r\n\r\n", {400}),
    "a method that does not exist": (get(PATH, method=b"FROBNICATE"), {405}),
    "a method of small letters": (get(PATH, method=b"get"), {400, 405}),
    "a method that is none": (get(PATH, method=b"G\xffT"), {400}),
    "TRACE": (get(PATH, b"X-Secret: 1", method=b"TRACE"), {405}),
    "CONNECT": (get(b"elsewhere.example:443", method=b"CONNECT"), {400, 404, 405}),
    "an absolute URI": (get(b"http://elsewhere.example" + PATH), {200, 400, 404}),
    "a URI of another kind": (get(b"file:///etc/passwd"), {400, 404}),
    "an encoded slash": (get(b"/api%2fv1%2fpayouts%2f"), {200, 404}),
    "an encoded null": (get(PATH + b"%00/"), {404}),
    "a null": (get(PATH + b"\0/"), {400, 404}),
    "an encoded line": (get(PATH + b"%0d%0aX-Injected:%20yes"), {404}),
    "dots": (get(b"/api/v1/payouts/../../../../etc/passwd"), {404}),
    "encoded dots": (get(b"/static/%2e%2e/%2e%2e/config/settings.py"), {404}),
    "half an encoded byte": (get(PATH + b"%f"), {404}),
    "bytes that are no UTF-8": (get(PATH + b"\xff\xfe/"), {400, 404}),
    "a path without a slash": (get(b"payouts"), {400, 404}),
    "an asterisk": (get(b"*", method=b"OPTIONS"), {400, 404}),
    "HTTP 0.9": (b"GET " + PATH + b"\r\n", {400, None}),
    "HTTP 3.0": (get(PATH, version=b"HTTP/3.0"), {400, 505}),
    "a version that is none": (get(PATH, version=b"HTTP/one"), {400}),
    "HTTP 2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40, {400, None}),
    "nulls": (b"\0" * 5000 + b"\r\n\r\n", {400, 414, None}),
    "nothing": (b"", {None}),
    "empty lines": (b"\r\n" * 2000, {400, None}),
    "an unanswerable upgrade": (get(PATH, b"Connection: Upgrade", b"Upgrade: websocket"), {200, 400}),
    "an expectation": (post(LENGTH, b"Expect: 100-continue"), {201}),
    "another expectation": (post(LENGTH, b"Expect: the-unexpected"), {201, 400, 417}),
    "a compressed body": (post(LENGTH, b"Content-Encoding: gzip"), {201, 400, 415}),
    "1 MB": (post(b"Content-Length: 1000000", body=b" " * 1_000_000), {413}),
    "a proxy's preface": (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + get(PATH), {400}),
}


def connect(service):
    connection = socket.create_connection(("127.0.0.1", service.port))
    # So long that only a stuck server exceeds it.
    connection.settimeout(40)
    return connection


def statuses(connection):
    """The statuses of all answers until the server closes the connection."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return [int(line.split()[1]) for line in received.splitlines() if line.startswith(b"HTTP/1.1 ")]


def send(service, request):
    with connect(service) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            # The server has closed the connection. Its answer can still be read.
            pass
        return statuses(connection)


@pytest.mark.parametrize("name", ODD_REQUESTS, ids=short_id)
def test_an_odd_request_gets_an_answer_or_a_closed_connection(service, name):
    request, expected = ODD_REQUESTS[name]
    status, *later_statuses = [code for code in send(service, request) if code != 100] or [None]
    assert status in expected
    # The rest of the bytes is not read as a second request.
    assert set(later_statuses) <= {400}
    assert call("GET", f"{service.base}/healthz/").status == 200


def test_requests_sent_at_once_are_answered_in_their_order(service):
    requests = [get(b"/healthz/"), post(LENGTH), get(b"/nowhere/"), get(PATH + b"?status=x"), get(b"/healthz/")]
    answers = send(service, b"".join(requests))
    # Gunicorn's threads may close the connection after the first.
    assert answers == [200, 201, 404, 400, 200][: len(answers)] != []


def test_a_request_in_pieces_of_one_byte_is_answered(service):
    with connect(service) as connection:
        for byte in post(LENGTH, b"Connection: close"):
            connection.sendall(bytes([byte]))
        assert statuses(connection) == [201]


@pytest.mark.parametrize(
    "data", [b"", b"G", post(b"Content-Length: 99", body=b"{")], ids=["nothing", "a byte", "a part"]
)
def test_the_service_works_after_200_clients_stalled_and_left(service, data):
    """While they stall, they hold every thread. So a deployment needs a proxy that buffers requests."""
    with ExitStack() as clients:
        for _number in range(200):
            clients.enter_context(connect(service)).sendall(data)
    assert call("GET", service.payouts).status == 200
    assert service.post()["status"] == "NEW"
