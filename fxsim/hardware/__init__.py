"""The machine, as YAML describes it: array, PE, dataflow, memory, vector unit."""
