from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy


class TargetStrategy(MaskStrategy):
    r"""Nothing but the label of the seed row, which is hidden before."""

    name = 'target'
