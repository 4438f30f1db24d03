r"""Attention masks of cells, and their encodings."""
