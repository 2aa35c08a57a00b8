"""The vocabulary: subjects, references, boxes, scenes. NumPy and Pillow only."""
