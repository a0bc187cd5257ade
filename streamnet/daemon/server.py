"""The daemon as a process: sockets, logs, signals, and the reloading of its run file."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from errno import EADDRINUSE
from ipaddress import ip_address
from time import monotonic_ns
from typing import TYPE_CHECKING, final

import anyio
import uvicorn
from anyio import CancelScope, create_task_group, open_signal_receiver

from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits
from streamnet.daemon.http.app import create_app
from streamnet.daemon.http.protocol import build_protocol
from streamnet.daemon.memory import return_memory
from streamnet.daemon.prometheus import Metrics
from streamnet.daemon.replicas.replica_set import ReplicaSet
from streamnet.errors import ConfigurationError, StreamnetError
from streamnet.pipeline.concurrency import first_cause
from streamnet.settings.daemon import ANY_HOST, OidcSection, ServeSection, parse_network
from streamnet.validation import check_extra

if TYPE_CHECKING:
    from streamnet.daemon.http.oidc import OidcVerifier
    from streamnet.daemon.telemetry import Telemetry


def notify(state: str) -> bool:
    """Notify the service manager (systemd's ``sd_notify``); False if there is none.

    >>> notify("READY=1")
    False
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.sendall(state.encode())
    except OSError:
        return False
    return True


def watchdog_seconds() -> float | None:
    """Timeout of the service manager's watchdog; None if there is none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    value = os.environ.get("WATCHDOG_USEC", "")
    return int(value) / 1e6 if value.isdecimal() and int(value) else None


_LOG = logging.getLogger("streamnet.daemon")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_POLL_SECONDS = 0.05  # between checks of states that have no event
_SAVE_SECONDS = 30.0  # that models have to save their state once requests have ended
_STARTING = ("starting", "compiling")  # states of health that end by themselves
_UNREADY = {
    "refusing": "no samples are accepted until the disk recovers",
    "failed": "every model has failed",
    "stale": "a model is older than it may be, or whether it is the newest is unknown",
}
_STANDARD_PORTS = {"http": 80, "https": 443}


@final
class Address:
    """Where the daemon listens, and by which names clients may call it.

    >>> sorted(Address(ServeSection(port=8000)).names(8000))
    ['127.0.0.1:8000', '[::1]:8000', 'localhost:8000']
    """

    def __init__(self, settings: ServeSection) -> None:
        self.settings = settings
        self.host: str = settings.host

    @property
    def scheme(self) -> str:
        """The URL scheme, http or https."""
        return "http" if self.settings.tls_certificate is None else "https"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    def names(self, port: int) -> set[str]:
        """Allowed Host headers: names of the interface and those given.

        A given name without a port stands for the daemon's port and the standard ports, which a
        proxy in front may use. A network stands for the addresses in it, with any port, and * for
        all names; see `streamnet.daemon.http.middleware.AllowedHosts`.
        """
        own = set(_LOOPBACK if self.is_loopback else ())
        if self.host not in ("", "0.0.0.0", "::"):  # noqa: S104 - not bound, only compared
            own.add(_format_host(self.host).lower())
        names = {f"{host}:{port}" for host in own}
        if port == _STANDARD_PORTS[self.scheme]:
            names |= own
        for host in map(str.lower, self.settings.hosts):
            if host == ANY_HOST or parse_network(host) is not None:
                names.add(host)
                continue
            bare, _, named = host.rpartition(":") if _has_port(host) else (host, "", str(port))
            names.add(f"{bare}:{named}")
            # Clients omit a standard port. The name is what prevents DNS rebinding.
            if bare == host or named in map(str, _STANDARD_PORTS.values()):
                names.add(bare)
        return names

    def load_certificate(self, context: ssl.SSLContext) -> None:
        """Load the certificate, if there is one, into a TLS context."""
        certificate, key = self.settings.tls_certificate, self.settings.tls_key
        if certificate is None:
            return
        try:
            context.load_cert_chain(certificate, key, self._reject_passphrase)
        except OSError as error:  # including SSLError
            files = f"{certificate} and {key}"
            reason = error.strerror or error
            raise ConfigurationError(f"tls_certificate and tls_key {files}: {reason}") from error

    def _reject_passphrase(self) -> str:
        """Called for an encrypted key; the default would prompt on a terminal."""
        raise ConfigurationError(
            f"{self.settings.tls_key} is encrypted, but must be a key without passphrase"
        )

    def check_certificate(self) -> None:
        """Check that `load_certificate` would succeed."""
        self.load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def listen(self) -> socket.socket:
        """Open the listening socket.

        Raises:
            StreamnetError: If another process listens there, which may be temporary.
            ConfigurationError: If the address can't be listened on.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server(
                (self.host, self.settings.port), family=family, backlog=2048
            )
        except OSError as error:
            # Python repeats the address in brackets.
            reason = str(error.strerror or error).partition(" (while ")[0]
            message = f"can't listen on {_format_host(self.host)}:{self.settings.port}: {reason}"
            if error.errno == EADDRINUSE:
                raise StreamnetError(message) from error
            raise ConfigurationError(message) from error
        # Connections inherit it. asyncio sets it only for sockets that name their protocol; without
        # it, a response of two pieces waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener


def _has_port(host: str) -> bool:
    return host.rpartition("]")[2].count(":") == 1


