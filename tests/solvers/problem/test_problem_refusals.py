"""What problem files may not say: for each mistake the one message, naming file, key, value and what is allowed."""

import pytest

from solvers.problem import Problem, ProblemError
from tests.solvers.problem.problem_text import BASE, edited


def refusal(text):
    with pytest.raises(ProblemError) as refused:
        Problem.parse(text, "two_modes.toml")
    message = str(refused.value)
    assert "\n" not in message
    return message


S2 = "s = [[1.0, 0.0], [0.0, 1.0]]"
REFUSED = [
    # missing keys and sections
    ([("dimension = 64", "")], "dimension: missing; must be an integer >= 1"),
    ([("components = 2", "")], "family.components: missing; must be an integer >= 1"),
    ([("[time]\nend = 10.0", "[flow]")], "time: missing; must be a table [time]"),
    ([("end = 10.0", "")], "time.end: missing; must be a number >= 0"),
    (
        [("scale = 0.125", f"overlaps = {{{S2}}}")],
        "init.overlaps.m: missing; must be the K × L overlaps with the modes",
    ),
    # unknown keys
    ([("separation", "seperation")], 'target.seperation: unknown key; did you mean "separation"?'),
    ([("[family]", "[famly]")], 'famly: unknown key; did you mean "family"?'),
    ([("scale = 0.125", f"overlaps = {{{S2}, n = 1}}")], "init.overlaps.n: unknown key; allowed: s, m"),
    ([("[time]", "zzz = 1")], "time.zzz: unknown key; allowed: end, save"),
    ([("[time]", '"a b\\n" = 1')], 'time."a b\\n": unknown key; allowed: end, save'),
    # exactly one geometry, exactly one start
    ([("separation = 3.0", "")], "target: has none; must have exactly one of separation, means, overlaps, shape"),
    (
        [("[target]", "means = [[1.0]]")],
        "target: has separation and means; must have exactly one of separation, means, overlaps, shape",
    ),
    ([("scale = 0.125", "")], "init: has none; must have exactly one of scale, means, overlaps"),
    ([("[init]", "means = [[1.0]]")], "init: has scale and means; must have exactly one of scale, means, overlaps"),
    # numbers
    ([("dimension = 64", "dimension = 0")], "dimension: is 0; must be an integer >= 1"),
    ([("dimension = 64", "dimension = true")], "dimension: is true; must be an integer >= 1"),
    ([("dimension = 64", "dimension = 64.0")], "dimension: is 64.0; must be an integer >= 1"),
    (
        [("dimension = 64", f"dimension = {10**30}")],
        f"dimension: is {10**30}; must be an integer >= 1 and <= 9007199254740992",
    ),
    ([("components = 2", "components = 0")], "family.components: is 0; must be an integer >= 1"),
    ([("components = 2", 'components = "two"')], 'family.components: is "two"; must be an integer >= 1'),
    ([("3.0", "nan")], "target.separation: is nan; must be a number >= 0"),
    ([("3.0", "inf")], "target.separation: is inf; must be a number >= 0"),
    ([("3.0", "-1.0")], "target.separation: is -1; must be a number >= 0"),
    ([("3.0", "true")], "target.separation: is true; must be a number >= 0"),
    ([("3.0", "1e200")], "target.separation: is 1e+200; its overlaps exceed the range of float64, must be smaller"),
    ([("3.0", "1979-05-27")], 'target.separation: is "1979-05-27"; must be a number >= 0'),
    ([("0.125", "-0.1")], "init.scale: is -0.1; must be a number >= 0"),
    (
        [("0.125", "1e200")],
        "init.scale: is 1e+200; its overlaps exceed the range of float64, must be smaller",
    ),
    (
        [("components = 2", f"components = {10**12}")],
        f"family.components: is {10**12}; must be an integer >= 1 and <= 10000",
    ),
    ([("[init]", "samples = 0")], "init.samples: is 0; must be an integer >= 1"),
    ([("[init]", "seed = -1")], "init.seed: is -1; must be an integer >= 0"),
    ([("[target]\nseparation = 3.0", "target = 3")], "target: is 3; must be a table"),
    # weights
    ([("[family]", "weights = [0.7, 0.5]")], "family.weights: sums to 1.2, must sum to 1"),
    ([("[target]", "weights = [0.3333, 0.6666]")], "target.weights: sums to 0.9999, must sum to 1"),
    ([("[family]", "weights = [1.0, 0.0]")], "family.weights: entry 2 is 0; every weight must be a number > 0"),
    ([("[family]", "weights = [1.5, -0.5]")], "family.weights: entry 2 is -0.5; every weight must be a number > 0"),
    ([("[family]", "weights = [nan, 1.0]")], "family.weights: entry 1 is nan; every weight must be a number > 0"),
    ([("[family]", "weights = [true, 0.5]")], "family.weights: entry 1 is true; every weight must be a number > 0"),
    ([("[family]", "weights = 1.0")], "family.weights: is 1; must be a list of numbers"),
    ([("[family]", "weights = [1.0]")], "family.weights: has 1 entries, must have 2, one per component"),
    ([("[target]", "weights = [0.5, 0.25, 0.25]")], "target.weights: has 3 entries, must have 2, one per mode"),
    # variances
    ([("[family]", "variances = -1.0")], "family.variances: is -1; must be a number > 0, or a list of them"),
    ([("[target]", "variances = 0")], "target.variances: is 0; must be a number > 0, or a list of them"),
    (
        [("[target]", "variances = [1.0, -2.0]")],
        "target.variances: entry 2 is -2; every variance must be a number > 0",
    ),
    (
        [("[family]", "variances = [1.0]")],
        "family.variances: has 1 entries, must be a number or have 2, one per component",
    ),
    # rows
    (
        [("separation = 3.0", "means = [[3.0], 1.0]")],
        "target.means: row 2 is 1; every row must be a list of numbers",
    ),
    (
        [("separation = 3.0", "means = [[3.0], [[1.0]]]")],
        "target.means: row 2 holds [1]; every entry must be a finite number",
    ),
    (
        [("separation = 3.0", 'means = [[3.0, "1"]]')],
        'target.means: row 1 holds "1"; every entry must be a finite number',
    ),
    ([("separation = 3.0", "means = [[inf]]")], "target.means: row 1 holds inf; every entry must be a finite number"),
    (
        [("separation = 3.0", "means = []")],
        "target.means: is []; must be a list of rows of numbers, such as [[3.0], [-1.0]]",
    ),
    (
        [("dimension = 64", "dimension = 2"), ("separation = 3.0", "means = [[1.0], [1.0, 2.0, 3.0]]")],
        "target.means: row 2 has 3 entries, must have at most dimension = 2",
    ),
    ([("0.125", "nan")], "init.scale: is nan; must be a number >= 0"),
    (
        [("scale = 0.125", "means = [[1.0], [0.0, nan]]")],
        "init.means: row 2 holds nan; every entry must be a finite number",
    ),
    (
        [("scale = 0.125", f"overlaps = {{{S2}, m = [[0.0, 0.0], [nan, 0.0]]}}")],
        "init.overlaps.m: row 2 holds nan; every entry must be a finite number",
    ),
    ([("scale = 0.125", "means = [[1.0]]")], "init.means: has 1 rows, must have 2, one per component"),
    (
        [("dimension = 64", "dimension = 1"), ("scale = 0.125", "means = [[1.0, 2.0], [1.0]]")],
        "init.means: row 1 has 2 entries, must have at most dimension = 1",
    ),
    (
        [("scale = 0.125", "means = [[1e200], [1.0]]")],
        "init.means: is [[1e+200], [1]]; its overlaps exceed the range of float64, must be smaller",
    ),
    (
        [("separation = 3.0", "overlaps = [[1.0]]"), ("scale = 0.125", "means = [[1.0], [2.0]]")],
        "init.means: has no common coordinates with target.overlaps; give target.means, or start by init.overlaps",
    ),
    # overlaps of the target
    (
        [("separation = 3.0", "overlaps = [[1.0, 0.5], [0.4, 1.0]]")],
        "target.overlaps: entry (1, 2) is 0.5 but (2, 1) is 0.4; must be symmetric",
    ),
    (
        [("separation = 3.0", "overlaps = [[1.0, 2.0], [2.0, 1.0]]")],
        "target.overlaps: is not positive semi-definite (smallest eigenvalue -1 after scaling the diagonal to 1); "
        "must be inner products of vectors",
    ),
    (
        [("separation = 3.0", "overlaps = [[-1.0]]")],
        "target.overlaps: is not positive semi-definite (smallest eigenvalue -1 after scaling the diagonal to 1); "
        "must be inner products of vectors",
    ),
    (
        [("dimension = 64", "dimension = 1"), ("separation = 3.0", "overlaps = [[1.0, 0.0], [0.0, 1.0]]")],
        "target.overlaps: has rank 2, must be at most dimension = 1",
    ),
    ([("separation = 3.0", "overlaps = [[1.0, 0.0]]")], "target.overlaps: has 1 rows of 2 entries; must be square"),
    (
        [("separation = 3.0", "overlaps = [[1.0, 0.0], [0.0]]")],
        "target.overlaps: row 2 has 1 entries and row 1 has 2; all must be equally long",
    ),
    # overlaps of the start
    (
        [("scale = 0.125", "overlaps = {s = [[1.0]], m = [[0.0, 0.0]]}")],
        "init.overlaps.s: is 1 × 1; must be K × K = 2 × 2",
    ),
    (
        [("scale = 0.125", f"overlaps = {{{S2}, m = [[0.0], [0.0]]}}")],
        "init.overlaps.m: is 2 × 1; must be K × L = 2 × 2",
    ),
    (
        [("scale = 0.125", "overlaps = {s = [[1.0, 0.1], [0.0, 1.0]], m = [[0.0, 0.0], [0.0, 0.0]]}")],
        "init.overlaps.s: entry (1, 2) is 0.1 but (2, 1) is 0; must be symmetric",
    ),
    (
        # Modes at ±3 e₁, so the two overlaps of a mean with them must be opposite.
        [("scale = 0.125", f"overlaps = {{{S2}, m = [[1.0, 1.0], [0.0, 0.0]]}}")],
        "init.overlaps: with the overlaps of the target is not positive semi-definite (smallest eigenvalue -0.1872",
    ),
    (
        # |μ·ν| = 4 exceeds |μ||ν| = 3.
        [("scale = 0.125", f"overlaps = {{{S2}, m = [[4.0, -4.0], [0.0, 0.0]]}}")],
        "init.overlaps: with the overlaps of the target is not positive semi-definite (smallest eigenvalue",
    ),
    (
        [("dimension = 64", "dimension = 2"), ("scale = 0.125", f"overlaps = {{{S2}, m = [[0.0, 0.0], [0.0, 0.0]]}}")],
        "init.overlaps: with the overlaps of the target has rank 3, must be at most dimension = 2",
    ),
    (
        [("scale = 0.125", "means = [[1.0], [2.0]]\nsamples = 5")],
        "init.samples: is 5; must be 1 or left out, since init.means is one start",
    ),
    # times
    ([("end = 10.0", "end = -1.0")], "time.end: is -1; must be a number >= 0"),
    ([("[time]", "save = 0")], "time.save: is 0; must be an integer from 1 to 10000000 or a list of times"),
    ([("[time]", "save = 1.5")], "time.save: is 1.5; must be an integer from 1 to 10000000 or a list of times"),
    ([("[time]", "save = true")], "time.save: is true; must be an integer from 1 to 10000000 or a list of times"),
    ([("[time]", "save = []")], "time.save: is []; must hold at least one time"),
    ([("[time]", "save = [0.0, 2.0, 1.0]")], "time.save: has 2 before 1; times must increase"),
    ([("[time]", "save = [0.0, 1.0, 1.0]")], "time.save: has 1 before 1; times must increase"),
    ([("[time]", "save = [-1.0, 1.0]")], "time.save: entry 1 is -1; every time must be a number >= 0"),
    ([("[time]", "save = [0.0, nan]")], "time.save: entry 2 is nan; every time must be a number >= 0"),
    ([("[time]", "save = [0.0, 10.5]")], "time.save: entry 2 is 10.5; must be <= time.end = 10"),
    ([("end = 10.0", "end = 0.0\nsave = 5")], "time.save: is 5; must be 1 when time.end = 0"),
    # choices, and what this version does not have yet
    ([("[family]", 'learn = ["mean"]')], 'family.learn: one entry is "mean"; allowed: "means", "weights", "variances"'),
    (
        [("[family]", 'learn = "means"')],
        'family.learn: is "means"; must be a list of any of "means", "weights", "variances"',
    ),
    (
        [("[time]", "[flow]\nobjective = 'jeffreys'\n[time]")],
        'flow.objective: is "jeffreys"; character 1: jeffreys is a constant, which nothing descends; divergences are '
        'reverse-kl and forward-kl; allowed: "reverse-kl", "forward-kl", or a sum such as '
        '"reverse-kl + 0.3 forward-kl"',
    ),
    ([("[time]", "[flow]\nmetric = 'l2'\n[time]")], 'flow.metric: is "l2"; allowed: "euclidean", "wasserstein"'),
    ([("[time]", "[flow]\nweights = 1\n[time]")], 'flow.weights: is 1; allowed: "softmax", "fisher-rao"'),
    (
        [("[time]", "[flow]\ntemperature = 0.0\n[time]")],
        "flow.temperature: is 0; must be a number > 0, or a schedule such as {start = 4.0, rate = 0.05} with ",
    ),
    (
        [("[time]", "[flow]\ntemperature = {start = 4.0, rat = 0.05}\n[time]")],
        'flow.temperature.rat: unknown key; did you mean "rate"?',
    ),
    (
        [("[time]", "[flow]\ntemperature = {start = 4.0, rate = -1}\n[time]")],
        "flow.temperature: is {start = 4, rate = -1}; must be a number > 0, or a schedule such as ",
    ),
    (
        [("[time]", "[flow]\nbatch = {size = 256, stp = 0.01}\n[time]")],
        'flow.batch.stp: unknown key; did you mean "step"?',
    ),
    ([("[time]", "[flow]\nbatch = {size = 256}\n[time]")], "flow.batch.step: missing; must be a number > 0"),
    ([("[time]", "[flow]\nbatch = {size = 0, step = 0.01}\n[time]")], "flow.batch.size: is 0; must be an integer >= 1"),
    ([("[time]", "[flow]\nbatch = {size = 4, step = 0.0}\n[time]")], "flow.batch.step: is 0; must be a number > 0"),
    ([("[time]", "[flow]\nbatch = 4\n[time]")], "flow.batch: is 4; must be a table"),
]


@pytest.mark.parametrize(("edits", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_refused(edits, message):
    assert refusal(edited(*edits)).startswith(f"two_modes.toml: {message}")


def test_not_toml():
    assert refusal("dimension 64") == (
        "two_modes.toml: not TOML: Expected '=' after a key in a key/value pair (at line 1, column 11)"
    )
    assert refusal(BASE + "end = 3.0").startswith("two_modes.toml: not TOML: Cannot overwrite a value")


def test_long_values_are_cut_short():
    message = refusal(edited(("3.0", f'"{"x" * 1000}"')))
    assert message.startswith('two_modes.toml: target.separation: is "xxx')
    assert len(message) < 200


def test_as_many_modes_as_components_and_no_more() -> None:
    """Overlaps of modes are a square table: of 30,000 it would take 7 GB."""
    text = "dimension = 2\n[target]\nmeans = [{}]\n[family]\ncomponents = 1\n[init]\nscale = 0.1\n[time]\nend = 1.0\n"
    with pytest.raises(ProblemError, match=r"^p: target\.means: has 10001 rows; must have at most 10000$"):
        Problem.parse(text.format(", ".join(["[1.0]"] * 10_001)), "p")
