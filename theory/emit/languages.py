"""What differs between numba and C++: how a row is accessed, a loop written, a function declared."""

from __future__ import annotations

from dataclasses import dataclass

from theory.emit.lines import at_sums

__all__ = ["CUDA", "NUMBA", "PARAMETERS", "Language", "indented"]

#: Parameters shared by all trajectories, in the order of the parameter array, with their shapes. Systems with other
#: objectives have some more, see theory.emit.compiled.
PARAMETERS = {
    "nu": "L * R", "c": "L * L", "log_pi": "L", "v": "1", "u": "1", "d": "1", "log_v": "1", "log_u": "1",
    "learn_means": "1", "learn_weights": "1", "power_means": "1", "power_weights": "1",
}  # fmt: skip


@dataclass(frozen=True)
class Language:
    """What differs between numba and C++."""

    name: str
    comment: str

    @property
    def python(self) -> bool:
        return self.name == "numba"

    def row(self, base: str, offset: str) -> str:
        """Row of the scratch array that holds an entry of an array."""
        return f"R_{base.upper()} + {offset}" if offset != "0" else f"R_{base.upper()}"

    def read(self, array: str, row: str) -> str:
        """The value of one row."""
        return f"load({array}, {row})" if self.python else f"{array}[{row}]"

    def write(self, array: str, row: str, value: str, op: str = "=") -> list[str]:
        """One row op value, op one of =, +=, -=, *=."""
        if not self.python:
            rows = at_sums(value, 100)
            if len(rows) == 1:
                return [f"{array}[{row}] {op} {value};"]
            return [f"{array}[{row}] {op} (", *indented(rows), ");"]
        if op != "=":
            value = f"{self.read(array, row)} {op[0]} {f'({value})' if ' + ' in value or ' - ' in value else value}"
        rows = at_sums(value, 100)
        if len(rows) == 1:
            return [f"store({array}, {row}, {value})"]
        return ["store(", *indented([f"{array},", f"{row},", *rows]), ")"]

    def loop(self, index: str, size: str, body: list[str], start: str = "0", *, unroll: bool = True) -> list[str]:
        """for index = start .. size − 1; unroll: C++ writes it out where sizes are small, for arrays in registers."""
        if self.python:
            return [f"for {index} in range({size if start == '0' else f'{start}, {size}'}):", *indented(body)]
        mark = "UNROLL" if unroll else "ROLL"
        return [mark, f"for (int {index} = {start}; {index} < {size}; ++{index}) {{", *indented(body), "}"]

    def half(self, value: str) -> str:
        """Half of an even integer."""
        return f"{value} {'//' if self.python else '/'} 2"

    def truth(self, value: bool) -> str:
        return str(value) if self.python else str(value).lower()

    def choice(self, condition: str, yes: str, no: str) -> str:
        return f"{yes} if {condition} else {no}" if self.python else f"{condition} ? {yes} : {no}"

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
