"""Measures with confidence intervals, calibration, plots and the report; never torch."""
