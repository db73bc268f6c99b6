"""What the numbers mean: formats, block maps, draws, and the specification in Python integers.

Nothing here is fast and nothing here needs numba; `fxsim.engine` executes what this defines.
"""
