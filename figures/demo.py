"""The whole loop on one problem: verify the derivations, solve, simulate, compare, draw. `make demo` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

# Everything else is imported where it is used: --help should not wait for numpy, xarray and matplotlib.

PROBLEM = Path(__file__).parent / "problems" / "two_modes.toml"
# A shorter step than the default: its bias should be invisible in the figure. `compare` accounts for it by itself.
SIMULATE = ("--step", "0.02")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m figures.demo --out outputs/demo")
def main_command(
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder of all that is made.")] = "outputs/demo",
) -> None:
    """Run the whole loop on figures/problems/two_modes.toml. Exit status 0: every step agrees; 1: one does not."""
    from figures.files import make_folder
    from solvers.console import one_message

    with one_message():
        agree = demo(PROBLEM, make_folder(out), simulate=SIMULATE)
    raise typer.Exit(0 if agree else 1)


def demo(problem: Path, out: Path, *, simulate: Sequence[str] = (), compare: Sequence[str] = ()) -> bool:
    """Run every step on a problem file, printing progress, and last one screen: verdict and where everything is.

    Takes
        out: an existing folder; simulate, compare: further options of those commands.
    Returns
        Whether all steps agree: generated files with the derivations, the simulation with the theory.
    """
    here = Path.cwd()
    problem = problem.relative_to(here) if problem.is_relative_to(here) else problem
    run, simulation, report = (out / name for name in ("run.nc", "sim.nc", "report.json"))
    steps = {
        "derivations": ["derivations", "--check"],
        "solve": ["solvers", "solve", f"{problem}", "--out", f"{run}"],
        "simulate": ["solvers", "simulate", f"{problem}", "--out", f"{simulation}", *simulate],
        "compare": ["solvers", "compare", f"{problem}", "--out", f"{report}", *compare],
    }
    begin = time.perf_counter()
    status = {}
    for number, (step, words) in enumerate(steps.items(), start=1):
        print(f"[{number}/{len(steps) + 1}] python -m {' '.join(words)}", flush=True)
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True, check=False)
        status[step] = done.returncode
        print(f"      exit status {done.returncode} after {time.perf_counter() - started:.1f} s", flush=True)
        if done.returncode:
            print(done.stdout, end="")
        # Nothing can be drawn without a result; and there is a report for exit status 0 and 1 only.
        if done.returncode not in (0, 1) or (done.returncode and step in ("solve", "simulate")):
            print(f"stopped, for {step} failed")
            return False
    print(f"[{len(steps) + 1}/{len(steps) + 1}] drawing the figure", flush=True)
    name = _draw(run, simulation, out)
    agree = not any(status.values())
    print(f"\nDone in {time.perf_counter() - begin:.0f} s. In {out}:")
    for files, content in {
        run.name: "the closed equations, solved",
        simulation.name: "particles in all dimensions, simulated",
        report.name: "the two compared, number by number",
        f"{name}.pdf, .png": "theory drawn over simulation",
        f"{name}.txt, .json": "caption and numbers of the figure",
    }.items():
        print(f"  {files:34} {content}")
    print()
    for line in _ends(run):
        print(line)
    print(f"\ngenerated files: {'DISAGREE' if status['derivations'] else 'agree'} with the derivations")
    for line in _verdict(json.loads(report.read_text(encoding="utf-8"))):
        print(line)
    print(f"verdict: {'everything agrees' if agree else 'NOT everything agrees'}")
    return agree


def _draw(run: Path, simulation: Path, out: Path) -> str:
    from figures import overlap_trajectories
    from figures.files import write
    from solvers import reopen

    pictures = write(overlap_trajectories, {"theory": reopen.open(run), "simulation": reopen.open(simulation)}, out)
    return pictures[0].stem


def _ends(run: Path) -> Iterator[str]:
    """What became of the starts that are drawn, and what that is worth later."""
    from figures.overlap_trajectories import drawn, history
    from solvers import reopen

    found = reopen.open(run)
    learned = "weights" in reopen.problem_of(found).family.learn
    for sample in drawn({"theory": found}):
        lost = learned and int(found["collapsed"][sample]) == 1
        later = "; weights are learned, so it may recover later: raise time.end" if lost else ""
        yield f"start {sample}: {history(found, sample)}{later}"


def _verdict(report: Mapping[str, Any]) -> Iterator[str]:
    """A line for each part of a comparison's report, and its notes."""
    for part in report["parts"]:
        largest = part["entries"][0]["deviation"]
        deviation = "∞" if largest is None else f"{largest:.1f}"  # JSON has no infinity
        yield (
            f"{part['name']}: {'agrees' if part['agrees'] else 'DISAGREES'}; the most deviating of "
            f"{len(part['entries'])} numbers by {deviation} of the {part['limit']:.1f} standard errors allowed"
        )
    yield from report["broken"]
    yield from (f"note: {note}" for note in report["notes"])


if __name__ == "__main__":
    app()
