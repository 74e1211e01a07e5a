"""Backups in the age format (age-encryption.org), by the library pyrage.

A backup is for recipients, whose identities open it, or for a passphrase: then it is for an identity
made for it alone, which is in the backup, locked with the passphrase. Nothing is on the disk in the
clear at any time.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import pyrage

from twezah.stack.errors import StackError

#: What encrypted files are called: the name in the clear, and this.
SUFFIX: Final = ".age"
#: The identity of a backup that a passphrase opens.
IDENTITY: Final = "identity.age"


@dataclass(frozen=True)
class Recipients:
    """Who can open a backup."""

    #: Public keys.
    keys: Sequence[Any]
    #: Content of IDENTITY; None: there is no passphrase.
    identity: bytes | None = field(default=None, repr=False)


def recipients_of(texts: Sequence[str]) -> Recipients:
    """For public keys as age writes them: `age1...`. Raises StackError for another text."""
    try:
        return Recipients([pyrage.x25519.Recipient.from_str(text) for text in texts])
    except pyrage.RecipientError:
        raise StackError("A recipient of a backup is no public key of age (age1...).") from None


def passphrase_recipients(passphrase: str) -> Recipients:
    """For a new identity that the passphrase opens."""
    identity = pyrage.x25519.Identity.generate()
    locked = pyrage.passphrase.encrypt(str(identity).encode(), passphrase)
    return Recipients([identity.to_public()], locked)


def identity_of_file(path: Path) -> Any:
    """The first identity in a file of `age-keygen`. Raises StackError."""
    try:
        lines = path.read_text(encoding="ascii").split()
        text = next(line for line in lines if line.startswith("AGE-SECRET-KEY-"))
        return pyrage.x25519.Identity.from_str(text)
    except (OSError, ValueError, StopIteration, pyrage.IdentityError):
        raise StackError(f"{path} holds no identity of age (AGE-SECRET-KEY-...).") from None


def identity_of_passphrase(folder: Path, passphrase: str) -> Any:
    """The identity that is in a backup. Raises StackError for a wrong passphrase."""
    try:
        text = pyrage.passphrase.decrypt((folder / IDENTITY).read_bytes(), passphrase).decode()
    except (OSError, pyrage.DecryptError):
        raise StackError("The passphrase does not open this backup.") from None
    return pyrage.x25519.Identity.from_str(text)


def encrypt_output(
    command: list[str], environment: dict[str, str], target: IO[bytes], recipients: Recipients
) -> tuple[int, str]:
    """Runs a program and encrypts what it writes; its exit code and what it said."""
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=said
        ) as process:
            assert process.stdout is not None
            pyrage.encrypt_io(process.stdout, target, recipients.keys)
        said.seek(0)
        return process.returncode, said.read().decode(errors="replace")


def decrypt_input(
    command: list[str], environment: dict[str, str], source: Path, identity: Any
) -> tuple[int, str]:
    """Runs a program that reads the decrypted file; its exit code and what it said.

    Raises StackError where the identity does not open the file, or the file was changed.
    """
    with tempfile.TemporaryFile() as said, source.open("rb") as file:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=said)
        assert process.stdin is not None
        try:
            pyrage.decrypt_io(file, process.stdin, [identity])
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended early, and says why
        except pyrage.DecryptError:
            process.kill()
            process.wait()
            raise _not_opened(source) from None
        code = process.wait()
        said.seek(0)
        return code, said.read().decode(errors="replace")


def encrypted(content: bytes, recipients: Recipients) -> bytes:
    """A small file, encrypted."""
    return bytes(pyrage.encrypt(content, recipients.keys))


def decrypted(source: Path, identity: Any) -> bytes:
    """A small file, decrypted. Raises StackError."""
    try:
        return bytes(pyrage.decrypt(source.read_bytes(), [identity]))
    except pyrage.DecryptError:
        raise _not_opened(source) from None


def _not_opened(source: Path) -> StackError:
    return StackError(f"{source.name} is not for this identity, or was changed.")
