"""A front of a Kafka server that encrypts connections, and that clients have to log in to."""

from __future__ import annotations

import hmac
import socket
import ssl
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from io import BufferedRWPair
from pathlib import Path
from threading import Thread

from scramp import ScramException, ScramMechanism

from tests.sources.brokers.servers import Kafka

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36  # requests
UNSUPPORTED_VERSION, SASL_AUTHENTICATION_FAILED = 35, 58  # errors

Login = Generator[bytes, bytes, bytes]
"""Gets each message of a client and gives its answer; returns the last one."""


class RefusedError(Exception):
    """A login failed."""


def plain(user: str, secret: str) -> Login:
    """RFC 4616."""
    found = yield b""
    if not hmac.compare_digest(found, f"\0{user}\0{secret}".encode()):
        raise RefusedError
    return b""


def scram(mechanism: str) -> Callable[[str, str], Login]:
    """RFC 5802, as scramp implements it."""

    def login(user: str, secret: str) -> Login:
        known = ScramMechanism(mechanism)
        server = known.make_server({user: known.make_auth_info(secret)}.__getitem__)
        try:
            first = yield b""
            server.set_client_first(first.decode())
            last = yield server.get_server_first().encode()
            server.set_client_final(last.decode())
        except (KeyError, ScramException):
            raise RefusedError from None
        last_word: str = server.get_server_final()
        return last_word.encode()

    return login


def bearer(user: str, secret: str) -> Login:
    """RFC 7628: who is refused gets a reason, and answers it."""
    del user
    found = yield b""
    if hmac.compare_digest(found, f"n,,\x01auth=Bearer {secret}\x01\x01".encode()):
        return b""
    yield b'{"status":"invalid_token"}'
    raise RefusedError


LOGINS: dict[str, Callable[[str, str], Login]] = {
    "PLAIN": plain,
    "SCRAM-SHA-256": scram("SCRAM-SHA-256"),
    "SCRAM-SHA-512": scram("SCRAM-SHA-512"),
    "OAUTHBEARER": bearer,
}


def read_frame(stream: BufferedRWPair) -> bytes:
    """A request or an answer, which its length precedes; empty at the end."""
    size = stream.read(4)
    return stream.read(*struct.unpack(">i", size)) if len(size) == 4 else b""


def write_frame(stream: BufferedRWPair, frame: bytes) -> None:
    stream.write(struct.pack(">i", len(frame)) + frame)
    stream.flush()


class SaslFront:
    """Speaks TLS and SASL (KIP-43, KIP-152) with clients, then passes on what they say.

    Args:
        kafka: The server behind it.
        context: Certificates.
        user: Name of the user who may come in.
        secret: The user's password or token.
    """

    def __init__(self, kafka: Kafka, context: ssl.SSLContext, user: str, secret: str) -> None:
        host, _, port = kafka.address.partition(":")
        self._behind = host, int(port)
        self._context = context
        self._user, self._secret = user, secret
        self._listener = socket.create_server((host, 0))
        self._port: int = self._listener.getsockname()[1]
        self.address = f"{host}:{self._port}"
        self.mechanisms: list[str] = []  # of those who came in
        self.refused = 0
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # Either side may hang up at any time, and a client may not trust the certificate.
        with (
            suppress(OSError, RefusedError),
            self._context.wrap_socket(connection, server_side=True) as secure,
            socket.create_connection(self._behind) as behind,
            secure.makefile("rwb") as client,
            behind.makefile("rwb") as server,
        ):
            self.mechanisms.append(self._let_in(client, server))
            answers = Thread(target=self._pass_answers, args=(server, client), daemon=True)
            answers.start()
            while request := read_frame(client):
                write_frame(server, request)
            behind.shutdown(socket.SHUT_RDWR)
            answers.join()

    def _pass_answers(self, server: BufferedRWPair, client: BufferedRWPair) -> None:
        """Pass on answers, in which the front takes the place of the server."""
        host, port = self._behind
        behind, front = (host.encode() + struct.pack(">i", one) for one in (port, self._port))
        with suppress(OSError):
            while answer := read_frame(server):
                write_frame(client, answer.replace(behind, front))

    def _let_in(self, client: BufferedRWPair, server: BufferedRWPair) -> str:
        """Answer what a client may ask before it is known; returns how it has logged in."""
        mechanism, login = "", plain("", "")
        while request := read_frame(client):
            key, version, number, length = struct.unpack(">hhih", request[:10])
            body, last = request[10 + length :], False
            if key == API_VERSIONS:
                answer = self._list_versions(request, version, server)
            elif key == SASL_HANDSHAKE:
                mechanism = body[2:].decode()
                login = LOGINS[mechanism](self._user, self._secret)
                next(login)
                answer = struct.pack(">hi", 0, 1) + body
            else:
                assert key == SASL_AUTHENTICATE, key
                answer, last = self._authenticate(login, body[4:])
                answer += bytes(8) if version else b""  # for as long as it likes (KIP-368)
            write_frame(client, struct.pack(">i", number) + answer)
            if last:
                return mechanism
        raise RefusedError

    def _list_versions(self, request: bytes, version: int, server: BufferedRWPair) -> bytes:
        """What the server speaks; it lists the requests of a login, too."""
        if version:  # asks in a form that the server may not know
            return struct.pack(">hihhh", UNSUPPORTED_VERSION, 1, API_VERSIONS, 0, 0)
        write_frame(server, request)
        return read_frame(server)[4:]

    def _authenticate(self, login: Login, said: bytes) -> tuple[bytes, bool]:
        """The answer to a message of a login, and whether it was the last one."""
        try:
            found, last = login.send(said), False
        except StopIteration as end:
            found, last = end.value, True
        except RefusedError:
            self.refused += 1
            why = b"Authentication failed"
            return struct.pack(">hh", SASL_AUTHENTICATION_FAILED, len(why)) + why + bytes(4), False
        return struct.pack(">hhi", 0, -1, len(found)) + found, last


@contextmanager
def sasl_front(
    kafka: Kafka, authority: Path, certificate: Path, user: str, secret: str
) -> Iterator[SaslFront]:
    """A front that asks clients for a certificate, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    front = SaslFront(kafka, context, user, secret)
    try:
        yield front
    finally:
        front.close()
