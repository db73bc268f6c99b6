"""All `@njit` code. Kernels see integers only: no floats, strings, checks or default arguments.

Most kernels take `(start, stop, ...)` and work on that range of rows or elements, so that
`fxsim.engine.threads.split` can share them out; no two ranges write to the same element, and
counts are returned and added up, which is why thread count cannot change a bit.
"""
