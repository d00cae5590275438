"""The CUDA text of every flow is C++ that a compiler accepts, and the numba text uses no name that it is not given."""

import ast
import builtins
import shutil
import subprocess
from pathlib import Path

import pytest

GENERATED = Path(__file__).resolve().parents[2] / "solvers" / "generated"

#: What the heading of each file asks for. Rows and sizes are numbers; how many of them, the calls must agree on.
SCOPE = """
#define DEVICE static
#define UNROLL
#define ROLL
using Rows = double*;
constexpr int K = 3, L = 2, R = 4, DRIVEN = 1;
constexpr int SLOPES(int n) { return n * (n + 1); }
void weights(double*);
double logarithm(double);
double divergence(double, double);
double mobility(double, double, double);
void expect(double*, int K, int n, int mean, int cov, int softmax, int lse, int slope, bool slopes);
void expect_fixed(double*, const double* p, int law, int K, int n, int mean, int cov, int softmax, int lse, int slope,
                  bool slopes);
void expect_tangent(double*, int K, int n, int slope, int softmax, int d_mean, int d_cov, int d_softmax, int d_lse);
"""


def flows(suffix: str = "cu") -> dict[str, str]:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(GENERATED.glob(f"*.{suffix}"))}
    return {name: text for name, text in texts.items() if "Closed equations" in text.splitlines()[0]}


def accepted(texts: dict[str, str]) -> str:
    """The compiler's complaints about texts, each in a namespace of its own; empty if there are none."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the C++ with")
    source = SCOPE + "".join(f"namespace {name} {{\n{text}\n}}\n" for name, text in texts.items())
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", "-Werror", "-Wno-unused-function", "-Wno-unused-variable"]
    return subprocess.run(["g++", *flags, "-x", "c++", "-"], input=source, capture_output=True, text=True).stderr


def test_every_flow_compiles() -> None:
    texts = flows()
    assert texts
    assert accepted(texts) == ""


def test_a_missing_argument_does_not() -> None:
    text = flows()["reverse_kl"]
    assert "too few arguments" in accepted({"broken": text.replace("expect(work, K, ", "expect(work, ")})


def unknown(text: str) -> set[str]:
    """Names that a numba text reads and neither makes nor lists as needed in its heading."""
    tree = ast.parse(text)
    scope = set(text.split("Needed in scope: ")[1].split("def ")[0].replace(",", " ").replace(";", " ").split())
    scope |= {name.removesuffix(".") for name in scope} | set(dir(builtins))
    nodes = list(ast.walk(tree))
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {node.id for node in nodes if isinstance(node, ast.Name)} - made - scope


def test_numba_texts_need_what_they_say() -> None:
    texts = flows("numba")
    assert set(texts) == {"forward_kl", "reverse_kl"}
    assert {name: unknown(text) for name, text in texts.items() if unknown(text)} == {}
    text = texts["reverse_kl"]
    assert "inv_u" in unknown(text.replace("inv_u = ", "inverse = "))
