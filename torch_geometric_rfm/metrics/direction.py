def less_is_better(metric: str) -> bool:
    r"""Whether a lower value of a metric is a better one, by the end of its name.

    Example:
        >>> less_is_better('val_driver-position_nmae'), less_is_better('roc_auc')
        (True, False)
    """
    return metric.endswith(('mae', 'mse', 'loss'))
