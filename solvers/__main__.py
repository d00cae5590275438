"""The door to the numbers: python -m solvers solve | simulate | compare | sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvers.console import OptionError, counting_bar, one_message, progress_bar
from solvers.door import enter, say
from solvers.integrate.tolerances import check
from solvers.machine.backends import DEFAULT

# Everything else is imported where it is used: --help should not wait for numpy, xarray and scipy.
if TYPE_CHECKING:
    import xarray as xr

    from solvers.problem import Problem

app = typer.Typer(
    help="Solve the closed equations of a problem, simulate it in all its dimensions, and compare the two.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ProblemPath = Annotated[str, typer.Argument(metavar="PROBLEM.toml", help="The problem file.", show_default=False)]
Backend = Annotated[str, typer.Option(help="Where to draw particles: numba or numpy (CPU) or cupy (NVIDIA GPU).")]
Rtol = Annotated[float, typer.Option(help="Relative tolerance of the integrator.")]
Atol = Annotated[float, typer.Option(help="Absolute tolerance of the integrator.")]
Particles = Annotated[int, typer.Option(help="Particles drawn from each component at each step.")]
Replicas = Annotated[int, typer.Option(help="Independent repetitions, behind the standard errors.")]
Step = Annotated[float, typer.Option(help="Time step of the simulation.")]
Samples = Annotated[
    int | None, typer.Option(metavar="N", help="Of a sampler: write N samples of x_N with their log-weights.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar and no summary.")]


#: Points of a sweep whose outcomes are told when it is done.
SHOWN = 100_000


@app.command(epilog="Example: python -m solvers solve figures/problems/two_modes.toml --out run.nc")
def solve(
    problem_path: ProblemPath,
    out: Annotated[
        str | None, typer.Option(metavar="RUN.nc", help="The result, in NetCDF-4.", show_default=False)
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Where to compute: numba (compiled, CPU), numpy or cupy (NVIDIA GPU).",
            show_default="numba up to 64 components and modes, else numpy",
        ),
    ] = None,
    rtol: Rtol = 1e-8,
    atol: Atol = 1e-10,
    stop_at_equilibrium: Annotated[
        bool,
        typer.Option("--stop-at-equilibrium", help="Leave a trajectory where it rests; adds equilibrium and spectrum."),
    ] = False,
    samples: Samples = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which rules, time, memory and rtol to expect; write nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Integrate the closed equations from every start of a problem."""
    with one_message():
        tolerances(rtol, atol)
        if out is None and not dry_run:
            raise OptionError("--out: is missing; must name the result, unless with --dry-run")
        problem = prepare(problem_path, out, backend)
        from solvers import ask, results

        asked: dict[str, Any] = {"rtol": rtol, "atol": atol, "backend": backend}
        asked |= {"stop_at_equilibrium": stop_at_equilibrium}
        if out is None or dry_run:
            print(ask.plan(problem, **asked))
            return
        announce(out, quiet)
        if not quiet and problem.sampler is None:
            from solvers.closed.plan import LONG

            for line in str(ask.plan(problem, **asked, long=LONG) or "").splitlines():
                say(line)
        with progress_bar("solving", quiet=quiet) as progress:
            ds = ask.solve(problem, **asked, progress=progress, draws=samples)
        results.write(ds, out)
        summarise(ds, out, problem_path, quiet)


@app.command(epilog="Example: python -m solvers simulate figures/problems/two_modes.toml --out sim.nc --particles 512")
def simulate(
    problem_path: ProblemPath,
    out: Annotated[str, typer.Option(metavar="SIM.nc", help="The result, in NetCDF-4.", show_default=False)],
    backend: Backend = DEFAULT,
    particles: Annotated[
        int | None, typer.Option(help="Particles drawn from each component at each step: 256, or flow.batch.size.")
    ] = None,
    replicas: Replicas = 32,
    step: Annotated[float | None, typer.Option(help="Time step of the simulation: 0.05, or flow.batch.step.")] = None,
    samples: Samples = None,
    quiet: Quiet = False,
) -> None:
    """Simulate the gradient flow of a problem in all its dimensions, without the closed equations."""
    with one_message():
        problem = prepare(problem_path, out, backend)
        batch = problem.flow.batch
        for option, given in (("--particles", particles), ("--step", step)):
            if batch and given is not None:
                raise OptionError(f"{option}: is {given:g}; must be left out, since the problem has flow.batch")
        from solvers import ask, results

        announce(out, quiet)
        with progress_bar("simulating", quiet=quiet) as progress:
            ds = ask.simulate(
                problem, particles=particles, replicas=replicas, step=step, backend=backend, progress=progress,
                draws=samples,
            )  # fmt: skip
        results.write(ds, out)
        summarise(ds, out, problem_path, quiet)


