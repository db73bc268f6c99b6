"""Studies: a workload under policies, seeds and accelerators, its tables, and comparisons."""
