"""What does this objective really do? Its exact specification sheet, by enumeration of every group."""

from __future__ import annotations

from toykit.audit.diagnosis import Diagnosis, diagnose
from toykit.audit.figures import figures
from toykit.audit.findings import Property
from toykit.audit.measure import Failure, Groups, Measured, Probe, all_groups
from toykit.audit.objective import INPUTS, Objective, as_objective
from toykit.audit.planted import PLANTED
from toykit.audit.problems import PROBLEMS, Problem, problem
from toykit.audit.report import Audit
from toykit.audit.run import audit

__all__ = [
    "INPUTS",
    "PLANTED",
    "PROBLEMS",
    "Audit",
    "Diagnosis",
    "Failure",
    "Groups",
    "Measured",
    "Objective",
    "Probe",
    "Problem",
    "Property",
    "all_groups",
    "as_objective",
    "audit",
    "diagnose",
    "figures",
    "problem",
]
