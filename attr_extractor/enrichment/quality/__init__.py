"""Report on the quality of a catalogue's cells, from the cells file of attr-extractor predict."""