async def serve(
    registry: Registry | ReplicaSet,
    settings: ServeSection,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    reload: Callable[[], str] | None = None,
    say: Callable[[str], None] = _LOG.info,
) -> int:
    """Run the models and serve requests until a signal arrives; needs asyncio.

    SIGTERM and SIGINT stop it gracefully, a second signal at once. SIGHUP calls ``reload``, and
    reloads the certificate for new connections.

    Args:
        registry: The models, or those that a read replica follows.
        settings: Where to listen.
        access: Tokens; None grants everything to everyone, and is allowed on loopback only.
        limits: Limits of requests; by default those of the settings.
        reload: Reloads what may change, and describes what did.
        say: Called with the address, once the daemon listens.

    Returns:
        The signal that stopped it.

    Raises:
        ConfigurationError: If it can't listen on the address, or must not without a token.
        StateError: If the models' folder can't be read, holds invalid settings, or is used by
            another daemon.
    """
    address = Address(settings)
    limits = build_limits(settings) if limits is None else limits
    access = Access() if access is None else access
    if access.is_open and not address.is_loopback:
        reason = f"host is {address.host!r}, which others can reach"
        raise ConfigurationError(f"{reason}, but then token_file or token_env must be given")
    if access.is_open and ANY_HOST in settings.hosts:
        # A page of a name that is made to resolve to this machine could call the daemon.
        raise ConfigurationError("hosts has '*', but then token_file or token_env must be given")
    address.check_certificate()
    telemetry = build_telemetry(settings)
    with registry.locked(), address.listen() as listener:
        daemon = _Daemon(registry, address, access, limits, listener, reload, say, telemetry)
        try:
            await daemon.run()
        except BaseExceptionGroup as group:
            raise first_cause(group) from None
        finally:
            if telemetry is not None:
                telemetry.close()
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
    registry: Registry | ReplicaSet
    address: Address
    access: Access
    limits: Limits
    listener: socket.socket
    reload: Callable[[], str] | None
    say: Callable[[str], None]
    telemetry: Telemetry | None = None
    stopping: anyio.Event = field(default_factory=anyio.Event)
    serving: CancelScope = field(default_factory=lambda: CancelScope(shield=True))
    signal: int = 0
    metrics: Metrics = field(init=False)
    config: uvicorn.Config = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = Metrics(lambda: self.registry.models, self.registry.webhooks)
        self.config = self._build_config()

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    async def run(self) -> None:
        server = _Server(self.config)
        async with create_task_group() as group:
            group.start_soon(self._handle_signals, group.cancel_scope)
            group.start_soon(self._watchdog)
            group.start_soon(return_memory)
            async with create_task_group() as models:
                await models.start(self.registry.run)
                models.start_soon(self._announce, server)
                await self._serve(server)
                self.registry.stop()
                models.cancel_scope.deadline = anyio.current_time() + _SAVE_SECONDS
            group.cancel_scope.cancel()

    def _build_config(self) -> uvicorn.Config:
        settings = self.address.settings
        app = create_app(
            self.registry,
            access=self.access,
            limits=self.limits,
            hosts=self.address.names(self.port),
            origins=settings.origins,
            stopping=self.stopping,
            metrics=self.metrics,
            telemetry=self.telemetry,
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
            timeout_graceful_shutdown=settings.drain_seconds,  # type: ignore[arg-type]
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
        )

    async def _serve(self, server: _Server) -> None:
        with self.serving:  # it drains itself
            async with create_task_group() as group:
                group.start_soon(self._stop_server, server)
                await server.serve(sockets=[self.listener])
                self.stopping.set()

    async def _stop_server(self, server: _Server) -> None:
        await self.stopping.wait()
        server.should_exit = True

    async def _announce(self, server: _Server) -> None:
        await server.listening.wait()
        # An earlier SIGHUP has been blocked; see `streamnet.__main__`.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        url = f"{self.address.scheme}://{_format_host(self.address.host)}:{self.port}"
        self.say(f"listening on {url}")
        while (health := self.registry.health()) in _STARTING:  # noqa: ASYNC110 - no event
            await anyio.sleep(_POLL_SECONDS)
        if self.stopping.is_set():  # before all models were ready
            return
        gc.freeze()  # objects of the start-up would make each full collection take 50 ms
        extra = {"port": self.port, "models": len(self.registry.models)}
        notify("READY=1")  # also if it is not: a restart would not help
        if health != "ok":
            reason = _UNREADY[health]
            _LOG.warning("started, but not ready: %s", reason, extra=extra | {"health": health})
            while self.registry.health() != "ok":  # noqa: ASYNC110 - as above
                await anyio.sleep(_POLL_SECONDS)
        if not self.stopping.is_set():
            _LOG.info("ready", extra=extra)

    async def _watchdog(self) -> None:
        seconds = watchdog_seconds()
        if seconds is None:
            return
        while True:
            notify("WATCHDOG=1")
            await anyio.sleep(seconds / 3)

    async def _handle_signals(self, everything: CancelScope) -> None:
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
            _LOG.warning("reload refused: %s", error)
            self.metrics.count_reload(refused=True)
        else:
            self.metrics.count_reload(refused=False)
            if self.config.ssl is not None:
                self.address.load_certificate(self.config.ssl)
        notify("READY=1")


def build_oidc(settings: OidcSection | None) -> OidcVerifier | None:
    """Build what verifies tokens of an identity provider.

    Raises:
        StreamnetError: If PyJWT is not installed.
    """
    if settings is None:
        return None
    check_extra("oidc", "jwt", "cryptography")
    from streamnet.daemon.http.oidc import OidcVerifier

    return OidcVerifier(settings)


def build_telemetry(settings: ServeSection) -> Telemetry | None:
    """Build what sends traces and logs, if that is wanted; raises StreamnetError as above."""
    if not settings.telemetry:
        return None
    check_extra("telemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    from streamnet.daemon.telemetry import Telemetry

    return Telemetry()


def build_limits(settings: ServeSection) -> Limits:
    """Build limits of requests from the fields of the same names."""
    names = {field.name for field in fields(Limits)}
    return Limits(**{name: value for name, value in settings if name in names})
