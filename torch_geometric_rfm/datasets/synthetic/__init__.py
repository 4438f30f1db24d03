r"""The parts of which synthetic relational databases are made."""
