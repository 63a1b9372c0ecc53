"""Filling a catalogue with an exported model, and reports on the catalogue's quality."""
