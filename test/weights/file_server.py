# SPDX-License-Identifier: Apache-2.0
"""A real HTTP server on 127.0.0.1 that serves one file well or badly."""

import contextlib
import http.server
import threading

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `content` under /file.bin and under every other name.

    Attributes:
        behaviour: "whole"; "cut" (every answer breaks off after `cut` bytes); "cut once"; "missing"; "busy" (503);
            "redirect" (to /moved/...); "page" (HTML with 200); "page as bytes"; "wrong length" (claims more than it
            sends); "slow" (in small pieces).
        ranges: whether it continues files. etag: of the content, None for none.
        requests: list of (path, Range header or None) in the order of arrival.
    """

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.behaviour, self.cut = content, "whole", 3 * 16384
        self.ranges, self.etag, self.requests = True, '"first"', []
        self.release = threading.Event()

    @property
    def url(self):
        """Address of the server, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the server's `behaviour` says."""

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append((self.path, wanted))
        if server.behaviour == "missing":
            return self.send_error(404)
        if server.behaviour == "busy":
            return self.send_error(503)
        if server.behaviour == "redirect" and not self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", f"/moved{self.path}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if server.behaviour.startswith("page"):
            kind = "text/html; charset=utf-8" if server.behaviour == "page" else "application/octet-stream"
            return self._send(PAGE, 200, kind, len(PAGE))
        return self._send_file(wanted)

    def _send_file(self, wanted):
        server, first = self.server, 0
        if wanted and server.ranges and self.headers.get("If-Range", server.etag) == server.etag:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            if first >= len(server.content):
                return self.send_error(416)
        body = server.content[first:]
        length = len(body) + (1000 if server.behaviour == "wrong length" else 0)
        if server.behaviour.startswith("cut"):
            body = body[: server.cut]
        if server.behaviour == "cut once":
            server.behaviour = "whole"
        return self._send(body, 206 if first else 200, "application/octet-stream", length, first)

    def _send(self, body, status, kind, length, first=0):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        if status == 206:
            whole = len(self.server.content)
            self.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
        self.end_headers()
        if self.server.behaviour == "slow":
            self.server.release.wait(20)
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        """Nothing."""


@contextlib.contextmanager
def serving(content):
    """A running `FileServer`."""
    server = FileServer(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
