"""A certificate authority of Local Vertex's own, so that clients that insist on TLS can be used unchanged.

The server's key (mode 0600) stays in the data directory; the authority is trusted by nobody but those who name
``roots.pem`` (the machine's own roots with it added), and its key is thrown away.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 825  # the longest that Apple's verifier takes for a server certificate
_RENEW_BEFORE = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of the loopback server.

    Args:
        key: the server's private key, mode 0600.
        chain: the server's certificate and the authority's.
        roots: bundle for clients: the machine's roots and the authority.
    """

    key: Path
    chain: Path
    roots: Path


def ensure(folder: Path) -> TlsFiles:
    """Make the authority and the server's certificate if they are not there or about to expire.

    Args:
        folder: private folder for the files; made with mode 0700.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = TlsFiles(folder / "server.key", folder / "server.pem", folder / "roots.pem")
    if not all(path.exists() for path in (files.key, files.chain, files.roots)) or _expires_soon(files.chain):
        _make(files)
    return files


def _expires_soon(chain: Path) -> bool:
    expires = x509.load_pem_x509_certificate(chain.read_bytes()).not_valid_after_utc
    return expires - _RENEW_BEFORE < dt.datetime.now(dt.UTC)


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name | None, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """The authority's certificate (no issuer), or a server certificate for loopback."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = dt.datetime.now(dt.UTC)
    authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer or name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                key_cert_sign=authority,
                crl_sign=authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    loopback = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    if authority:
        # An authority that could sign for other names would be a liability in a client's bundle. Addresses are not
        # constrained: BoringSSL, which gRPC is built with, refuses constraints on them.
        builder = builder.add_extension(x509.NameConstraints([x509.DNSName("localhost")], None), critical=True)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName(loopback), critical=False).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
    return builder.sign(signer, hashes.SHA256())


def _make(files: TlsFiles) -> None:
    # The authority's key signs one certificate and is then forgotten: nothing else can ever be signed with it.
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("Local Vertex authority", authority_key, None, authority_key)
    server = _certificate("localhost", server_key, authority.subject, authority_key)
    pem = serialization.Encoding.PEM
    secret = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_private(files.key, secret)
    files.chain.write_bytes(server.public_bytes(pem) + authority.public_bytes(pem))
    files.roots.write_bytes(_system_roots() + authority.public_bytes(pem))


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)


def _system_roots() -> bytes:
    """The roots that clients on this machine trust already: those a variable names, OpenSSL's, or none."""
    named = [os.environ.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    for candidate in (*named, ssl.get_default_verify_paths().cafile):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes().rstrip() + b"\n"
    return b""
