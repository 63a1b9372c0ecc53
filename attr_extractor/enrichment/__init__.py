"""What the shop gets out of it: a catalogue filled by the served model."""
