"""What differs between numba and C++: how a row is accessed, a loop written, a function declared."""

from __future__ import annotations

from dataclasses import dataclass

from theory.emit.lines import at_sums

__all__ = ["CUDA", "NUMBA", "PARAMETERS", "Language", "indented"]

#: Parameters shared by all trajectories, in the order of the parameter array, with their shapes.
PARAMETERS = {
    "c": "L * L", "log_pi": "L", "v": "1", "u": "1", "d": "1", "log_v": "1", "log_u": "1",
    "learn_means": "1", "learn_weights": "1",
}  # fmt: skip


@dataclass(frozen=True)
class Language:
    """What differs between numba and C++."""

    name: str
    comment: str

    @property
    def python(self) -> bool:
        return self.name == "numba"

    @property
    def true(self) -> str:
        return "True" if self.python else "true"

    @property
    def false(self) -> str:
        return "False" if self.python else "false"

    def access(self, base: str, offset: str) -> str:
        if base in PARAMETERS:
            return f"p[P_{base.upper()} + {offset}]" if offset != "0" else f"p[P_{base.upper()}]"
        row = f"R_{base.upper()} + {offset}" if offset != "0" else f"R_{base.upper()}"
        return f"work[{row}, z]" if self.python else f"work[{row}]"

    def loop(self, index: str, size: str, body: list[str]) -> list[str]:
        if self.python:
            return [f"for {index} in range({size}):", *indented(body)]
        return [f"for (int {index} = 0; {index} < {size}; ++{index}) {{", *indented(body), "}"]

    def assign(self, target: str, op: str, value: str) -> list[str]:
        rows = at_sums(value, 100)
        if len(rows) == 1:
            statement = [f"{target} {op} {rows[0]}" + ("" if self.python else ";")]
        else:
            statement = [f"{target} {op} (", *indented(rows), ")" if self.python else ");"]
        return ["for z in range(W):", *indented(statement)] if self.python else statement

    def call(self, name: str, arguments: str) -> str:
        return f"{name}({arguments})" + ("" if self.python else ";")

    def constant(self, name: str, value: str) -> str:
        return f"{name} = {value}" if self.python else f"constexpr int {name} = {value};"

    def function(self, name: str, arguments: list[tuple[str, str]], body: list[str], doc: str) -> str:
        if self.python:
            names = ", ".join(n for n, _ in arguments)
            return "\n".join(["@njit(**FLAGS)", f"def {name}({names}):", f'    """{doc}"""', *indented(body)])
        typed = ", ".join(f"{kind}{n}" for n, kind in arguments)
        return "\n".join([f"// {doc}", f"DEVICE void {name}({typed}) {{", *indented(body), "}"])

    def local(self, name: str, value: str) -> str:
        return f"{name} = {value}" if self.python else f"const double {name} = {value};"


def indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


NUMBA, CUDA = Language("numba", "#"), Language("cuda", "//")
