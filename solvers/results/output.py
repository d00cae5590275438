"""Outputs: whether a file could be written, checked before anything is computed, and writing it whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from solvers.door import escaped

__all__ = ["OutputError", "check_folder", "check_output", "in_the_way", "shown", "write_bytes"]

Name = str | os.PathLike[str]


class OutputError(Exception):
    """An output that cannot be written; str() is the one-line message `file: what is wrong, what is needed`."""


def shown(path: Name) -> str:
    """The name of a file on one line that any terminal takes: cut short, what cannot be printed as Python spells it."""
    text = escaped(os.fspath(path))
    return text if len(text) <= 200 else f"{text[:50]} ... {text[-145:]}"


def check_output(path: Name) -> None:
    """Refuse an output that could not be written, before anything is computed.

    A file of the length of the unfinished one is made in its folder and removed: nothing else knows of file systems
    that are full, over quota, read-only, or allow to list and not to make.

    Raises  OutputError if the name is none of a file, or is too long; if a link leads to itself; if the folder is not
    there or cannot be written to; or if `path` exists and is not a regular file.
    """
    _takes_files(_place(path).parent, shown(path))


def check_folder(path: Name) -> None:
    """The same for an output that is a folder: one that is there, or the name of a new one.

    Folders above it may be missing too. What is in it is not checked.
    Raises  OutputError.
    """
    found, name = _found(path, "folder"), shown(path)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{name}: File exists; must be a folder, or the name of a new one")
    if found is None and os.path.islink(os.fspath(path).rstrip(os.sep)):
        raise OutputError(f"{name}: is a link that leads nowhere; must be a folder, or the name of a new one")
    above = Path(path) if found is not None else Path(path).absolute().parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise OutputError(f"{name}: {shown(above)} is no folder; must be a folder, or the name of a new one")
    _takes_files(above, name)


def _takes_files(folder: Path, name: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{name}: folder {shown(folder)} cannot be written to; must be a writable folder")
    unfinished = _unfinished(folder / "any")
    try:
        unfinished.open("xb").close()
        unfinished.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{name}: folder {shown(folder)} takes no new file ({reason}); must be writable") from None


def in_the_way(path: Name) -> bool:
    """Whether there is a file that writing the output will replace."""
    return os.path.isfile(path)


def write_bytes(content: bytes | memoryview, path: Name, *more: bytes) -> None:
    """Write a file of any kind, whole or not at all; a file already there survives a failure.

    content, and `more` behind it. A file that is replaced leaves its mode to the new one and, where the system allows,
    its owner and group; a link stays a link, to the new content.
    Raises  OutputError if it cannot be written.
    """
    place = _place(path)
    # In the same folder, since only within one file system does a rename replace the old file in one step.
    unfinished = _unfinished(place)
    made = False
    try:
        with unfinished.open("xb") as file:
            made = True
            for part in (content, *more):
                file.write(part)
            file.flush()
            _as_before(file.fileno(), place)
            os.fsync(file.fileno())
        os.replace(unfinished, place)
    except BaseException as error:
        left = "nothing was left"
        if made:
            try:
                unfinished.unlink(missing_ok=True)
            except OSError:
                left = f"{shown(unfinished)} was left"
        if isinstance(error, OSError | ValueError):
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{shown(path)}: cannot be written ({reason}); {left}") from error
        raise


def _found(path: Name, kind: str) -> os.stat_result | None:
    """What is at a path already. Raises OutputError if nothing can be there."""
    text = os.fspath(path)
    if not text:
        raise OutputError(f'--out: is ""; must be the name of a {kind}')
    try:
        return os.stat(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # a link to itself, a name too long, a byte that no name has
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{shown(path)}: cannot be written ({reason}); must be the name of a {kind}") from None


def _place(path: Name) -> Path:
    """Where the file itself will be, behind links. Raises OutputError if there cannot be a file."""
    found, text, name = _found(path, "file"), os.fspath(path), shown(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{name}: is a folder; must be the name of a file")
    if text.endswith(tuple(filter(None, (os.sep, os.altsep)))):
        raise OutputError(f"{name}: ends as a folder does; must be the name of a file")
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{name}: is a device or pipe; must be the name of a regular file")
    link = os.path.islink(text)
    place = Path(os.path.realpath(text) if link else text)
    if not place.parent.is_dir():
        what = "is no folder" if place.parent.exists() else "does not exist"
        leads = f"is a link to {shown(place)}, whose " if link else ""
        raise OutputError(f"{name}: {leads}folder {shown(place.parent)} {what}; must be an existing folder")
    return place


def _unfinished(place: Path) -> Path:
    """The name of a file while it is written: short, so that it is allowed wherever that of the file is."""
    return place.with_name(f".{secrets.token_hex(4)}.tmp")


def _as_before(file: int, place: Path) -> None:
    """Give an open file the mode and, where possible, the owner and group of the one it will replace."""
    try:
        old = place.stat()
    except OSError:
        return
    # Owners are given by the superuser only, and neither they nor modes are on all systems.
    with suppress(OSError, AttributeError):
        os.fchown(file, old.st_uid, old.st_gid)
    with suppress(OSError, AttributeError):
        os.fchmod(file, stat.S_IMODE(old.st_mode))
