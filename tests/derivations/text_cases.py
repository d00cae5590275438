"""What compilers say of emitted text, without running it."""

import ast
import builtins
import shutil
import subprocess

import pytest

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


def accepted(texts: dict[str, str]) -> str:
    """The compiler's complaints about texts, each in a namespace of its own; empty if there are none."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the C++ with")
    source = SCOPE + "".join(f"namespace {name} {{\n{text}\n}}\n" for name, text in texts.items())
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", "-Werror", "-Wno-unused-function", "-Wno-unused-variable"]
    return subprocess.run(["g++", *flags, "-x", "c++", "-"], input=source, capture_output=True, text=True).stderr


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
