"""Machine code that is made once: numba functions in modules named by their content, what is compiled kept on disk.

What decides the machine code is hashed into the name of the modules (modules.py). Python source is executed from
memory, never from the cache. Compiled functions (entries.py) are kept one in a file (store.py), with a keyed digest
that is checked before a byte of it is interpreted, in a folder that nobody else may write to (folder.py).
docs/architecture.md says what that protects against. Nothing here imports numba until a function is compiled.
"""

from solvers.machine.code.folder import cache_folder
from solvers.machine.code.modules import package
from solvers.machine.code.notes import CacheWarning
from solvers.machine.code.switch import usable

__all__ = ["CacheWarning", "cache_folder", "package", "usable"]
