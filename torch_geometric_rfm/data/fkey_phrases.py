def fkey_phrases(fkey_names: list[str]) -> list[str]:
    r"""The phrase of each foreign key, in the way of a column's.

    Two keys of a table to the same parents differ by it.

    Args:
        fkey_names (list): Names as :obj:`"<table>.<foreign key>"`.

    Example:
        >>> fkey_phrases(['matches.home_team', 'matches.away_team'])
        ['home_team of matches', 'away_team of matches']
    """
    return [' of '.join(reversed(name.split('.', 1))) for name in fkey_names]
