"""An object store in memory that speaks as much S3 as s3fs asks for; it checks no signature."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class S3Server:
    """objects: bytes by BUCKET/KEY. closed: keys that give no permission. Stops with the block."""

    def __init__(self):
        self.objects: dict[str, bytes] = {}
        self.closed: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def _handler(store: S3Server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, code: int, body: bytes = b"", **headers):
            self.send_response(code)
            for name, value in ({"Content-Length": len(body)} | headers).items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def refuse(self, code: int, word: str):
            self.answer(code, f"<Error><Code>{word}</Code><Message>no</Message></Error>".encode())

        @property
        def key(self) -> str:
            return unquote(urlsplit(self.path).path).lstrip("/")

        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            store.objects[self.key] = body
            self.answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            asked = parse_qs(urlsplit(self.path).query)
            if "list-type" in asked:
                return self.listed(asked)
            if "/" not in self.key.strip("/"):  # whether there is such a bucket
                there = any(name.startswith(self.key.strip("/") + "/") for name in store.objects)
                return self.answer(200) if there else self.refuse(404, "NoSuchBucket")
            body = store.objects.get(self.key)
            if self.key in store.closed:
                return self.refuse(403, "AccessDenied")
            if body is None:
                return self.refuse(404, "NoSuchKey")
            tag = {"ETag": '"x"', "Last_Modified": "Tue, 01 Jan 2030 00:00:00 GMT"}
            if "Range" not in self.headers:
                return self.answer(200, body, **tag)
            start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
            if int(start) >= len(body):
                return self.refuse(416, "InvalidRange")
            some = body[int(start) : int(end or len(body)) + 1]
            return self.answer(206, some, **tag)

        def listed(self, asked: dict):
            bucket, prefix = self.key.strip("/"), asked.get("prefix", [""])[0]
            if not any(name.startswith(f"{bucket}/") for name in store.objects):
                return self.refuse(404, "NoSuchBucket")
            files, folders = [], []
            for name in sorted(store.objects):
                key = name.removeprefix(f"{bucket}/")
                if not name.startswith(f"{bucket}/{prefix}"):
                    continue
                rest = key[len(prefix) :]
                if "delimiter" in asked and "/" in rest:
                    folders.append(prefix + rest.split("/")[0] + "/")
                else:
                    files.append((key, len(store.objects[name])))
            when = "2030-01-01T00:00:00.000Z"
            said = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>x</ETag>"
                f"<LastModified>{when}</LastModified></Contents>"
                for key, size in files
            )
            said += "".join(
                f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>"
                for one in dict.fromkeys(folders)
            )
            said = f"<Name>{bucket}</Name><IsTruncated>false</IsTruncated>{said}"
            return self.answer(200, f"<ListBucketResult>{said}</ListBucketResult>".encode())

    return Handler
