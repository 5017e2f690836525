"""Assembles the Dagster definitions and runs them: environments, jobs, schedules, sensors. Nothing is computed here."""
