"""The keys that seal what the vault stores, and the file that they come from when no setting names them."""

import base64
import hashlib
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bot.core.errors import ConfigError
from bot.core.secret import Secret

_SHORTEST = 16
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2


def keys_from(home: Path, setting: Secret | None = None) -> list[Secret]:
    """Return the keys, the one that encrypts first: those of the setting (comma separated), else of the file in `home`.

    The file is made, readable by its owner alone, when it is missing. Raises ConfigError for a key too short to be one.
    """
    text = setting.reveal() if setting else _read_or_make(home / "secret.keys")
    keys = [key.strip() for key in text.replace("\n", ",").split(",") if key.strip()]
    if not keys or min(map(len, keys)) < _SHORTEST:
        raise ConfigError(f"ONHAND_SECRET_KEYS: expected keys of {_SHORTEST} or more characters, comma separated")
    return [Secret(key) for key in keys]


class Sealer:
    """Encrypts for one place and decrypts for the same place: AES-256-GCM, the place authenticated with the text.

    A sealed text is `v1.{key id}.{base64 of nonce and ciphertext}`.
    """

    def __init__(self, keys: Sequence[Secret]) -> None:
        self._ciphers = dict(_cipher(key) for key in keys)
        self._first = next(iter(self._ciphers))

    def seal(self, secret: Secret, place: str) -> str:
        """Encrypt with the first key."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, secret.reveal().encode(), place.encode())
        return f"v1.{self._first}.{base64.b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, place: str) -> Secret:
        """Decrypt. Raises ConfigError when the key is not among ours, or the text was altered or belongs elsewhere."""
        version, _, rest = sealed.partition(".")
        key_id, _, encoded = rest.partition(".")
        cipher = self._ciphers.get(key_id)
        if version != "v1" or cipher is None:
            raise ConfigError(
                "ONHAND_SECRET_KEYS: a stored token was encrypted with a key that is not among them; add it at the end"
            )
        try:
            raw = base64.b64decode(encoded, validate=True)
            return Secret(cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode()).decode())
        except (InvalidTag, ValueError):
            raise ConfigError("a stored token was altered or moved to another row; link the account again") from None


def _cipher(key: Secret) -> tuple[str, AESGCM]:
    """Return the key's id and its cipher. Both are derived; neither tells the other."""
    raw = key.reveal().encode()
    key_id = hashlib.blake2b(raw, digest_size=4, person=b"onhand-key-id").hexdigest()
    return key_id, AESGCM(hashlib.blake2b(raw, digest_size=32, person=b"onhand-vault").digest())


def _read_or_make(path: Path) -> str:
    """Return the file's text. Two processes that make it at once end up with the same one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            Path(draft).unlink()
    return path.read_text()
