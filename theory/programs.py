"""Straight-line programs in index notation, and their reverse-mode derivative, derived rather than written down.

A program is a list of assignments `y[I] = f(inputs, earlier assignments)`. Its adjoint is again such a program: every
variable z gets z_bar[J] = Σ over the assignments y that use z of Σ_I y_bar[I] ∂f/∂z[J], in reverse order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from sympy import Add, Expr, Function, Indexed, IndexedBase, Symbol, exp, log

from theory.calculus import differentiate
from theory.rules import linearity
from theory.sums import LETTERS, Sigma, index, substitute

__all__ = ["SIZES", "Assign", "LogSumExpOf", "Program", "array", "logarithms", "softmax_of"]

#: Size of what an index letter numbers: components of a mixture, directions of the span.
SIZES = {letter: Symbol("K" if side == "q" else "R", integer=True, positive=True) for side in "qx" for letter in
         LETTERS[side]}  # fmt: skip


def array(name: str, *indices: Symbol) -> Expr:
    """The variable `name`, indexed unless it is one number a path."""
    return IndexedBase(name, real=True)[indices] if indices else Symbol(name, real=True)


class LogSumExpOf(Function):  # type: ignore[misc]
    """log Σ_k exp(y_k) of an array y, given as y[k] with its index bound."""

    is_real = True


@dataclass(frozen=True)
class Assign:
    """name[indices] = value."""

    name: str
    indices: tuple[Symbol, ...]
    value: Expr

    @property
    def variable(self) -> Expr:
        return array(self.name, *self.indices)


@dataclass(frozen=True)
class Program:
    """inputs: the variables that are differentiated, with their indices. constants: those that are not.

    steered: constants, the same for all paths, in which `slope` differentiates, where they are learned.
    known: right-hand sides that recur in derivatives, and the variable that holds them. adds: whether outputs are parts
    of sums, so that compiled code adds them to what is there. on_paths: whether paths take it, or it is asked once for
    all of them, by code on arrays only.
    """

    name: str
    meaning: str
    inputs: dict[str, tuple[Symbol, ...]]
    constants: dict[str, tuple[Symbol, ...]]
    body: tuple[Assign, ...]
    outputs: tuple[str, ...]
    known: dict[Expr, Expr] = field(default_factory=dict)
    adds: bool = False
    on_paths: bool = True
    steered: tuple[str, ...] = ()

    @cached_property
    def shapes(self) -> dict[str, tuple[Symbol, ...]]:
        """Indices of every variable."""
        return self.inputs | self.constants | {a.name: a.indices for a in self.body}

    @cached_property
    def adjoint(self) -> tuple[Assign, ...]:
        """Assignments of z_bar for all variables, the inputs last; `d_y` is what arrives for an output y."""
        return self._reverse(tuple(self.inputs))

    @cached_property
    def slope(self) -> tuple[Assign, ...]:
        """The same for what is steered, and nothing that this does not need."""
        needed, kept = {f"{name}_bar" for name in self.steered}, list[Assign]()
        for assign in reversed(self._reverse(self.steered)):
            if assign.name in needed:
                needed |= set(_used(assign.value))
                kept.append(assign)
        return tuple(reversed(kept))

    def _reverse(self, wanted: tuple[str, ...]) -> tuple[Assign, ...]:
        """Assignments of z_bar for all variables, the wanted of those that are given last."""
        given = (self.inputs | self.constants).keys() - set(wanted)
        parts: dict[str, list[Expr]] = {name: [] for name in self.shapes}
        for name in self.outputs:
            parts[name].append(array(f"d_{name}", *self.shapes[name]))
        out = []
        for assign in reversed(self.body):
            bar = Assign(f"{assign.name}_bar", assign.indices, Add(*parts[assign.name]))
            out.append(bar)
            if bar.value == 0:
                raise ValueError(f"{self.name}: {assign.name} is computed and not used")
            for name in _used(assign.value):
                if name not in given:
                    parts[name].append(self._pull_back(assign, name))
        out += [Assign(f"{name}_bar", self.shapes[name], Add(*parts[name])) for name in wanted]
        return tuple(out)

    def _pull_back(self, assign: Assign, name: str) -> Expr:
        """Σ_I y_bar[I] ∂f/∂z[J] for the assignment y[I] = f, with J the letters of z."""
        indices = self.shapes[name]
        taken = set(assign.indices) | set(indices) | {s.index for s in assign.value.atoms(Sigma)}
        fresh = []
        for letter in indices:
            side = next(side for side in "qx" if str(letter) in LETTERS[side])
            fresh.append(next(index(x) for x in LETTERS[side] if index(x) not in taken and index(x) not in fresh))
        # A number is whatever symbol has its name, with the sign that it is known to have.
        number = next((s for s in assign.value.free_symbols if str(s) == name), array(name))
        variable = array(name, *fresh) if fresh else number
        term = array(f"{assign.name}_bar", *assign.indices) * _partial(assign, variable, self.known)
        for letter in assign.indices:
            term = Sigma(term, (letter, 1, SIZES[str(letter)]))
        term = linearity(term)
        for new, letter in zip(fresh, indices, strict=True):
            term = substitute(term, new, letter)
        return term


def _partial(assign: Assign, y: Expr, known: dict[Expr, Expr]) -> Expr:
    """∂f/∂y for an assignment of f; the derivative of a log-sum-exp is the softmax, which has a name."""
    f = assign.value
    if isinstance(f, LogSumExpOf):
        logit = f.args[0]
        softmax = known[exp(logit - assign.variable)]
        return substitute(softmax, logit.indices[0], y.indices[0])
    return differentiate(f, y).xreplace(known)


def _used(expr: Expr) -> list[str]:
    """Names of the variables in an expression, in a fixed order."""
    indexed = {str(node.base) for node in expr.atoms(Indexed)}
    symbols = {str(s) for s in expr.free_symbols if isinstance(s, Symbol) and not s.is_integer}
    symbols -= {str(node.base.label) for node in expr.atoms(Indexed)}
    return sorted(indexed | symbols)


def softmax_of(expr: Expr) -> str:
    """The array y if the expression is exp(y[k] − lse), lse its log-sum-exp; else nothing.

    Where logits are of order d the rounding of lse alone would make a sum of the softmax that is not 1.
    """
    plus = [term for term in expr.args[0].args if isinstance(term, Indexed)] if isinstance(expr, exp) else []
    found = len(plus) == 1 and expr == exp(plus[0] - array("lse"))
    return str(plus[0].base) if found else ""


def logarithms(expr: Expr, names: dict[Expr, Expr]) -> Expr:
    """log of the arrays in `names` as arrays of their own."""
    return expr.replace(log, lambda argument: names.get(argument, log(argument)))
