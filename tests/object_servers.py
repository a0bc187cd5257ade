"""Servers for tests, on loopback: S3 by moto, Google's in front of it, Azure by Azurite, HTTPS."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from email.utils import formatdate
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from urllib.parse import quote, unquote
from urllib.request import Request, urlopen

import pytest

from tests.web_servers import serving

START_SECONDS = 120  # on a busy machine


def find_free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve_s3() -> Iterator[dict[str, str]]:
    """An S3 server; yields the environment by which it is found."""
    pytest.importorskip("moto")
    port = find_free_port()
    code = "from moto.server import main; import sys; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        _wait_for(port, server)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert monotonic() < deadline, "the server did not start"
            assert server.poll() is None, "the server has ended"
            sleep(0.1)


SIGNED = (  # as a request of S3 is; moto does not check by whom
    "AWS4-HMAC-SHA256 Credential=test/20060102/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=0"
)


class _Google(BaseHTTPRequestHandler):
    """The XML API of Google Cloud Storage, in front of an S3 server with the same paths.

    What differs is that each write gives an object another generation, and that a write may depend
    on which one it replaces: 0 is none.
    """

    protocol_version = "HTTP/1.1"
    behind: str  # host and port of the S3 server
    changing: Lock

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        expected = self.headers.get("x-goog-if-generation-match")
        with self.changing if self.command in ("PUT", "DELETE") else nullcontext():
            if expected is not None and expected != self._find_generation():
                self._answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            self._answer(*self._ask(self.command, body))

    def __getattr__(self, name: str) -> Callable[[], None]:
        """The method for a method of HTTP."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._handle

    def _ask(self, method: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        passed = {n: v for n, v in self.headers.items() if n.lower() in ("range", "content-type")}
        passed["Authorization"] = SIGNED
        with closing(HTTPConnection(self.behind, timeout=60)) as connection:
            path, found, query = self.path.partition("?")
            connection.request(method, quote(unquote(path)) + found + query, body, passed)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()

    def _find_generation(self) -> str:
        status, headers, _ = self._ask("HEAD")
        return headers["x-amz-version-id"] if status == 200 else "0"

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name in ("etag", "last-modified", "content-range", "content-type"):
                self.send_header(name, value)
        if (generation := headers.get("x-amz-version-id")) is not None:
            self.send_header("x-goog-generation", generation)
        length = headers["content-length"] if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


@contextmanager
def serve_gs(s3: dict[str, str], folder: Path) -> Iterator[dict[str, str]]:
    """A server as Google's in front of an S3 server; yields the environment by which it is found.

    No such server of a package index speaks the XML API, which obstore uses.
    """
    _, _, behind = s3["AWS_ENDPOINT_URL"].partition("://")
    handler = type("Google", (_Google,), {"behind": behind, "changing": Lock()})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        account = {
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
            "disable_oauth": True,
        }
        account["gcs_base_url"] = f"http://127.0.0.1:{server.server_address[1]}"
        (folder / "account.json").write_text(json.dumps(account))
        yield {"GOOGLE_SERVICE_ACCOUNT": str(folder / "account.json")}


def keep_versions(environment: dict[str, str], url: str) -> None:
    """Let a bucket keep all versions of its objects, so that each write has an id."""
    url = f"{environment['AWS_ENDPOINT_URL']}/{url.removeprefix('s3://')}?versioning"
    text = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    kind = {"Content-Type": "application/xml"}
    urlopen(Request(url, text, kind, method="PUT"), timeout=60).close()


AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = (  # that of everybody's emulator, as its documentation says
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@contextmanager
def azurite(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """An Azure server with a container; yields its URL, and the environment by which it is found.

    Skips the test where the program ``azurite-blob`` is missing: npm installs it (azurite).
    """
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("no program azurite-blob")
    port = find_free_port()
    place = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    quiet = subprocess.DEVNULL
    more = ["--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    server = subprocess.Popen([program, *place, *more], cwd=folder, stdout=quiet, stderr=quiet)
    try:
        _wait_for(port, server)
        _create_container(f"http://127.0.0.1:{port}", "bucket")
        yield (
            "az://bucket",
            {
                "AZURE_STORAGE_USE_EMULATOR": "true",
                "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}",
                "AZURE_STORAGE_ACCOUNT_NAME": AZURITE_ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY,
            },
        )
    finally:
        server.kill()
        server.wait()


def _create_container(server: str, name: str) -> None:
    """Create a container by a request signed with the key of the account."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = [f"{key}:{value}" for key, value in headers.items()]
    path = f"/{AZURITE_ACCOUNT}/{AZURITE_ACCOUNT}/{name}\nrestype:container"
    text = "\n".join(["PUT", *[""] * 11, *signed, path])
    code = hmac.digest(base64.b64decode(AZURITE_KEY), text.encode(), "sha256")
    headers["Authorization"] = f"SharedKey {AZURITE_ACCOUNT}:{base64.b64encode(code).decode()}"
    url = f"{server}/{AZURITE_ACCOUNT}/{name}?restype=container"
    urlopen(Request(url, method="PUT", headers=headers), timeout=60).close()


def make_bucket(environment: dict[str, str], name: str) -> str:
    """Create a bucket; return its URL."""
    url = f"{environment['AWS_ENDPOINT_URL']}/{name}"
    urlopen(Request(url, method="PUT"), timeout=60).close()
    return f"s3://{name}"


def write_certificates(folder: Path) -> tuple[Path, Path]:
    """The certificate of an authority, and that of this machine with its key."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("test", "web")
    ]
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = []
    for number, extension in enumerate(
        (x509.BasicConstraints(ca=True, path_length=0), x509.SubjectAlternativeName(alternatives))
    ):
        builder = x509.CertificateBuilder(
            names[0], names[number], keys[number].public_key(), x509.random_serial_number()
        )
        valid = builder.not_valid_before(now - day).not_valid_after(now + day)
        signed = valid.add_extension(extension, critical=False).sign(keys[0], hashes.SHA256())
        made.append(signed.public_bytes(serialization.Encoding.PEM))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    authority, server = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(made[0])
    server.write_bytes(made[1] + private)
    return authority, server


class _Files(BaseHTTPRequestHandler):
    """Files of a folder, in parts where they are asked for, with entity tags."""

    folder: Path
    most = 1 << 30  # bytes after which a connection is closed
    dropped: list[bool]  # whether each was closed early

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, *, with_content: bool) -> None:
        path = self.folder / unquote(self.path).lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        begin, end = 0, len(data)
        if asked:
            begin, end = int(asked[1]), min(end, int(asked[2] or len(data)) + 1)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(end - begin))
        self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        self.send_header("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        self.end_headers()
        if with_content:
            self.dropped.append(end - begin > self.most)
            self.wfile.write(data[begin:end][: self.most])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


@contextmanager
def serve_https(
    folder: Path, certificate: Path, *, most: int = 1 << 30, dropped: list[bool] | None = None
) -> Iterator[str]:
    """A server of a folder; yields its URL. Answers end after ``most`` bytes."""
    fields = {"folder": folder, "most": most, "dropped": [] if dropped is None else dropped}
    handler = type("Files", (_Files,), fields)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield f"https://localhost:{server.server_address[1]}"
