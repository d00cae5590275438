"""Where machine code is kept, whether that can be trusted, and files there that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from solvers.machine.code.notes import printable

__all__ = ["KEY", "TEMPORARY", "Damaged", "Unusable", "cache_folder", "key_of", "prepared", "read", "write"]

#: Names of files that are being written begin with it.
TEMPORARY = ".modecollapse-new-"
#: The secret; a name that no file of somebody's has by chance, since what is wrong with it is replaced.
KEY, _KEY_BYTES = "modecollapse-key", 32


class Unusable(Exception):
    """The folder cannot be used; str() says why, and what must be."""


class Damaged(Exception):
    """A file is not what was written here; str() says why."""


def cache_folder() -> Path:
    """Where machine code is kept: $MODECOLLAPSE_CACHE, else modecollapse in $XDG_CACHE_HOME, else in ~/.cache.

    Raises  Unusable where none of these is a name of a folder.
    """
    chosen = os.environ.get("MODECOLLAPSE_CACHE")
    if chosen is not None:
        if not chosen:
            raise Unusable("MODECOLLAPSE_CACHE is empty; must name a folder, or be unset")
        return Path(chosen)
    common = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not common.is_absolute():  # which its specification tells to ignore
        try:
            common = Path.home() / ".cache" if os.environ.get("HOME") != "" else Path()
        except RuntimeError:
            common = Path()
    if not common.is_absolute():
        raise Unusable("there is no home folder; MODECOLLAPSE_CACHE names a folder")
    return common / "modecollapse"


def prepared(given: Path) -> Path:
    """A folder, links resolved, made if it was not there, once nobody else can write to it.

    Raises  Unusable, OSError.
    """
    given, folder = given.absolute(), Path(os.path.realpath(given.absolute()))
    if os.name != "posix":  # other systems keep the files of a user to that user, and say so in other ways
        _make(given)
        return folder
    # First those above, so that root leaves nothing in the home of another user.
    trusted = _trusted_owners()
    for parent in (*folder.parents, *given.parents):
        try:
            status = parent.stat()
        except FileNotFoundError:
            continue  # to be made
        # Where the sticky bit is set, as in /tmp, others cannot replace what belongs to this user.
        if status.st_uid not in trusted or (_writable_by_others(status) and not status.st_mode & stat.S_ISVTX):
            raise Unusable(f"{printable(folder)} is inside {printable(parent)}, which others can change; must not be")
    _make(given)
    me, status = os.geteuid(), folder.stat()
    if status.st_uid != me:
        raise Unusable(f"{printable(folder)} belongs to user {status.st_uid}; must belong to this user, {me}")
    if _writable_by_others(status):
        raise Unusable(f"{printable(folder)} can be written to by others; must be writable by its owner alone")
    return folder


def _make(folder: Path) -> None:
    """A folder and those above it, for this user only, whatever the umask; what is there stays as it is."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make(folder.parent)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not folder.is_dir():  # else another process was faster
            raise NotADirectoryError(errno.ENOTDIR, "is not a folder", os.fspath(folder)) from None
    else:
        os.chmod(folder, 0o700)


def _trusted_owners(kernel: Path = Path("/proc")) -> set[int]:
    """Who may own the folders above: this user, root, and where root has no name in this container, nobody."""
    owners = {0, os.geteuid()}
    with suppress(OSError, ValueError):
        mapped = [line.split() for line in (kernel / "self/uid_map").read_text().splitlines()]
        if not any(int(first) == 0 for first, _, _ in mapped):
            owners.add(int((kernel / "sys/kernel/overflowuid").read_text()))
    return owners


def _writable_by_others(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IWOTH) or bool(
        status.st_mode & stat.S_IWGRP and not _group_of_one(status.st_gid)
    )


def _group_of_one(number: int) -> bool:
    """Whether a group is the one of this user only, which many systems make for each user, with umask 002."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return user.pw_gid == number and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def read(path: Path, most: int, forbidden: int = stat.S_IWGRP | stat.S_IWOTH) -> bytes:
    """The bytes of a regular file of this user, no link. forbidden: bits of its mode that must not be set.

    What is checked is what is read, whatever happens to the name in between.
    Raises  FileNotFoundError; Damaged for all else.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(number, "rb") as file:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                raise Damaged("is not a file")
            if os.name == "posix" and status.st_uid != os.geteuid():
                raise Damaged(f"belongs to user {status.st_uid}")
            if os.name == "posix" and status.st_mode & forbidden:
                raise Damaged("is open to others")
            if status.st_size > most:
                raise Damaged("is too large")
            return file.read(most + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(f"cannot be read ({error.strerror})") from None


def write(path: Path, data: bytes, *, over: bool = True) -> None:
    """A file of mode 0600 under its name once all of it is on the disk. over: in place of one that is there.

    Raises  OSError; then nothing is left.
    """
    number, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    temporary = Path(name)
    try:
        with open(number, "wb") as file:
            if os.name == "posix":
                os.fchmod(number, 0o600)  # whatever the umask
            file.write(data)
            file.flush()
            os.fsync(number)
        if over:
            _out_of_the_way(path)
            os.replace(temporary, path)
        else:
            _link(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    _sync(path.parent)


def _out_of_the_way(path: Path) -> None:
    """A folder, which a file cannot replace, is removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def _link(temporary: Path, path: Path) -> None:
    """Give a file its name unless another process was faster."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            os.replace(temporary, path)


def _sync(folder: Path) -> None:
    with suppress(OSError):  # not all file systems can; the content of the file is checked when it is loaded
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def key_of(folder: Path) -> tuple[bytes, str]:
    """The secret of a cache folder, made at first use, and what was wrong with the one that was there, if anything.

    Raises  OSError where none can be kept; Unusable where it cannot be kept from others.
    """
    path, wrong, private = folder / KEY, "", stat.S_IRWXG | stat.S_IRWXO
    for over in (None, False, True):  # look, make where there is none, replace
        try:
            if over is not None:
                write(path, secrets.token_bytes(_KEY_BYTES), over=over)
            key = read(path, _KEY_BYTES, private)
            if len(key) == _KEY_BYTES:
                return key, wrong
            wrong = "is cut short"
        except FileNotFoundError:
            continue
        except Damaged as error:
            wrong = str(error)
    raise Unusable(
        f"{printable(path)} {wrong or 'is gone once it is written'}; must be a file that its owner alone can read"
    )
