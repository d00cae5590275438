"""Input that is damaged, hostile or huge: one line of at most 300 characters, none of them obeyed by a terminal."""

from __future__ import annotations

import math
import os
import pickle
import stat

import numpy as np
import pytest

from solvers.closed import flow
from solvers.door import LONGEST, escaped, one_line
from solvers.problem import Problem, ProblemError
from solvers.problem.keys import changed, number, replaced
from solvers.problem.text import DEEPEST, LARGEST_FILE, tables
from solvers.problem.values import show
from solvers.sweeps.plan import Sweep
from tests.solvers.problem.problem_text import BASE, edited

HUGE = "1" + "0" * 400
DIGITS = "9" * 5000
RANGE_OF_FLOAT64 = ", within the range of float64 (1.8e308)"


def refusal(text: str, name: str = "p.toml") -> str:
    with pytest.raises(ProblemError) as refused:
        Problem.parse(text, name)
    return checked(str(refused.value))


def checked(message: str) -> str:
    assert message.isprintable()
    assert len(message) <= LONGEST
    return message


def sweep(grid: str, *edits: tuple[str, str], rest: str = "") -> Sweep:
    problem = edited(*edits).replace("[", "[problem.").replace("dimension", "[problem]\ndimension")
    return Sweep.parse(f"{problem}\n{rest}\n[grid]\n{grid}\n", "s.toml")


def sweep_refusal(grid: str, *edits: tuple[str, str], rest: str = "") -> str:
    with pytest.raises(ProblemError) as refused:
        sweep(grid, *edits, rest=rest)
    return checked(str(refused.value))


NUMBERS = [
    # integers beyond what float64 holds, however they are spelt
    ("3.0", HUGE, f"target.separation: is an integer of 401 digits; must be a number >= 0{RANGE_OF_FLOAT64}"),
    ("3.0", DIGITS, f"target.separation: is an integer of 5000 digits; must be a number >= 0{RANGE_OF_FLOAT64}"),
    ("3.0", "-" + DIGITS, "target.separation: is an integer of 5000 digits; must be a number >= 0"),
    ("3.0", "1_" * 3000 + "1", "target.separation: is an integer of 3001 digits; must be a number >= 0"),
    ("3.0", "0x" + "f" * 5000, "target.separation: is an integer of 6021 digits; must be a number >= 0"),
    ("3.0", "0o" + "7" * 5000, "target.separation: is an integer of 4516 digits; must be a number >= 0"),
    ("3.0", "0b" + "1" * 9000, "target.separation: is an integer of 2710 digits; must be a number >= 0"),
    ("3.0", f"[[{DIGITS}]]", "target.separation: is [[an integer of 5000 digits]]; must be a number >= 0"),
    ("3.0", "1e400", f"target.separation: is inf; must be a number >= 0{RANGE_OF_FLOAT64}"),
    ("3.0", "1" + "0" * 400 + ".5", f"target.separation: is inf; must be a number >= 0{RANGE_OF_FLOAT64}"),
    ("dimension = 64", f"dimension = {DIGITS}", "dimension: is an integer of 5000 digits; must be an integer >= 1"),
    ("[init]", f"seed = {DIGITS}", "init.seed: is an integer of 5000 digits; must be an integer >= 0 and <="),
    ("[time]", f"save = {DIGITS}", "time.save: is an integer of 5000 digits; must be an integer from 1 to 10000000 or"),
    ("[time]", f"save = [0, {HUGE}]", "time.save: entry 2 is an integer of 401 digits; every time must be a number >="),
    ("[family]", f"weights = [{HUGE}, 1]", "family.weights: entry 1 is an integer of 401 digits; every weight must be"),
    ("separation = 3.0", f"means = [[{HUGE}]]", "target.means: row 1 holds an integer of 401 digits; every entry must"),
    ("[time]", f"[flow]\ntemperature = {{start = {HUGE}, rate = 0.1}}\n[time]", "flow.temperature: is {start = an int"),
    # sums that overflow
    ("[family]", "weights = [1e308, 1e308]", "family.weights: sums to inf, must sum to 1"),
    ("[family]", "weights = [1e308, 1e308, -1e308]", "family.weights: entry 3 is -1e+308; every weight must be a numb"),
    # times whose squares are zero
    ("end = 10.0", "end = 5e-324", "time.end: is 5e-324; must be a number >= 0, and >= 1e-150 unless it is 0"),
    ("end = 10.0", "end = 1e-310\nsave = 51", "time.end: is 1e-310; must be a number >= 0, and >= 1e-150 unless it is"),
    ("[time]", "save = [0.0, 1e-320]", "time.save: entry 2 is 1e-320; every time must be a number >= 0, and >="),
    # two numbers that differ look different
    ("[time]", "save = [0.0, 10.000000000000002]", "time.save: entry 2 is 10.000000000000002; must be <= time.end = 1"),
    ("[time]", "save = [0.30000000000000004, 0.3]", "time.save: has 0.30000000000000004 before 0.3; times must increa"),
    # of the wrong kind
    ("3.0", "true", "target.separation: is true; must be a number >= 0"),
    ("3.0", "07:32:00", 'target.separation: is "07:32:00"; must be a number >= 0'),
    ("3.0", "1979-05-27T07:32:00Z", 'target.separation: is "1979-05-27 07:32:00+00:00"; must be a number >= 0'),
    ("[family]", 'weights = [0.5, "x", 1979-05-27]', 'family.weights: entry 2 is "x"; every weight must be a number >'),
    ("[family]", "learn = [[[]]]", 'family.learn: one entry is [[]]; allowed: "means", "weights", "variances"'),
    ("components = 2", "components = {}", "family.components: is {}; must be an integer >= 1"),
    ("scale = 0.125", "overlaps = {}", "init.overlaps.s: missing; must be the K × K overlaps of the components"),
    ("[time]", "[flow]\nbatch = {}\n[time]", "flow.batch.size: missing; must be an integer >= 1"),
    ("[time]", "[flow]\ntemperature = {}\n[time]", "flow.temperature: is {}; must be a number > 0, or a schedule such"),
    ("[time]\nend", "[[time]]\nend", "time: is [{end = 10}]; must be a table"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), NUMBERS, ids=[f"{i}" for i in range(len(NUMBERS))])
