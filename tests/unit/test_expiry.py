"""When the credential of a kubeconfig expires, and when users are warned."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
import yaml

from vk_provider.kube.auth.expiry import Validity, validity
from vk_provider.kube.auth.kubeconfig import Kubeconfig

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)


def kubeconfig(**user: Any) -> Kubeconfig:
    document = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "https://a"}}],
        "users": [{"name": "a", "user": user}],
    }
    return Kubeconfig.from_secret(yaml.safe_dump(document).encode(), "secret a/b")


def jwt(**claims: Any) -> str:
    def part(content: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"


def certificate(begins: datetime, ends: datetime) -> dict[str, str]:
    pair = trustme.CA().issue_cert("admin", not_before=begins, not_after=ends)
    return {
        "client-certificate-data": base64.b64encode(pair.cert_chain_pems[0].bytes()).decode(),
        "client-key-data": base64.b64encode(pair.private_key_pem.bytes()).decode(),
    }


def test_a_token_ends_as_its_claims_say() -> None:
    token = jwt(iat=NOON.timestamp(), exp=NOON.timestamp() + 3600)
    assert validity(kubeconfig(token=token)) == Validity("token", NOON, NOON + timedelta(hours=1))


def test_a_certificate_ends_as_it_says() -> None:
    ends = NOON + timedelta(days=365)
    assert validity(kubeconfig(**certificate(NOON, ends))) == Validity("client certificate", NOON, ends)


def test_what_ends_first_counts() -> None:
    token = jwt(iat=NOON.timestamp(), exp=NOON.timestamp() + 3600)
    both = kubeconfig(token=token, **certificate(NOON, NOON + timedelta(days=1)))
    found = validity(both)
    assert found and found.kind == "token"


@pytest.mark.parametrize(
    "user",
    [
        {"token": "opaque"},
        {"token": "a.b.c"},
        {"token": jwt(sub="no end")},
        {"token": jwt(exp="tomorrow")},
        {"token": jwt(exp=1e300)},
        {"username": "a", "password": "b"},
        {},
    ],
)
def test_some_credentials_show_no_end(user: dict[str, str]) -> None:
    assert validity(kubeconfig(**user)) is None


@pytest.mark.parametrize(
    ("life", "ahead"),
    [
        (timedelta(hours=1), timedelta(minutes=12)),
        (timedelta(days=30), timedelta(days=6)),
        (timedelta(days=365), timedelta(days=7)),
    ],
)
def test_users_are_warned_when_a_fifth_is_left_and_at_most_a_week_ahead(life: timedelta, ahead: timedelta) -> None:
    found = Validity("token", NOON, NOON + life)
    assert found.warn_at == found.ends - ahead
