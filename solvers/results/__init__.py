"""What came out: datasets in the form of RUN.nc and SIM.nc, outcomes, files with checksums. Read by solvers.reopen."""

from solvers.results.checks import rounding
from solvers.results.datasets import (
    SAMPLER_QUANTITIES,
    attributes,
    run_dataset,
    sampler_variables,
    schedule_variables,
    simulation_dataset,
)
from solvers.results.errors import ResultError, ResultWarning
from solvers.results.files import write
from solvers.results.outcomes import STATUS
from solvers.results.output import OutputError, check_output, write_bytes

__all__ = [
    "SAMPLER_QUANTITIES",
    "STATUS",
    "OutputError",
    "ResultError",
    "ResultWarning",
    "attributes",
    "check_output",
    "rounding",
    "run_dataset",
    "sampler_variables",
    "schedule_variables",
    "simulation_dataset",
    "write",
    "write_bytes",
]
