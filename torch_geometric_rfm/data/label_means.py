NUM_LATEST = 3
r"""How many of the latest labels of an entity have a mean of their own."""


def mean_names(label: str) -> tuple[str, str, str]:
    r"""What the means of known labels are called in contexts, by the name of the column
    of labels: of an entity, of its latest, and of everyone lately.
    """
    mean = f'mean {label}'
    return mean, f'{mean}, latest {NUM_LATEST}', f'{mean} of all lately'
