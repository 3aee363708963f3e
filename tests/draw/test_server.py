"""The server of the page: what it sends, and whom and what it refuses."""

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest
from page_server import ask

from xpnet.draw import ADDRESS, listening
from xpnet.draw.answers import SIDE

TYPE = "application/octet-stream"


def drawing():
    """Return the bytes of a drawn 7."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[50:66, 60:160] = 255
    for row in range(66, 190):
        column = 150 - (row - 66) // 2
        image[row, column - 8 : column + 8] = 255
    return image.tobytes()


def post(address, body, *, path="/drawing", **headers):
    headers = {"Origin": address, "Content_Type": TYPE, **headers}
    return ask(address, "POST", path, body, **{name: value for name, value in headers.items() if value})


def raw(address, request):
    """Return what the server sends in answer to bytes, until it closes the connection."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer.decode()


def test_drawing_is_answered_with_probabilities_steps_and_activations(trained):
    status, headers, text = post(trained, drawing())
    assert (status, headers["Content-Type"]) == (200, "application/json")
    found = json.loads(text)
    assert found["state"] == "seen"
    assert found["predicted"] == int(np.argmax(found["figures"]))
    assert sum(found["figures"]) == pytest.approx(1, abs=1e-5)
    assert [found["steps"][-1][name] for name in ("height", "width")] == [28, 28]
    assert len(found["layers"]) == 1


def test_drawing_without_ink_or_with_a_speck_is_no_error(trained):
    assert json.loads(post(trained, bytes(SIDE * SIDE))[2]) == {"state": "empty"}
    speck = bytearray(SIDE * SIDE)
    speck[1000] = 255
    assert json.loads(post(trained, bytes(speck))[2]) == {"state": "unclear"}


def test_model_is_described(trained):
    about = json.loads(ask(trained, "GET", "/model")[2])
    assert about["classes"] == [*"0123456789"]
    assert (about["model"], about["figure"], about["side"]) == ("784-64-10", "probability", SIDE)
    assert about["accuracy"] > 0.97
    (layer,) = about["layers"]
    assert (layer["kind"], layer["count"], layer["made_by"]) == ("units", 64, "Linear(784, 64), Sigmoid()")


def test_page_names_only_files_of_this_server(trained):
    _, _, page = ask(trained, "GET", "/")
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {"page.css", "page.js", "icon.svg"} <= {*files}
    for name in [*files]:
        status, headers, text = ask(trained, "GET", f"/{name}")
        assert status == 200
        imported = re.findall(r'from "\./([\w.]+)"', text)
        for other in imported:
            status, headers, more = ask(trained, "GET", f"/{other}")
            assert (status, headers.get_content_type()) == (200, "text/javascript")
            text += more
        assert not re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9]", re.sub(r"// .*", "", text))


@pytest.mark.parametrize("path", ["/", "/page.js", "/model", "/nothing", "/drawing"])
def test_every_response_has_a_strict_policy(trained, path):
    _, headers, _ = ask(trained, "GET", path)
    policy = headers["Content-Security-Policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert "frame-ancestors 'none'" in policy
    assert {source for rule in policy for source in rule.split()[1:]} == {"'none'", "'self'"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "server" not in headers


def test_localhost_is_its_own_origin_too(trained):
    port = urlsplit(trained).port
    own = f"http://localhost:{port}"
    assert post(trained, drawing(), Host=f"localhost:{port}", Origin=own)[0] == 200
    # The two names are two origins to a browser.
    assert post(trained, drawing(), Origin=own)[0] == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1", "", "[::1]:{port}"]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/model"), ("POST", "/drawing")])
def test_foreign_host_is_refused(trained, method, path, host):
    host = host.format(port=urlsplit(trained).port)
    headers = {"Origin": f"http://{host}", "Content_Type": TYPE} if method == "POST" else {}
    status, _, text = ask(trained, method, path, drawing() if headers else None, Host=host, **headers)
    assert status == 403
    assert text == f"this server is {trained}, not {host!r}; open that address\n"


def test_request_without_a_host_or_with_two_is_refused(trained):
    host = trained.removeprefix("http://")
    for lines in (["GET / HTTP/1.1"], ["GET / HTTP/1.1", f"Host: {host}", "Host: evil.example"]):
        request = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
        assert raw(trained, request).startswith(("HTTP/1.1 400", "HTTP/1.1 403"))
    assert raw(trained, b"GET / HTTP/1.0\r\n\r\n").startswith("HTTP/1.1 403")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", None]
)
def test_drawing_from_a_foreign_origin_is_refused(trained, origin):
    origin = origin and origin.format(port=urlsplit(trained).port)
    status, headers, text = post(trained, drawing(), Origin=origin)
    assert (status, headers.get_content_type(), text.count("\n")) == (403, "text/plain", 1)
    assert trained in text


