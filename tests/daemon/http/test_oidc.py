"""Tokens of an identity provider, from a real server of keys: what is accepted, and what is not."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.testclient import TestClient

from streamnet.daemon.http.access import Access
from streamnet.daemon.http.oidc import OidcVerifier
from streamnet.errors import ConfigurationError
from streamnet.settings.daemon import OidcSection, parse
from tests.daemon.app_client import client, is_problem
from tests.daemon.stand_ins import StandInRegistry
from tests.web_servers import serving

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider(ThreadingHTTPServer):
    """An identity provider with keys by their names."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys: dict[str, Any] = {"one": json.loads(RSAAlgorithm.to_jwk(RSA.public_key()))}
        self.requests = 0
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.is_broken = False

    def add_curve(self) -> None:
        self.keys["two"] = json.loads(ECAlgorithm.to_jwk(CURVE.public_key()))


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        self.server.requests += 1
        answers = {
            "/.well-known/openid-configuration": {
                "issuer": self.server.issuer,
                "jwks_uri": f"{self.server.issuer}/keys",
            },
            "/keys": {"keys": [one | {"kid": name} for name, one in self.server.keys.items()]},
        }
        self.send_response(500 if self.server.is_broken else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answers[self.path]).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(Provider()) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def http(provider: Provider, clock: Clock) -> TestClient:
    settings = OidcSection(issuer=provider.issuer, audience="streamnet", models="models")
    verifier = OidcVerifier(settings, clock=lambda: time() + clock.now, elapsed=clock)
    access = Access({"0123456789abcdef": set(Access().find_scopes(None))}, verifier)
    return client(StandInRegistry("wine", "beer"), access=access)


def token_of(
    provider: Provider, key: Any = RSA, kid: str = "one", algorithm: str = "RS256", **claims: Any
) -> dict[str, str]:
    known = {
        "iss": provider.issuer,
        "aud": "streamnet",
        "sub": "anna",
        "exp": time() + 300,
        "scope": "openid streamnet:read",
        "models": ["wine"],
    }
    given = {name: value for name, value in (known | claims).items() if value is not None}
    made = jwt.encode(given, key, algorithm=algorithm, headers={"kid": kid})
    return {"authorization": f"Bearer {made}"}


def test_claims_say_what_a_token_allows(provider: Provider, http: TestClient) -> None:
    token = token_of(provider)
    assert http.get("/v1/models/wine", headers=token).status_code == 200
    assert is_problem(http.get("/v1/models/beer", headers=token), 403, "not for the model beer")
    told = http.post("/v1/models/wine/pause", headers=token)
    assert is_problem(told, 403, "does not have the scope admin")
    admin = token_of(provider, scope=["admin"], models=["beer"])
    assert http.post("/v1/models/beer/pause", headers=admin).status_code == 200
    assert provider.requests == 2  # the keys are asked for once


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1.0},
        {"exp": None},
        {"aud": "other"},
        {"iss": "http://127.0.0.1:1"},
        {"nbf": 4e9},
        {"key": STRANGER},
        {"key": STRANGER, "kid": "unknown"},
        {"scope": "openid profile"},
    ],
)
def test_other_tokens_are_refused(
    provider: Provider, http: TestClient, claims: dict[str, Any]
) -> None:
    assert http.get("/v1/models/wine", headers=token_of(provider, **claims)).status_code == 401


def test_a_public_key_is_no_secret_and_no_signature_is_none(
    provider: Provider, http: TestClient
) -> None:
    valid = token_of(provider)["authorization"].split()[1]
    payload = valid.split(".")[1]
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for algorithm in ("HS256", "none"):
        header = encode(json.dumps({"alg": algorithm, "kid": "one"}).encode())
        code = hmac.digest(public, f"{header}.{payload}".encode(), "sha256")
        signature = encode(code) if algorithm == "HS256" else ""
        token = {"authorization": f"Bearer {header}.{payload}.{signature}"}
        assert http.get("/v1/models/wine", headers=token).status_code == 401


def test_a_token_ends_when_it_expires_although_it_was_verified(
    provider: Provider, http: TestClient, clock: Clock
) -> None:
    token = token_of(provider)
    assert http.get("/v1/models/wine", headers=token).status_code == 200
    clock.now = 300.0 + 29.0
    assert http.get("/v1/models/wine", headers=token).status_code == 200
    clock.now += 2.0
    assert http.get("/v1/models/wine", headers=token).status_code == 401


def test_new_keys_are_found_and_withdrawn_ones_forgotten(
    provider: Provider, http: TestClient, clock: Clock
) -> None:
    old = token_of(provider, exp=time() + 9000)
    assert http.get("/v1/models/wine", headers=old).status_code == 200
    provider.add_curve()
    new = token_of(provider, CURVE, "two", "ES256", exp=time() + 9000)
    assert http.get("/v1/models/wine", headers=new).status_code == 401  # just asked for the keys
    clock.now = 11.0
    assert http.get("/v1/models/wine", headers=new).status_code == 200
    requests = provider.requests
    for _ in range(5):
        unknown = token_of(provider, STRANGER, "unknown")
        assert http.get("/v1/models/wine", headers=unknown).status_code == 401
    assert provider.requests == requests  # guesses do not make the daemon ask
    del provider.keys["one"]
    clock.now = 3700.0
    assert http.get("/v1/models/wine", headers=new).status_code == 200
    assert http.get("/v1/models/wine", headers=old).status_code == 401


def test_without_the_provider_its_tokens_have_to_wait_and_others_work(
    provider: Provider, http: TestClient, clock: Clock
) -> None:
    provider.is_broken = True
    token = token_of(provider)
    for _ in range(2):
        told = http.get("/v1/models/wine", headers=token)
        assert is_problem(told, 503, "the identity provider can't be reached")
    own = {"authorization": "Bearer 0123456789abcdef"}
    assert http.get("/v1/models/wine", headers=own).status_code == 200
    provider.is_broken, clock.now = False, 11.0
    assert http.get("/v1/models/wine", headers=token).status_code == 200


def test_keys_come_over_tls_only() -> None:
    with pytest.raises(ConfigurationError, match="issuer is 'http://h', but must begin with https"):
        parse('oidc = {issuer = "http://h", audience = "a"}')
    assert parse('oidc = {issuer = "https://h", audience = "a"}').oidc is not None
