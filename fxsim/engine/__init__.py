"""The integer tensor engine: the API owns every check, `kernels/` holds every jitted loop."""