def test_numbers_that_are_none(old: str, new: str, message: str) -> None:
    assert refusal(edited((old, new))).startswith(f"p.toml: {message}")


def test_the_same_numbers_in_a_sweep() -> None:
    """Inline problems, grids, ranges, refinement: each is one line too."""
    whole = "; no number is beyond the range of float64 (1.8e308)"
    cases = {
        f'"target.separation" = [1.0, {DIGITS}]': f'grid."target.separation".1: is an integer of 5000 digits{whole}',
        f'"target.separation" = [1.0, {HUGE}]': f'grid."target.separation".1: is an integer of 401 digits{whole}',
        f'"init.scale" = {{start = 1.0, stop = {HUGE}, count = 3}}': 'grid."init.scale".stop: is an integer of 401 di',
        '"init.scale" = {start = 1.0, stop = 2.0, count = 100000000}': 'grid."init.scale".count: is 100000000; must be',
        '"init.scale" = {start = -1.7e308, stop = 1.7e308, count = 3}': 'grid."init.scale": runs from -1.7e+308 to 1.7',
        '"init.scale" = {start = 1.0, stop = 1.0000000000000002, count = 9}': 'grid."init.scale": runs from 1 to 1.000',
        '"init.scale" = {start = 5e-324, stop = 1.5e-323, count = 9}': 'grid."init.scale": runs from 5e-324 to 1.5e-32',
        '"init.scale" = {start = 1979-05-27, stop = 2.0, count = 3}': 'grid."init.scale".start: is "1979-05-27"; must',
        '"init.scale" = [1979-05-27, 1979-05-28]': '(init.scale = "1979-05-27"): init.scale: is "1979-05-27"; must be',
        '"target.weights.\u0663" = [0.5]': 'target.weights: is {"\\u0663" = 0.5}; must be',
        f'"target.means.{DIGITS}" = [0.5]': "target.means",
        f'"{"a." * 40}b" = [0.5]': "line 15: a key has more than 32 parts",
        '"init.scale" = [{a = 1}, {a = 1}]': 'grid."init.scale": has {a = 1} twice; values must differ',
        '"init.seed" = [1, 1.0]': 'grid."init.seed": has 1 twice; values must differ',
        '"" = [1]': "unknown key",
    }  # fmt: skip
    for grid, message in cases.items():
        assert message in sweep_refusal(grid), grid
    told = sweep_refusal('"init.scale" = [1.0, 2.0]', ("dimension = 64", f"dimension = {DIGITS}"))
    assert told == f"s.toml: problem.dimension: is an integer of 5000 digits{whole}"
    told = sweep_refusal('"init.scale" = [1.0, 2.0]', rest=f"[refine]\ncontour = {HUGE}")
    assert told == f"s.toml: refine.contour: is an integer of 401 digits{whole}"


