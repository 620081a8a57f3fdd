"""A trained classifier enters; the same function without dropout and without a choice of films leaves, for export as a program."""

from mammo.model.network import MammogramNet, fuse_views
from mammo.runtime import paddle


class DeployedNet(paddle.nn.Layer):
    """Logits of a `MammogramNet` in eval mode, by operations whose shapes follow from the input's.

    Training leaves out absent films, whose number differs from batch to batch. Here they go through the backbone too, and are
    masked where views are fused: in eval mode no film changes what is made of another.
    """

    def __init__(self, network: MammogramNet, *, views: int) -> None:
        super().__init__()
        self.network, self.views = network, views
        self.eval()

    def forward(self, image: paddle.Tensor, present: paddle.Tensor | None = None) -> paddle.Tensor:
        """Classify: image float32 [N, V, C, H, W]; present bool [N, V] where V is above 1; returns logits float32 [N, 2]."""
        network = self.network
        pooled = network.pool(network.backbone(image.flatten(0, 1)))
        if self.views > 1:
            pooled = fuse_views(pooled.reshape([-1, self.views, pooled.shape[1]]), present)
        return network.head(pooled)