def test_request_with_two_origins_is_refused(trained):
    host = trained.removeprefix("http://")
    lines = ["GET / HTTP/1.1", f"Host: {host}", f"Origin: {trained}", "Origin: http://evil.example"]
    answer = raw(trained, "\r\n".join([*lines, "Connection: close", "", ""]).encode())
    assert answer.startswith("HTTP/1.1 403")
    assert answer.endswith(f"a request has one `Origin`, got 2; use the page {trained}\n")


def test_other_sites_may_link_to_the_page_and_do_nothing_else(trained):
    def site(name, mode, method="GET", path="/"):
        headers = {"Sec_Fetch_Site": name, "Sec_Fetch_Mode": mode}
        return ask(trained, method, path, **headers)[0]

    assert site("cross-site", "navigate") == 200
    assert site("same-origin", "cors", path="/model") == 200
    assert site("none", "navigate") == 200
    assert site("cross-site", "no-cors", path="/page.js") == 403
    assert site("same-site", "cors", path="/model") == 403
    assert post(trained, drawing(), Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 403
    assert post(trained, drawing(), Sec_Fetch_Site="same-site")[0] == 403
    assert post(trained, drawing(), Sec_Fetch_Site="same-origin")[0] == 200


def test_body_that_is_too_large_is_refused_before_it_is_read(trained):
    host = trained.removeprefix("http://")
    head = f"POST /drawing HTTP/1.1\r\nHost: {host}\r\nOrigin: {trained}\r\nContent-Type: {TYPE}\r\n"
    declared = raw(trained, f"{head}Content-Length: {10**12}\r\n\r\n".encode() + bytes(SIDE * SIDE + 1))
    assert declared.startswith("HTTP/1.1 413")
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    undeclared = raw(trained, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + 2 * chunk)
    assert undeclared.startswith("HTTP/1.1 413")
    assert undeclared.endswith("\r\n\r\na drawing has 50176 bytes, but more were sent\n")
    assert post(trained, drawing() + b"x")[0] == 413


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (b"", {}, 400, "a drawing has 50176 bytes, one for each of 224 x 224 pixels, got 0\n"),
        (b"7", {}, 400, "a drawing has 50176 bytes, one for each of 224 x 224 pixels, got 1\n"),
        (
            b"{}",
            {"Content_Type": "application/json"},
            415,
            f"a drawing has the type {TYPE}, got 'application/json'\n",
        ),
        (b"7", {"Content_Type": None}, 415, f"a drawing has the type {TYPE}, got ''\n"),
        (b"7", {"path": "/model"}, 405, "/model does not take POST\n"),
        (b"7", {"path": "/../x"}, 404, "there is no '/../x'; the page is /\n"),
    ],
)
def test_wrong_request_gets_one_plain_line(trained, body, headers, status, text):
    found = post(trained, body, **headers)
    assert (found[0], found[1].get_content_type(), found[2]) == (status, "text/plain", text)


def test_other_methods_are_refused(trained):
    assert ask(trained, "GET", "/drawing")[0] == 405
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert ask(trained, method, "/drawing", Origin=trained)[0] == 405
    assert ask(trained, "OPTIONS", "/drawing", Origin="http://evil.example")[0] == 403


def test_what_is_no_http_gets_a_refusal_and_the_server_goes_on(trained):
    assert raw(trained, b"\x16\x03\x01 hello\r\n\r\n").startswith("HTTP/1.1 400")
    assert raw(trained, b"GET / HTTP/1.1\r\nX: " + 100_000 * b"x").startswith("HTTP/1.1 4")
    assert ask(trained, "GET", "/")[0] == 200


def test_many_drawings_at_once_are_answered_or_refused(trained):
    with ThreadPoolExecutor(20) as executor:
        found = [*executor.map(lambda _: post(trained, drawing())[0], range(60))]
    assert {*found} <= {200, 503}
    assert 200 in found
    assert post(trained, drawing())[0] == 200


def test_server_listens_on_loopback_only():
    with listening(0) as listener:
        assert listener.getsockname()[0] == ADDRESS == "127.0.0.1"