def test_integers_beyond_53_bits_are_numbers_where_a_number_is_meant() -> None:
    for text, value in (
        ("100000000000000000000", 1e20),
        ("9007199254740993", 2.0**53),
        ("18446744073709551616", 2.0**64),
    ):
        given = Problem.parse(edited(("3.0", text)))
        assert given.target.vectors[0, 0] == value
        assert number(given, "target.separation") == value
    # and exact where an integer is: seeds have 63 bits
    assert Problem.parse(edited(("[init]", f"seed = {2**63 - 1}"))).init.seed == 2**63 - 1
    assert refusal(edited(("[init]", f"seed = {2**63}"))).endswith("must be an integer >= 0 and <= 9223372036854775807")
    plan = sweep(f'"target.separation" = [1.0, {10**20}]')
    assert plan.axes[0].coordinate.tolist() == [1.0, 1e20]
    assert plan.problem((1,)).target.vectors[0, 0] == 1e20
    many = sweep(f'"init.samples" = [1, 2]\n"target.separation" = {{start = 1, stop = {10**20}, count = 3}}')
    assert many.axes[1].coordinate.dtype == np.float64


def test_the_shortest_time_and_the_largest_numbers_are_read() -> None:
    assert Problem.parse(edited(("end = 10.0", "end = 1e-150\nsave = 5"))).time.times[1] == 2.5e-151
    assert Problem.parse(edited(("end = 10.0", "end = 1.7e308\nsave = 3"))).time.times[-1] == 1.7e308
    edge = 1.7e308  # whose symmetric part is a mean of two that overflow together
    text = edited(("separation = 3.0", f"overlaps = [[{edge}, {edge}], [{edge}, {edge}]]"))
    assert Problem.parse(text).target.c[0, 1] == edge


@pytest.mark.parametrize(
    ("target", "family", "metric"),
    [("1e160", "1e160", ""), ("1.0", "1e160", ""), ("1e-320", "1.0", ""), ("[1e160, 1.0]", "1.0", ""),
     ("1e160", "1.0", ""), ("1.0", "1e-320", ""), ("1.0", "1e160", 'metric = "wasserstein"')],
)  # fmt: skip
def test_variances_beyond_any_square_are_solved_or_end_with_a_status(target: str, family: str, metric: str) -> None:
    edits = [("[target]", f"variances = {target}"), ("[family]", f"variances = {family}"), ("end = 10.0", "end = 0.1")]
    if metric:
        edits.append(("[time]", f"[flow]\n{metric}\n[time]"))
    with np.errstate(all="ignore"):
        ds = flow.solve(Problem.parse(edited(*edits)), backend="numpy")
    good = ds.status.values == 0
    assert np.isfinite(ds.objective.values[good]).all()
    assert np.isnan(ds.objective.values[~good]).all()


