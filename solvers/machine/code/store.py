"""Machine code on disk: files whose keyed digest is checked before anything in them is interpreted, within a size.

A process holds what it has loaded in memory and never returns to the file, so a file can be removed or replaced at any
time without harm to those that run; one that begins later compiles again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from solvers.machine.code.folder import KEY, TEMPORARY, Damaged, Unusable, cache_folder, key_of, prepared, read, write
from solvers.machine.code.notes import printable, reason, say

__all__ = ["SUFFIX", "Store", "opened"]

SUFFIX = ".code"
_NAME = re.compile(rf"[0-9a-f]{{64}}{re.escape(SUFFIX)}")
_HEAD = b"modecollapse machine code 1\n"
_DIGEST_BYTES = 32
#: Bytes kept by default, and seconds after which a file that was never finished belongs to nobody.
DEFAULT_SIZE, ABANDONED = 500 * 10**6, 86400.0


@dataclass
class Store:
    """The files of one folder. size: bytes of them to keep. writable: whether writing has always succeeded."""

    folder: Path
    key: bytes
    size: int
    writable: bool = field(default=True)

    def load(self, name: str) -> bytes | None:
        """What was saved under a name; None where nothing is, or something else, which is said."""
        path = self.folder / name
        try:
            data = read(path, max(self.size, DEFAULT_SIZE))
            head, digest, content = self._parts(data)
            if head != _HEAD or not hmac.compare_digest(digest, self._digest(name, content)):
                raise Damaged("is damaged or was not made here")
        except FileNotFoundError:
            return None
        except Damaged as error:
            self.distrust(name, str(error))
            return None
        with suppress(OSError):
            os.utime(path)  # used now, for the clean-up
        return content

    def distrust(self, name: str, why: str) -> None:
        """Say that a file cannot be used."""
        place = printable(self.folder)
        say("remade", str(self.folder), f"machine code in {place}: {name[:12]}… {why}; not used, made again")

    def save(self, name: str, content: bytes) -> None:
        """Keep bytes under a name, and remove what has not been used for longest; if that fails it is said, once."""
        if not self.writable or len(content) > self.size:
            return
        path = self.folder / name
        try:
            write(path, _HEAD + self._digest(name, content) + content)
            self._clean(path.stat().st_mtime)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and self.folder.is_dir():
                return  # another process has removed what was written: its folder is small, or its clock wrong
            self.writable = False
            _without(f"{printable(self.folder)}: {error.strerror or error}", str(self.folder))

    @staticmethod
    def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
        end = len(_HEAD) + _DIGEST_BYTES
        return data[: len(_HEAD)], data[len(_HEAD) : end], data[end:]

    def _digest(self, name: str, content: bytes) -> bytes:
        """Of a name and its content: a file under another name is another file."""
        digest = hashlib.blake2b(key=self.key, digest_size=_DIGEST_BYTES, person=b"machine code")
        digest.update(_HEAD + name.encode() + b"\0")
        digest.update(content)
        return digest.digest()

    def _clean(self, now: float) -> None:
        """Remove what was used longest ago until the rest is within `size`, and what was never finished.

        now: the time by the clock of the file system. Only names of this store are touched.
        """
        found: list[tuple[float, int, str]] = []
        with os.scandir(self.folder) as files:
            for file in files:
                code = _NAME.fullmatch(file.name) is not None
                if not (code or file.name.startswith(TEMPORARY)):
                    continue
                with suppress(OSError):  # another process may clean too
                    status = file.stat(follow_symlinks=False)
                    if code and status.st_mtime > now + ABANDONED:  # from a wrong clock: it shall age from now on
                        os.utime(file.path, follow_symlinks=False)
                    if code:
                        found.append((min(status.st_mtime, now), status.st_size, file.path))
                    elif status.st_mtime < now - ABANDONED:
                        os.unlink(file.path)
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.size:
                return
            with suppress(OSError):
                os.unlink(path)
            total -= size


_stores: dict[tuple[str | None, ...], Store | None] = {}
_lock = threading.Lock()


def opened() -> Store | None:
    """The store that the environment names; None where it cannot be used, which is said, or shall not be."""
    settings = tuple(map(os.environ.get, ("MODECOLLAPSE_CACHE", "XDG_CACHE_HOME", "HOME", "MODECOLLAPSE_CACHE_SIZE")))
    with _lock:
        if settings not in _stores:
            _stores[settings] = None  # also if a warning is raised as an error
            _stores[settings] = _open()
        return _stores[settings]


def _open() -> Store | None:
    if not (size := _size()):
        return None
    try:
        folder = prepared(cache_folder())
        key, wrong = key_of(folder)
    except (Unusable, OSError) as error:
        _without(reason(error), reason(error))
    else:
        store = Store(folder, key, size)
        if wrong:
            store.distrust(KEY, wrong)
        return store
    return None


def _size() -> int:
    """Bytes to keep, from MODECOLLAPSE_CACHE_SIZE in units of 10⁶."""
    given = os.environ.get("MODECOLLAPSE_CACHE_SIZE")
    if given is None:
        return DEFAULT_SIZE
    if not re.fullmatch(r"[0-9]{1,9}", given):
        allowed = f"a whole number of megabytes, 0 keeps none; {DEFAULT_SIZE // 10**6} is taken"
        say("size", given, f"MODECOLLAPSE_CACHE_SIZE is {printable(given)}; must be {allowed}")
        return DEFAULT_SIZE
    return int(given) * 10**6


def _without(why: str, about: str) -> None:
    say("without", about, f"machine code is not kept, which costs seconds of compilation each time: {why}")
