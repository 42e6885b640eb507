"""Measurements: `make bench`. Figures are ratios of medians, from rounds that take turns in one run."""
