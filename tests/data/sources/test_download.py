import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tfcompress.data.sources import Request, SourceUnavailableError, download

from .conftest import CONTENT


@pytest.fixture
def serve(monkeypatch):
    """Starts a host that answers every request with the given bytes; gives its URL."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(content):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/pictures.bin.gz"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def hosted(builder, monkeypatch, url):
    (info,) = builder.url_infos.values()
    monkeypatch.setattr(builder, "URL", url)
    monkeypatch.setattr(builder, "url_infos", {url: info})


def test_data_set_comes_from_a_host_that_answers(tiny_builder, serve, monkeypatch, tmp_path):
    hosted(tiny_builder, monkeypatch, serve(CONTENT))
    published = download.obtain(Request("tiny_pictures", str(tmp_path)))
    assert published.source == "download"
    assert (len(published.train), len(published.test)) == (20, 10)


def test_wrong_content_is_refused_by_its_checksum(tiny_builder, serve, monkeypatch, tmp_path):
    hosted(tiny_builder, monkeypatch, serve(CONTENT[::-1]))
    with pytest.raises(SourceUnavailableError, match="NonMatchingChecksumError"):
        download.obtain(Request("tiny_pictures", str(tmp_path)))


def test_host_that_refuses_is_given_up(tiny_builder, monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(
        SourceUnavailableError, match=r"localhost:1/pictures.bin.gz does not answer"
    ):
        download.obtain(Request("tiny_pictures", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_host_that_never_answers_is_given_up_in_time(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        reason = download.unreachable(url, seconds=0.2)
    assert reason in ("no answer in 0.2 s", "timed out")


def test_answering_host_is_reachable(serve):
    assert download.unreachable(serve(b"x"), seconds=5) == ""
