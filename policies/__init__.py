"""The decisions of a serving system as pure objects: no clock, no waiting, no logging, the standard library only."""
