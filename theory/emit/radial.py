"""NumPy source of a system with a variance for each component: the same functions, tables over logits with |z|²."""

from __future__ import annotations

from sympy import Expr, Indexed, Symbol

from theory.emit.arrays import ArrayPrinter, Axes
from theory.emit.numpy import Writer, assignment, prelude, uses, written
from theory.emit.text import text
from theory.equations import Equations
from theory.radial import RadialExpectation, radial_nodes

__all__ = ["source"]

SHAPES = """\
Shapes: any leading batch axes, then s (K, K), m (K, L), theta (K), v (K) variances of q; parameters c (L, L),
log_pi (L), u (L) variances of p, and the dimension d. Overlaps are plain inner products; the objective is in nats.
`expect(mean, cov, curvature, d)` is over logits U_j = mean_j + a_j·z + curvature_j (|z|² - d), z ~ N(0, I_d),
a_i·a_j = cov_ij. It returns E softmax(U), E (|z|² - d) softmax(U), E⁺[softmax_i (δ_ij - softmax_j)] with z in d + 2
dimensions, and E logsumexp(U)."""


class RadialPrinter(ArrayPrinter):
    """Array code in which RadialExpectation nodes are arrays."""

    def atom(self, expr: Expr, axes: Axes) -> str:
        if isinstance(expr, RadialExpectation):
            return self.array(self.node_name(expr), [a for a in axes if a in expr.free_symbols], axes)
        return super().atom(expr, axes)


class _Writer(Writer):
    def __init__(self, system: Equations) -> None:
        super().__init__(system)
        self.printer = RadialPrinter(self.name_of)
        #: Component averaged over, and size of the logits → names of E softmax, E |z|² softmax, E⁺ slope, E logsumexp.
        self.sides: dict[tuple[Symbol, Expr], dict[str, str]] = {}
        for table in system.tables:
            for node in radial_nodes(table.value):
                under, size = side = self._side(node)
                tag = size if under == self.k else f"p{size}"
                kinds = {"softmax": "softmax", "radius": "radius", "slope": "slope", "logsumexp": "lse"}
                names = self.sides.setdefault(side, {kind: f"{name}_{tag}" for kind, name in kinds.items()})
                if node == table.value:
                    names[node.kind] = table.name

    def _side(self, node: RadialExpectation) -> tuple[Symbol, Expr]:
        """The component that an expectation is under, and the number of its logits."""
        return self.k if self.k in node.curvature.free_symbols else self.l, node.size

    def label(self, term: Expr) -> str:
        """A short name of a term: parameters of the objective and arrays."""
        own = sorted({s.name for s in term.free_symbols if isinstance(s, Symbol)} & {*self.system.factors})
        arrays = "".join(sorted({str(a.base) for a in term.atoms(Indexed)}))
        return "*".join([*own, *([arrays] if arrays else [])])

    def name_of(self, node: RadialExpectation) -> str:
        return self.sides[self._side(node)][node.kind]

    def tables(self) -> str:
        names = ", ".join(sorted(t.name for t in self.system.tables))
        body: list[str] = []
        nodes = {self._side(node): node for t in self.system.tables[::-1] for node in radial_nodes(t.value)[::-1]}
        for (under, size), outputs in self.sides.items():
            node = nodes[under, size]
            covered = [t for t in self.system.tables if t.name in outputs.values()]
            body += [f"    # {t.name}_{''.join(map(str, t.indices))} = {text(t.source)}" for t in covered]
            (j,), (i, j2), (j3,) = node.mean.variables, node.cov.variables, node.curvature.variables
            body += [
                f"    # {size} logits under component {under}: their means, covariances, and factors of |z|² - d",
                *assignment("mean", self.printer.print(node.mean.expr, (under, j))),
                *assignment("cov", self.printer.print(node.cov.expr, (under, i, j2))),
                *assignment("curvature", self.printer.print(node.curvature.expr, (under, j3))),
                f"    {', '.join(outputs[kind] for kind in ('softmax', 'radius', 'slope', 'logsumexp'))} = "
                "expect(mean, cov, curvature, d)",
            ]
        for table in self.system.tables:
            if not isinstance(table.value, RadialExpectation):
                body.append(f"    # {table.name}_{''.join(map(str, table.indices))} = {text(table.source)}")
                body += assignment(table.name, self.printer.print(table.value, table.indices))
        used = "".join(f"{name}, " for name in self.system.parameters if uses(body, name))
        head = [
            f"def tables(s, m, theta, c, log_pi, v, u, d, {used}expect):",
            f'    """Expectation tables {names}."""',
            *prelude(body),
        ]
        return "\n".join([*head, *body, f"    return {names}"])


def source(system: Equations, name: str = "system", title: str = "gradient flow") -> str:
    """Source of the module with tables, velocity, objective and mode_mass."""
    tables = sorted(t.name for t in system.tables)
    return written(_Writer(system), name, title, SHAPES, tables, 'VARIANCES = "own"\n')
