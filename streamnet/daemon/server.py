"""The daemon's process: listening socket, signals, service manager notifications and JSON logs.

The daemon handles signals itself, since uvicorn would exit before the models are saved. On SIGTERM
it stops accepting connections, finishes open requests, closes event streams and then saves the
models, all within time limits.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from errno import EADDRINUSE
from ipaddress import ip_address
from pathlib import Path
from time import monotonic_ns
from typing import Any, TextIO, final

import anyio
import msgspec
import uvicorn
from anyio import CancelScope, create_task_group, open_signal_receiver

from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits
from streamnet.daemon.http.app import create_app
from streamnet.daemon.http.protocol import build_protocol
from streamnet.daemon.prometheus import Metrics
from streamnet.errors import ConfigurationError, StreamnetError
from streamnet.pipeline.concurrency import first_cause

__all__ = (
    "Address",
    "JsonFormatter",
    "log_as_json",
    "notify",
    "serve",
    "watchdog_seconds",
)


def notify(state: str) -> bool:
    """Tell a service manager; False if there is none, or it doesn't listen.

    >>> notify("READY=1")
    False
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # a name without a file
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.sendall(state.encode())
    except OSError:
        return False
    return True


def watchdog_seconds() -> float | None:
    """The time after which a service manager takes silence for a failure; None: it doesn't."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    given = os.environ.get("WATCHDOG_USEC", "")
    return int(given) / 1e6 if given.isdecimal() and int(given) else None


_LOG = logging.getLogger("streamnet.daemon")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_POLL_SECONDS = 0.05  # seconds between two looks at what has no event of its own
_STANDARD_PORTS = {"http": 80, "https": 443}


@final
@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to listen, and as whom.

    Args:
        host: Name or number of an interface.
        port: 0 takes a free one.
        hosts: Names by which clients may call the daemon, beside the interface's own and, on
            loopback, localhost. One without a port stands for ours and the standard ones, which a
            proxy in front of us may have.
        origins: Where pages of others come from that may ask it, as in ``https://example.org``.
        certificate: PEM file; with one, TLS is spoken.
        key: PEM file of its private key.
        drain_seconds: Longest time that requests at work have after SIGTERM.
        save_seconds: Longest time that models have after that.

    Raises:
        ConfigurationError: If a value breaks its rule.

    >>> sorted(Address(port=8000).names(8000))
    ['127.0.0.1:8000', '[::1]:8000', 'localhost:8000']
    """

    host: str = "127.0.0.1"
    port: int = 8000
    hosts: Collection[str] = ()
    origins: Collection[str] = ()
    certificate: Path | None = None
    key: Path | None = None
    drain_seconds: float = 5.0
    save_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise ConfigurationError(f"port is {self.port}, but must be from 0 to 65535")
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("certificate and key must be given together")
        for name in ("drain_seconds", "save_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}, but must be > 0")

    @property
    def scheme(self) -> str:
        """Http or https."""
        return "http" if self.certificate is None else "https"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    def names(self, port: int) -> set[str]:
        """What the Host header may be."""
        own = set(_LOOPBACK if self.is_loopback else ())
        if self.host not in ("", "0.0.0.0", "::"):  # noqa: S104 - not bound, only compared
            own.add(_format_host(self.host).lower())
        names = {f"{host}:{port}" for host in own}
        if port == _STANDARD_PORTS[self.scheme]:
            names |= own
        for host in map(str.lower, self.hosts):
            bare, _, given = host.rpartition(":") if _has_port(host) else (host, "", str(port))
            names.add(f"{bare}:{given}")
            # Clients leave out a standard port. What keeps DNS rebinding out is the name.
            if bare == host or given in map(str, _STANDARD_PORTS.values()):
                names.add(bare)
        return names

    def certify(self, context: ssl.SSLContext) -> None:
        """Let a context show the certificate from now on, if there is one.

        Raises:
            ConfigurationError: If its files can't be read, don't belong together, or need a pass
                phrase.
        """
        if self.certificate is None:
            return
        try:
            context.load_cert_chain(self.certificate, self.key, self._reject_passphrase)
        except OSError as error:  # of which an SSLError is one
            files = f"{self.certificate} and {self.key}"
            why = error.strerror or error
            raise ConfigurationError(f"certificate and key in {files}: {why}") from error

    def _reject_passphrase(self) -> str:
        """What is asked where a key is encrypted; without it a terminal would be."""
        raise ConfigurationError(f"{self.key} is encrypted, but must be a key without pass phrase")

    def check_certificate(self) -> None:
        """Find out whether the certificate could be shown.

        Raises:
            ConfigurationError: As for `certify`.
        """
        self.certify(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def listen(self) -> socket.socket:
        """A socket there.

        Raises:
            StreamnetError: If another process listens there, which may pass.
            ConfigurationError: If there can't be one.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server((self.host, self.port), family=family, backlog=2048)
        except OSError as error:
            # Behind a bracket Python repeats the address.
            why = str(error.strerror or error).partition(" (while ")[0]
            told = f"{_format_host(self.host)}:{self.port} can't be listened on: {why}"
            if error.errno == EADDRINUSE:
                raise StreamnetError(told) from error
            raise ConfigurationError(told) from error
        # Connections inherit it. asyncio would set it only where a socket names its protocol, and
        # without it an answer of two pieces waits 40 ms for the reader's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener


def _has_port(host: str) -> bool:
    return host.rpartition("]")[2].count(":") == 1


async def serve(
    registry: Registry,
    address: Address | None = None,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    reload: Callable[[], str] | None = None,
    say: Callable[[str], None] = _LOG.info,
) -> int:
    """Run the models and answer for them until a signal comes; on asyncio alone.

    SIGTERM and SIGINT end it, a second one at once. SIGHUP calls ``reload``, and reads the
    certificate again for connections that are made later.

    Args:
        registry: The models.
        address: Where to listen.
        access: Tokens; None, which lets everybody in, is for loopback alone.
        limits: How much clients may take.
        reload: Reads again what may change, and says what has.
        say: Is told where the daemon listens.

    Returns:
        The signal that ended it.

    Raises:
        ConfigurationError: If it can't listen there, or must not without a token.
        StateError: If the models' folder can't be read, settings in it make no sense, or another
            daemon is at it.
    """
    address = Address() if address is None else address
    access = Access() if access is None else access
    if access.is_open and not address.is_loopback:
        place = f"host is {address.host!r}, which others can reach"
        raise ConfigurationError(f"{place}, but then a token is needed: token_file or token_env")
    address.check_certificate()
    with registry.locked(), address.listen() as listener:
        daemon = _Daemon(registry, address, access, limits or Limits(), listener, reload, say)
        try:
            await daemon.run()
        except BaseExceptionGroup as group:
            raise first_cause(group) from None
    return daemon.signal


def _format_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@final
class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@final
@dataclass
class _Daemon:
    registry: Registry
    address: Address
    access: Access
    limits: Limits
    listener: socket.socket
    reload: Callable[[], str] | None
    say: Callable[[str], None]
    stopping: anyio.Event = field(default_factory=anyio.Event)
    serving: CancelScope = field(default_factory=lambda: CancelScope(shield=True))
    signal: int = 0
    metrics: Metrics = field(init=False)
    config: uvicorn.Config = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = Metrics(lambda: self.registry.models)
        self.config = self._config()

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    async def run(self) -> None:
        server = _Server(self.config)
        async with create_task_group() as everything:
            everything.start_soon(self._listen, everything.cancel_scope)
            everything.start_soon(self._watchdog)
            async with create_task_group() as models:
                await models.start(self.registry.run)
                models.start_soon(self._announce, server)
                await self._answer(server)
                self.registry.stop()
                models.cancel_scope.deadline = anyio.current_time() + self.address.save_seconds
            everything.cancel_scope.cancel()

    def _config(self) -> uvicorn.Config:
        app = create_app(
            self.registry,
            access=self.access,
            limits=self.limits,
            hosts=self.address.names(self.port),
            origins=self.address.origins,
            stopping=self.stopping,
            metrics=self.metrics,
        )
        return uvicorn.Config(
            app,
            http=build_protocol(self.limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=self.address.drain_seconds,  # type: ignore[arg-type]
            ssl_certfile=self.address.certificate,
            ssl_keyfile=self.address.key,
        )

    async def _answer(self, server: _Server) -> None:
        with self.serving:  # it drains by itself
            async with create_task_group() as group:
                group.start_soon(self._end, server)
                await server.serve(sockets=[self.listener])
                self.stopping.set()

    async def _end(self, server: _Server) -> None:
        await self.stopping.wait()
        server.should_exit = True

    async def _announce(self, server: _Server) -> None:
        await server.listening.wait()
        # A hang-up that came before waits, see `streamnet.__main__`.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        place = f"{self.address.scheme}://{_format_host(self.address.host)}:{self.port}"
        self.say(f"listening on {place}")
        while not self._is_ready():  # noqa: ASYNC110 - models tell a state, no event
            await anyio.sleep(_POLL_SECONDS)
        if self.stopping.is_set():  # before all of them were
            return
        gc.freeze()  # what start-up made stays: a search for garbage takes 50 ms with it
        _LOG.info("ready", extra={"port": self.port, "models": len(self.registry.models)})
        notify("READY=1")

    def _is_ready(self) -> bool:
        return all(hosted.state != "starting" for hosted in self.registry.models.values())

    async def _watchdog(self) -> None:
        seconds = watchdog_seconds()
        if seconds is None:
            return
        while True:
            notify("WATCHDOG=1")
            await anyio.sleep(seconds / 3)

    async def _listen(self, everything: CancelScope) -> None:
        with open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                if number == signal.SIGHUP:
                    self._reload()
                elif self.signal:
                    self.serving.cancel()
                    everything.cancel()
                else:
                    self.signal = number
                    _LOG.info("stopping", extra={"signal": signal.Signals(number).name})
                    notify("STOPPING=1")
                    self.stopping.set()

    def _reload(self) -> None:
        if self.reload is None:
            return
        notify(f"RELOADING=1\nMONOTONIC_USEC={monotonic_ns() // 1000}")
        try:
            self.address.check_certificate()
            _LOG.info("%s", self.reload())
        except StreamnetError as error:
            _LOG.warning("nothing was reloaded: %s", error)
            self.metrics.reloaded(refused=True)
        else:
            self.metrics.reloaded(refused=False)
            if self.config.ssl is not None:
                self.address.certify(self.config.ssl)
        notify("READY=1")


_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {
    "asctime",
    "color_message",
    "message",
}


@final
class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; ``extra`` becomes fields of their own.

    >>> record = logging.makeLogRecord({"msg": "%d samples", "args": (3,), "model": "a"})
    >>> line = msgspec.json.decode(JsonFormatter().format(record))
    >>> line["message"], line["model"]
    ('3 samples', 'a')
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value for name, value in record.__dict__.items() if name not in _STANDARD_FIELDS
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_as_json(level: str = "info", out: TextIO | None = None) -> None:
    """Write what streamnet and the server log, from this level on, to ``out`` (standard error)."""
    handler = logging.StreamHandler(sys.stderr if out is None else out)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_is_relevant)
    for name in ("streamnet", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    logging.getLogger("streamnet").setLevel(level.upper())
    # Of each start and stop we say more ourselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _is_relevant(record: logging.LogRecord) -> bool:
    """Not what the server says of a request that it gave up at its end: it tells their number."""
    kind = record.exc_info[0] if record.exc_info else None
    cancelled = kind is not None and not issubclass(kind, Exception)
    return not (cancelled and record.name.startswith("uvicorn"))
