"""fxsim: a bit-accurate fixed-point training simulator and accelerator cost model."""

__version__ = "0.1.0"
