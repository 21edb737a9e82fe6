"""A stand-in for the Hugging Face Hub: the part of its HTTP interface that a bank needs, over a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
OWNER = "me"


class Hub(BaseHTTPRequestHandler):
    """Keeps repositories of the owner `me` below `root`; each has one commit."""

    root: Path

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        words = self._words()
        if words[1:] == ["repos", "create"]:
            asked = json.loads(body)
            if asked.get("organization") != OWNER:
                return self._say({"error": "You don't have the rights to create a model here"}, 403)
            (self.root / OWNER / asked["name"]).mkdir(parents=True, exist_ok=True)
            return self._say({"url": f"{self._here()}/{OWNER}/{asked['name']}"})
        if words[1:] == ["validate-yaml"]:
            return self._say({"errors": [], "warnings": []})
        if words[4] == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            return self._say(
                {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]}
            )
        assert words[4] == "commit", self.path
        self._commit(body, self.root / words[2] / words[3])
        return self._say({"commitUrl": f"{self._here()}/{words[2]}/{words[3]}/commit/1", "commitOid": COMMIT})

    def do_GET(self) -> None:
        words = self._words()
        if words[0] != "api":  # owner, name, resolve, revision, file
            return self._file(self.root / words[0] / words[1] / words[4])
        folder = Path(self.root, *words[2:4])
        if words[1] != "models" or not folder.is_dir():
            return self._say({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if "tree" in words[4:5]:
            files = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _etag(path)}
                for path in sorted(folder.iterdir())
            ]
            return self._say(files)
        return self._say({"id": f"{words[2]}/{words[3]}", "sha": COMMIT, "siblings": []})

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _here(self) -> str:
        return f"http://{self.headers['Host']}"

    def _words(self) -> list[str]:
        return [unquote(word) for word in urlsplit(self.path).path.split("/")[1:]]

    def _commit(self, body: bytes, folder: Path) -> None:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                file = line["value"]
                (folder / file["path"]).write_bytes(base64.b64decode(file["content"]))

    def _file(self, path: Path) -> None:
        if not path.is_file():
            return self._say({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        return self._send(path.read_bytes(), 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(path)}"'})

    def _say(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(
            json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})}
        )

    def _send(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@contextmanager
def hub(root: Path) -> Iterator[str]:
    """Serves a folder of repositories on the loopback; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHub", (Hub,), {"root": root}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
