"""Sweeps: many points of a space of workloads, policies and accelerators, on grids or searched."""
