"""Examples in, weights out: flow matching with references in context."""
