"""The secret without which nobody can add to a chain of seals, or make it anew."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

from millstream.errors import SettingsError

KEY: Final = "MILLSTREAM_SEAL_KEY"
KEY_FILE: Final = "MILLSTREAM_SEAL_KEY_FILE"
KEY_BYTES_MIN: Final = 16
"""A secret that is shorter can be guessed."""


def key_from(environment: Mapping[str, str]) -> bytes | None:
    """Return the key that the environment gives, None where it gives none.

    Raises:
        SettingsError: Both variables are set, the file cannot be read, or the secret is too short.
    """
    text, file = environment.get(KEY), environment.get(KEY_FILE)
    if text and file:
        raise SettingsError(f"{KEY} and {KEY_FILE} both say what the key is; set one of them")
    if file:
        try:
            return key_of(Path(file).read_bytes().strip(), KEY_FILE)
        except OSError as error:
            raise SettingsError(f"{KEY_FILE} is {file!r}, which cannot be read: {error}") from error
    return key_of(text.encode(), KEY) if text else None


def key_of(secret: bytes, what: str = "the key") -> bytes:
    """Return a secret of any length as a key."""
    if len(secret) < KEY_BYTES_MIN:
        raise SettingsError(
            f"{what} has {len(secret)} bytes; give {KEY_BYTES_MIN} or more, such as 32 random ones in hex"
        )
    return blake2b(secret, digest_size=32, person=b"millstream-seal").digest()
