"""The trace: what every operation of every step did. The only bridge from training to cost."""
