"""The one limit on time in the suite. It ends a test that would wait for ever, and says nothing about speed."""

from __future__ import annotations

#: Seconds: two compilations took 37 on a busy machine; no test may come near this on any.
HANG = 1800.0
