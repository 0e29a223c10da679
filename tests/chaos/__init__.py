"""The chaos matrix: every fault, of every role, everywhere, and what must be true afterwards."""
