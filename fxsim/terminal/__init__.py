"""What is shown on a terminal: tables, JSON, files, progress."""
