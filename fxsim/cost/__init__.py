"""Trace times accelerator: action counts, cycles and energy."""
