"""Making runs, reading them, resuming, replaying and pricing them."""
