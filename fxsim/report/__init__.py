"""Reports: figures, tables and one self-contained HTML file from a study's result."""
