"""Encrypted connections to real servers, with a certificate of an authority of the tests' own."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import streamnet
from streamnet.errors import ConfigurationError
from streamnet.sources.brokers.base import BrokerSource
from tests.object_servers import write_certificates
from tests.sources.brokers.servers import (
    Server,
    free_port,
    open_folder,
    require_module,
    require_program,
    running,
)
from tests.sources.brokers.streams import rows
from tests.sources.harness import read

for module in ("cryptography", "nats", "redis"):
    require_module(module)

PASSWORD = "correct-horse-battery"


class Secure(NamedTuple):
    """A server that only takes encrypted connections of the user me."""

    server: Server
    authority: Path
    fill: Callable[[ssl.SSLContext], None]
    make: Callable[[dict[str, Any]], BrokerSource]


@contextmanager
def certified() -> Iterator[tuple[Path, Path, Path]]:
    """A folder, the authority, and the server's certificate with its key, which anyone can read."""
    with open_folder() as folder:
        authority, certificate = write_certificates(folder)
        for path in folder.iterdir():
            path.chmod(0o644)
        yield folder, authority, certificate


@contextmanager
def secure_valkey() -> Iterator[Secure]:
    with certified() as (folder, authority, certificate):
        port = free_port()
        command = [require_program("valkey-server"), "--bind", "127.0.0.1", "--port", "0"]
        command += ["--tls-port", str(port), "--tls-cert-file", str(certificate)]
        command += ["--tls-key-file", str(certificate), "--tls-auth-clients", "no", "--save", ""]
        command += ["--user", *f"me on >{PASSWORD} ~events +@read +@stream +@connection".split()]
        command += ["--user", "default", "off"]

        def fill(context: ssl.SSLContext) -> None:
            del context
            from redis import Redis

            login: Any = {"username": "me", "password": PASSWORD, "ssl_ca_certs": str(authority)}
            with Redis(port=port, ssl=True, **login) as client:
                client.xadd("events", {"data": rows(1)[0]})

        def make(given: dict[str, Any]) -> BrokerSource:
            more: Any = {"stream": "events", "value_field": "data", "target": "y"}
            return streamnet.RedisSource(server=f"127.0.0.1:{port}", **more, **given)

        with running(Server(command, folder, port)) as server:
            yield Secure(server, authority, fill, make)


@contextmanager
def secure_nats() -> Iterator[Secure]:
    with certified() as (folder, authority, certificate):
        port = free_port()
        command = [require_program("nats-server"), "-js", "-sd", str(folder), "-a", "127.0.0.1"]
        command += ["-p", str(port), "--user", "me", "--pass", PASSWORD]
        command += ["--tls", "--tlscert", str(certificate), "--tlskey", str(certificate)]

        def fill(context: ssl.SSLContext) -> None:
            import anyio
            import nats

            async def main() -> None:
                login: Any = {"user": "me", "password": PASSWORD, "tls": context}
                client = await nats.connect(f"tls://127.0.0.1:{port}", **login)
                await client.jetstream().add_stream(name="events", subjects=["e"])
                await client.jetstream().publish("e", rows(1)[0])
                await client.close()

            anyio.run(main)

        def make(given: dict[str, Any]) -> BrokerSource:
            address = f"127.0.0.1:{port}"
            return streamnet.NatsSource(servers=address, stream="events", target="y", **given)

        with running(Server(command, folder, port)) as server:
            yield Secure(server, authority, fill, make)


@pytest.mark.parametrize("start", [secure_valkey, secure_nats])
def test_a_stream_is_read_over_tls_by_a_user_whose_password_is_shown_nowhere(
    start: Callable[[], AbstractContextManager[Secure]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamnet.sources.brokers.nats.ANSWER_SECONDS", 5.0)
    caplog.set_level(logging.DEBUG)
    (tmp_path / "word").write_text(f"{PASSWORD}\n")
    (tmp_path / "wrong").write_text("battery-staple")
    with start() as (_, authority, fill, make):
        fill(ssl.create_default_context(cafile=str(authority)))
        login = {"tls": True, "user": "me", "password_file": str(tmp_path / "word")}
        trusted = {**login, "ca": str(authority)}
        source = make(trusted)
        assert len(read(source)[1][0]) == 1
        with pytest.raises(ConfigurationError, match="ca must name the PEM file") as untrusted:
            read(make(login))
        with pytest.raises(ConfigurationError, match="can't be read") as refused:
            read(make({**trusted, "password_file": str(tmp_path / "wrong")}))
    seen = f"{untrusted.value}{refused.value}{caplog.text}{source.export_state(None)}"
    assert PASSWORD not in seen
    assert "battery-staple" not in seen


@pytest.mark.parametrize("setting", ["nkey_file", "nkey_file of another user"])
def test_a_stream_of_nats_is_read_with_a_signature_instead_of_a_password(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anyio
    import nats
    import nkeys

    monkeypatch.setattr("streamnet.sources.brokers.nats.ANSWER_SECONDS", 5.0)
    seeds = [nkeys.encode_seed(bytes([number] * 32), nkeys.PREFIX_BYTE_USER) for number in (1, 2)]
    for name, seed in zip(("mine", "other"), seeds, strict=True):
        (tmp_path / name).write_bytes(seed)
    user = nkeys.from_seed(seeds[0]).public_key.decode()
    with open_folder() as folder:
        port = free_port()
        settings = folder / "nats.conf"
        settings.write_text(
            f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}" }}\n'
            f"authorization {{ users: [ {{ nkey: {user} }} ] }}\n"
        )
        settings.chmod(0o644)
        command = [require_program("nats-server"), "-c", str(settings)]

        async def fill() -> None:
            client = await nats.connect(
                f"nats://127.0.0.1:{port}", nkeys_seed=str(tmp_path / "mine")
            )
            await client.jetstream().add_stream(name="events", subjects=["e"])
            await client.jetstream().publish("e", rows(1)[0])
            await client.close()

        with running(Server(command, folder, port)):
            anyio.run(fill)
            file = tmp_path / ("other" if "another" in setting else "mine")
            given: dict[str, Any] = {"stream": "events", "target": "y", "nkey_file": str(file)}
            source = streamnet.NatsSource(servers=f"127.0.0.1:{port}", **given)
            if "another" in setting:
                with pytest.raises(ConfigurationError, match="can't be read"):
                    read(source)
            else:
                assert len(read(source)[1][0]) == 1