def test_a_law_whose_variance_is_none_has_a_table_of_nan() -> None:
    """The compiled equations of target.variances = 1e-320, where 1/u is infinite: status 2, no exception."""
    from solvers.expectations.fixed_variance import TERMS, fixed_variance

    for variance in (math.inf, math.nan):
        table = fixed_variance(variance)
        assert np.isfinite(table[:2]).all()  # where to look
        assert np.isnan(table[TERMS:]).all()  # and what is there


# --- structure -------------------------------------------------------------------------------------------------------

DEEP = [
    ("3.0", "[" * 5000 + "]" * 5000, "line 4: is nested more than 32 levels deep; no table or list of a problem is"),
    ("3.0", "{a=" * 5000 + "1" + "}" * 5000, "line 4: is nested more than 32 levels deep; no table or list of a"),
    ("3.0", "[" * 40 + "]" * 40, "target.separation.0: is nested more than 32 levels deep"),
    ("[time]", ".".join(["a"] * 100_000) + " = 1", "line 10: a key has more than 32 parts; no key of a problem has"),
    ("[time]", '"a".' * 40 + '"b" = 1', "line 10: a key has more than 32 parts; no key of a problem has"),
    ("[time]", ".".join(["a"] * 30) + " = 1", "time.a: unknown key; allowed: end, save"),
    ("[init]", "[" + ".".join(["a"] * 33) + "]\n[init]", "line 7: a key has more than 32 parts"),
]


@pytest.mark.parametrize(("old", "new", "message"), DEEP, ids=[f"{i}" for i in range(len(DEEP))])
def test_deep_nesting(old: str, new: str, message: str) -> None:
    assert refusal(edited((old, new))).startswith(f"p.toml: {message}")


def test_what_a_problem_needs_is_far_less_deep() -> None:
    content = tables("a = " + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1), "p.toml")
    assert list(content) == ["a"]
    name = ".".join(["a"] * 30) + ".toml"  # a file name is no key
    assert tables(f'base = "{name}"  # {name}', "s.toml") == {"base": name}


HINTS = [
    ("[flow]\ntemperature = {start = 4, strat = 1}", 'flow.temperature.strat: unknown key; did you mean "start"?'),
    ("[flow]\ntemperature = {sart = 4.0, rate = 0.1}", 'flow.temperature.sart: unknown key; did you mean "start"?'),
    ("[flow]\ntemperature = {z = 4.0}", "flow.temperature.z: unknown key; allowed: start, rate"),
    ("[flow]\ntemperature = {'\u202e' = 4.0}", 'flow.temperature."\\u202e": unknown key; allowed: start, rate'),
    ("[flow]\nbatch = {sise = 4, step = 0.1}", 'flow.batch.sise: unknown key; did you mean "size"?'),
    ("[flow]\ntemprature = 1.0", 'flow.temprature: unknown key; did you mean "temperature"?'),
    ("[sampler]\nrefine = {untl = 8}", 'sampler.refine.untl: unknown key; did you mean "until"?'),
    ("[sampler]\nhorizn = 1.0", 'sampler.horizn: unknown key; did you mean "horizon"?'),
]  # fmt: skip


@pytest.mark.parametrize(("section", "message"), HINTS, ids=[f"{i}" for i in range(len(HINTS))])
def test_the_nearest_key_in_every_table(section: str, message: str) -> None:
    assert refusal(BASE + section) == f"p.toml: {message}"


def test_the_nearest_key_in_every_table_of_a_sweep() -> None:
    grid = '"init.scale" = [1.0, 2.0]'
    cases = {
        "[outptu]\nquantities = []": 'outptu: unknown key; did you mean "output"?',
        "[output]\nquantites = []": 'output.quantites: unknown key; did you mean "quantities"?',
        "[refine]\ncontuor = 0.5": 'refine.contuor: unknown key; did you mean "contour"?',
        "[refine]\n'\u009b' = 0.5": 'refine."\\u009b": unknown key; allowed: quantity, contour, levels',
    }
    for rest, message in cases.items():
        assert sweep_refusal(grid, rest=rest) == f"s.toml: {message}"
    told = sweep_refusal('"init.scale" = {start = 1.0, stpo = 2.0, count = 3}')
    assert told == 's.toml: grid."init.scale".stpo: unknown key; did you mean "stop"?'
    told = sweep_refusal('"flow.temperature" = [{start = 2.0, rat = 1.0}]')
    assert told.endswith('flow.temperature.rat: unknown key; did you mean "rate"?')


