"""Files of TLS that cannot be used are named, and nobody is asked for a password."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from millstream.errors import UsageError
from millstream.logs.listeners.network import SyslogListener
from millstream.logs.listeners.table import server_context

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a certificate, its key, and the same key with a password."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    out = ["-days", "2", "-subj", "/CN=localhost", "-out", str(tmp_path / "c.pem"), "-keyout", str(tmp_path / "k.pem")]
    subprocess.run(["openssl", "req", "-x509", "-nodes", *KEY, *out], check=True, capture_output=True, timeout=60)
    locked = [
        "-aes128",
        "-in",
        str(tmp_path / "k.pem"),
        "-passout",
        "pass:secret",
        "-out",
        str(tmp_path / "locked.pem"),
    ]
    subprocess.run(["openssl", "ec", *locked], check=True, capture_output=True, timeout=60)
    (tmp_path / "text.pem").write_text("no certificate\n")
    return tmp_path


def test_files_that_fit_are_what_a_server_speaks_tls_with(files: Path) -> None:
    context = server_context(str(files / "c.pem"), str(files / "k.pem"), str(files / "c.pem"))
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert server_context(None, None, None) is None


@pytest.mark.parametrize(
    ("certificate", "key", "clients", "said"),
    [
        ("none.pem", "k.pem", None, "^certificate is '.*none.pem', which cannot be read: No such file"),
        ("c.pem", "none.pem", None, "^key is '.*none.pem', which cannot be read: No such file"),
        ("c.pem", "k.pem", "none.pem", "^clients is '.*none.pem', which cannot be read: No such file"),
        ("c.pem", None, None, "^certificate '.*c.pem' and the key in it cannot be used: .*; give both in PEM"),
        ("c.pem", "locked.pem", None, "^certificate '.*' and key '.*locked.pem' cannot be used: .*without a password"),
        ("text.pem", "k.pem", None, "^certificate '.*text.pem' and key '.*k.pem' cannot be used"),
        ("c.pem", "k.pem", "text.pem", "^clients is '.*text.pem', which has no certificates in PEM"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    files: Path, certificate: str, key: str | None, clients: str | None, said: str
) -> None:
    paths = [None if name is None else str(files / name) for name in (certificate, key, clients)]
    with pytest.raises(UsageError, match=said):
        server_context(paths[0], paths[1], paths[2])


def test_clients_without_tls_are_refused_and_not_forgotten() -> None:
    with pytest.raises(UsageError, match="key and clients are for tls"):
        SyslogListener(tcp="0", clients="authority.pem").check()
