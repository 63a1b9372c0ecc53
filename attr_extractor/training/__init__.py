"""From records to a run directory: the step, schedule, fit, callbacks and resume."""