# --- words -----------------------------------------------------------------------------------------------------------

#: ESC, CSI as one C1 character, right-to-left override, zero width space, line separator, delete, tab, line feed.
NASTY = "\x1b[31m\x9b31m\u202e\u200b\u2028\x7f\t\n"
SHOWN = r"\x1b[31m\x9b31m\u202e\u200b\u2028\x7f\t\n"


def test_escapes() -> None:
    assert escaped(NASTY) == SHOWN
    assert escaped("μ_k·ν_l × 2 ≥ é 漢") == "μ_k·ν_l × 2 ≥ é 漢"
    assert escaped(os.fsdecode(b"a\xff")) == r"a\udcff"
    long = one_line("x" * 10**7 + "\u202e" * 300 + "the end")
    assert len(long) == LONGEST
    assert long.isprintable()
    assert long.startswith("x" * 90 + " ... ")
    assert long.endswith("the end")
    assert one_line(long) == long
    error = pickle.loads(pickle.dumps(ProblemError("a\n" + "b" * 999)))
    assert str(error) == one_line("a\n" + "b" * 999)


def toml(text: str) -> str:
    """As a basic string: characters that TOML forbids in text are escapes there."""
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


def test_controls_are_escaped_wherever_they_come_from(tmp_path) -> None:
    nasty = toml(NASTY)
    keys = [
        BASE + f"[{nasty}]",
        edited(("[time]", f"{nasty} = 1")),
        edited(("3.0", nasty)),
        edited(("3.0", f"{{{nasty} = 1}}")),
        edited(("3.0", f"[{nasty}, 1]")),
        edited(("[family]", f"learn = [{nasty}]")),
        edited(("[time]", f"[flow]\nobjective = {nasty}\n[time]")),
        edited(("[time]", f"[flow]\ntemperature = {{{nasty} = 1.0}}\n[time]")),
        BASE + "\u202e",
        BASE + "a\u202eb = 1",
        BASE + "x = '\x9b31m\x1b'",
    ]
    for text in keys:
        refusal(text, f"{NASTY}.toml")
    for grid in (f"{nasty} = [1]", f'"target.separation" = [{nasty}]', f"{nasty} = {{start = 1}}", f"{nasty} = 1"):
        sweep_refusal(grid)
        sweep_refusal('"init.scale" = [1.0, 2.0]', rest=f"[output]\nquantities = [{nasty}, {nasty}]")
    for base in (nasty, '"\\u0000"', f'"{"x" * 300}"', f'"{"y/" * 3000}"', '"."', '""'):
        with pytest.raises(ProblemError) as refused:
            Sweep.parse(f'base = {base}\n[grid]\n"init.scale" = [1.0]', NASTY, tmp_path)
        assert ": cannot be read (" in checked(str(refused.value))


def test_a_message_keeps_file_key_value_and_what_is_allowed() -> None:
    name = "folder/" * 60 + "p.toml"
    told = refusal(edited(("3.0", f'"{"v" * 1000}"')), name)
    assert told.startswith("folder/folder/")
    assert told.endswith('p.toml: target.separation: is "' + "v" * 55 + " ...; must be a number >= 0")
    told = refusal(edited(("[time]", "k" * 5000 + " = 1")))
    assert told == 'p.toml: time."' + "k" * 40 + ' ...": unknown key; allowed: end, save'


