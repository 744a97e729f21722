"""Chunk stores as commands see them: embedded, inspected, pictured, reported on."""
