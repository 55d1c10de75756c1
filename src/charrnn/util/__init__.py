"""Helpers that know nothing of networks or text: errors, seeds, progress, files."""