def test_values_are_shown_in_a_moment_and_so_that_they_can_be_told_apart() -> None:
    assert show(10.0) == "10"
    assert show(10.000000000000002) == "10.000000000000002"
    assert show(0.1) == "0.1"
    assert show(1 / 3) == "0.3333333333333333"
    assert show(math.nan) == "nan"
    assert show(-math.inf) == "-inf"
    assert show(10**30) == str(10**30)
    assert show([0.0] * 10**6) == "[" + "0, " * 18 + "0 ..."
    assert show("x" * 10**7) == '"' + "x" * 55 + " ..."
    assert show({"a b\n": 1}) == '{"a b\\n" = 1}'


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [Problem.load, Sweep.load], ids=["problem", "sweep"])
def test_files_that_are_none(tmp_path, load) -> None:
    what = "a problem file in TOML" if load == Problem.load else "a sweep file in TOML"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "mark").write_bytes(b"\xef\xbb\xbf \r\n")
    (tmp_path / "latin").write_bytes("# é".encode("latin-1"))
    (tmp_path / "utf16").write_bytes(BASE.encode("utf-16"))
    (tmp_path / "surrogate").write_bytes(b"# \xed\xa0\x80")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nul").write_bytes(b"a = 1\x00")
    refused = {
        "fifo": f"is no regular file; must be {what}",
        "/dev/zero": f"is no regular file; must be {what}",
        "/dev/null": f"is no regular file; must be {what}",
        ".": f"cannot be read (Is a directory); must be {what}",
        "missing": f"cannot be read (No such file or directory); must be {what}",
        "latin/below": f"cannot be read (Not a directory); must be {what}",
        "loop": f"cannot be read (Too many levels of symbolic links); must be {what}",
        "x" * 300: f"cannot be read (File name too long); must be {what}",
        "a\0b": f"cannot be read (embedded null byte); must be {what}",
        "empty": f"is empty; must be {what}",
        "mark": f"is empty; must be {what}",
        "latin": "not TOML: byte 2 is not UTF-8",
        "utf16": "not TOML: byte 0 is not UTF-8",
        "surrogate": "not TOML: byte 2 is not UTF-8",
        "huge": f"has more than {LARGEST_FILE} bytes; must be {what}",
        "nul": "not TOML: ",
    }
    for name, message in refused.items():
        with pytest.raises(ProblemError) as told:
            load(tmp_path / name)
        assert f": {message}" in checked(str(told.value))


def test_files_that_may_not_be_read(tmp_path, monkeypatch) -> None:
    """Root may read everything, so the refusal is the system's as it is said to others."""
    (tmp_path / "p.toml").write_text(BASE)

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(
        ProblemError, match=r"p.toml: cannot be read \(Permission denied\); must be a problem file in TOML"
    ):
        Problem.load(tmp_path / "p.toml")


def test_undecodable_file_names(tmp_path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\n.toml")
    with pytest.raises(ProblemError) as told:
        Problem.load(path)
    assert r"a\udcff\n.toml: cannot be read (No such file or directory)" in checked(str(told.value))


def test_a_mark_of_byte_order_is_none_of_the_text(tmp_path) -> None:
    (tmp_path / "p.toml").write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    given = Problem.load(tmp_path / "p.toml")
    assert given.text == BASE
    assert number(given, "target.separation") == 3.0
    assert changed(given, "target.separation", 2.0).target.vectors[0, 0] == 2.0
    assert Problem.parse("\ufeff" + BASE).text == BASE
    (tmp_path / "s.toml").write_bytes(b'\xef\xbb\xbfbase = "p.toml"\n[grid]\n"target.separation" = [1.0, 2.0]\n')
    assert Sweep.load(tmp_path / "s.toml").points == 2
    assert stat.S_ISREG(os.stat(tmp_path / "s.toml").st_mode)


def test_weights_that_are_none_are_not_scaled() -> None:
    """The other weights of a list are scaled to sum to one with those given, if there is such a factor."""
    with pytest.raises(ProblemError, match="has 41 parts; must have at most 32"):
        replaced({}, {"a." * 40 + "b": 1}, "p")
    for bad in (0.0, math.inf, math.nan, 1e308, True, "x"):
        text = replaced({"family": {"weights": [bad, bad, 0.5]}}, {"family.weights.2": 0.25}, "p")
        assert tables(text, "p")["family"]["weights"][2] == 0.25