@app.command(epilog="Example: python -m solvers compare figures/problems/two_modes.toml --out report.json")
def compare(
    problem_path: ProblemPath,
    out: Annotated[str | None, typer.Option(metavar="REPORT.json", help="Where to write the report as JSON.")] = None,
    backend: Backend = DEFAULT,
    rtol: Rtol = 1e-8,
    atol: Atol = 1e-10,
    particles: Particles = 256,
    replicas: Replicas = 32,
    step: Step = 0.05,
    drop: Annotated[
        str | None, typer.Option(metavar="TERM", help="Drop this term of the theory, to see the comparison reject it.")
    ] = None,
    resolve: Annotated[
        float | None,
        typer.Option(
            metavar="PART",
            help="Notice an error of this part of every rate: 0.01 is 1 %.",
            show_default="0.03 within reach",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compare theory and simulation. Exit status 0: they agree; 1: they disagree; 2: bad input."""
    with one_message():
        tolerances(rtol, atol)
        problem = prepare(problem_path, out, backend)
        from rich import print as show

        from solvers import ask, results

        announce(out, quiet)
        with progress_bar("comparing", quiet=quiet) as progress:
            report = ask.compare(
                problem,
                particles=particles,
                replicas=replicas,
                step=step,
                rtol=rtol,
                atol=atol,
                backend=backend,
                drop=drop,
                resolve=resolve,
                progress=progress,
            )
        if out is not None:
            results.write_bytes(report.to_json().encode(), out)
        if not quiet:
            show(report.table())
        raise typer.Exit(0 if report.agrees else 1)


@app.command(epilog="Example: python -m solvers sweep figures/sweeps/phase_diagram.toml --out diagram.zarr")
def sweep(
    sweep_path: Annotated[str, typer.Argument(metavar="SWEEP.toml", help="The sweep file.", show_default=False)],
    out: Annotated[str, typer.Option(metavar="DIR.zarr", help="The result, a Zarr store.", show_default=False)],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a sweep that was interrupted.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core by default.", show_default=False)] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Compute on the workers of this Dask scheduler.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate time, memory and size; write nothing.")] = False,
    backend: Annotated[str, typer.Option(help="auto (the fastest), numpy, numba or cupy.")] = "auto",
    rtol: Rtol = 1e-8,
    atol: Atol = 1e-10,
    stop_at_equilibrium: Annotated[
        bool, typer.Option("--stop-at-equilibrium", help="Leave trajectories where they rest.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Solve a problem at every point of a grid. Interrupted at any moment, --resume continues."""
    with one_message():
        tolerances(rtol, atol)
        if workers is not None and workers < 1:
            raise OptionError(f"--workers: is {workers}; must be a number >= 1")
        if workers is not None and scheduler is not None:
            raise OptionError("--scheduler: given with --workers; must be one of them")
        from solvers.machine.arrays import check_backend

        check_backend(backend, ("auto",))
        from solvers.results.output import shown
        from solvers.sweeps.executors import check_address
        from solvers.sweeps.plan import Sweep
        from solvers.sweeps.work import Options

        if scheduler is not None:
            check_address(scheduler)

        plan, options = Sweep.load(sweep_path), Options(rtol, atol, backend, stop_at_equilibrium)
        if dry_run:
            from solvers.sweeps.estimate import estimate

            print(estimate(plan, workers=workers, options=options))
            return
        from solvers.sweeps import run

        with counting_bar("sweeping", "starts", quiet=quiet) as progress:
            done = run.run(
                plan,
                out,
                resumed=resume,
                workers=workers,
                scheduler=scheduler,
                options=options,
                progress=progress,
            )
        if not quiet:
            print(f"{shown(out)}: {done}")
            if done.of <= SHOWN:
                from solvers.sweeps.reading import opened
                from solvers.sweeps.telling import told

                for line in told(opened(Path(out)), shown(out)):
                    print(line)
        if done.failed:
            say(f"{shown(out)}: {done.failed} starts failed and are left out")


def prepare(problem_path: str, out: str | None, backend: str | None) -> Problem:
    """The problem, once everything that can be refused before computing has been accepted."""
    from solvers.machine.arrays import check_backend
    from solvers.problem import Problem
    from solvers.results.output import check_output, in_the_way, shown

    problem = Problem.load(problem_path)
    if out is not None:
        check_output(out)
        if in_the_way(out) and Path(out).samefile(problem_path):
            raise OptionError(f"--out: {shown(out)} is the problem file itself; must be another file")
    if backend is not None:
        check_backend(backend)
    return problem


def announce(out: str | None, quiet: bool) -> None:
    """Unless quiet, standard error hears of a file that will be replaced."""
    from solvers.results.output import in_the_way, shown

    if out is not None and not quiet and in_the_way(out):
        say(f"{shown(out)}: exists; will be replaced")


def summarise(ds: xr.Dataset, out: str, source: str, quiet: bool) -> None:
    """Where the result is and what it says. Samples that failed are counted on standard error even when quiet."""
    from solvers.results.outcomes import STATUS
    from solvers.results.output import shown
    from solvers.results.telling import told

    out, status = shown(out), ds["status"].values
    if not quiet:
        *lines, after = told(ds, out, shown(source))
        if "log_weight" in ds:
            from solvers.verdict.transport import told as distances

            lines += distances(ds)
        print(*lines, after, sep="\n")
    counts = [f"{(status == code).sum()} {text}" for code, text in STATUS.items() if code and (status == code).any()]
    if counts:
        say(f"{out}: failed samples, which hold nan: {', '.join(counts)}")


def tolerances(rtol: float, atol: float) -> None:
    try:
        check(rtol, atol)
    except ValueError as error:
        raise OptionError(f"--{error}") from None


def main() -> None:
    enter(app)


if __name__ == "__main__":
    main()
