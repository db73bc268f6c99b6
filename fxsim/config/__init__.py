"""YAML in, validated objects out: documents with marks, overrides of keys, the shipped files."""
