"""Pictures to rows: run a whole set, resume, compare."""
