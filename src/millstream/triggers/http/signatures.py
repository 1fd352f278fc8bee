"""Is a request from who it says? HMAC over the body, as GitHub, Stripe and many others sign their web hooks.

| signature | header | what is signed | replay guard |
|---|---|---|---|
| `"github"` | `X-Hub-Signature-256: sha256=<hex>` | the body | none in the signature; the idempotency key does it |
| `"stripe"` | `Stripe-Signature: t=<seconds>,v1=<hex>` | `<seconds>.<body>` | five minutes around now |
| `"sha256"` | `X-Signature-256: [sha256=]<hex>`, or another: `"sha256:X-My-Header"` | the body | as for GitHub |

Sources: docs.github.com "Validating webhook deliveries", docs.stripe.com "Verify webhook signatures manually".
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from millstream.errors import SettingsError
from millstream.triggers.http.refusal import Refused

TOLERANCE_US: Final = 300 * 1_000_000
"""How far a signed time may be from now: what Stripe's own libraries allow."""

SIGNATURES: Final = ("github", "stripe", "sha256")

_HEADERS: Final = {"github": "x-hub-signature-256", "stripe": "stripe-signature", "sha256": "x-signature-256"}


def _refused(code: str, message: str, header: str) -> Refused:
    return Refused(401, code, message, where=header)


class Verifier(msgspec.Struct, frozen=True):
    """Checks the signature of requests."""

    scheme: str
    header: str
    """In lower case."""
    secrets: tuple[bytes, ...]
    """Any of them; while one is being replaced there are two."""
    tolerance_us: int = TOLERANCE_US

    @classmethod
    def of(cls, secret: str | bytes | Sequence[str | bytes], signature: str | None) -> Verifier:
        """Return what checks, as a trigger is declared.

        Raises:
            SettingsError: The secret is empty, or there is no such signature.
        """
        given = [secret] if isinstance(secret, str | bytes) else list(secret)
        secrets = tuple(one.encode() if isinstance(one, str) else bytes(one) for one in given)
        if not secrets or not all(secrets):
            raise SettingsError("the secret of a web hook is empty; give the one that its sender has")
        scheme, _, header = (signature or "sha256").partition(":")
        if scheme not in SIGNATURES or (header and scheme != "sha256"):
            raise SettingsError(
                f"signature is {signature!r}; give one of {', '.join(map(repr, SIGNATURES))}, or 'sha256:X-My-Header'"
            )
        return cls(scheme, header.lower() or _HEADERS[scheme], secrets)

    def check(self, headers: Mapping[str, str], body: bytes, now_us: int) -> None:
        """Raise Refused unless the body was signed with the secret. Compares in constant time."""
        given = headers.get(self.header)
        if given is None:
            raise _refused(
                "no_signature", f"there is no {self.header} header; sign the body with the secret", self.header
            )
        if self.scheme == "stripe":
            self._check_timed(given, body, now_us)
        elif not self._is_signed(body, [given.strip().removeprefix("sha256=").lower()]):
            raise _refused("bad_signature", "it is not the signature of the body with the secret", self.header)

    def _check_timed(self, given: str, body: bytes, now_us: int) -> None:
        parts = [part.strip().partition("=") for part in given.split(",")]
        times = [value for name, _, value in parts if name == "t"]
        signatures = [value.lower() for name, _, value in parts if name == "v1"]
        if len(times) != 1 or not (times[0].isascii() and times[0].isdigit()) or len(times[0]) > 12:
            raise _refused("bad_signature", "it has no time t=", self.header)
        if not self._is_signed(times[0].encode() + b"." + body, signatures):
            raise _refused("bad_signature", "it is not the signature of the body with the secret", self.header)
        if abs(now_us - int(times[0]) * 1_000_000) > self.tolerance_us:
            seconds = self.tolerance_us // 1_000_000
            raise _refused(
                "stale_signature", f"it was signed more than {seconds} s from now; sign it anew", self.header
            )

    def _is_signed(self, signed: bytes, given: Sequence[str]) -> bool:
        expected = [hmac.digest(secret, signed, "sha256").hex().encode() for secret in self.secrets]
        # Every pair is compared: the time tells nothing of which of them fits.
        found = [hmac.compare_digest(one, other.encode("utf-8", "replace")) for one in expected for other in given]
        return any(found)
