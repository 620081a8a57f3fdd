"""The classifier: turns the films of one case into two logits (benign, malignant), with a head for one view or two."""

from mammo.model.backbone import Backbone, build_features, pieces_of
from mammo.model.frozen import FrozenPart
from mammo.model.pretrained import LoadReport, load_pretrained
from mammo.runtime import paddle
from mammo.settings.schema import ModelSettings
from mammo.settings.types import PAIRED

HEAD_DEVIATION = 0.001
EMBEDDED_AXES = 3  # [N, V, F]


class MammogramNet(paddle.nn.Layer):
    """A shared backbone, pooling, dropout and one linear layer.

    Two views are fused by the mean and the maximum over the views that are present: a breast with one film is then
    judged by that film alone, and the order of views does not matter. With `auxiliary` targets, a second linear layer
    gives their logits, in training only.
    """

    def __init__(self, backbone: Backbone, settings: ModelSettings, *, views: int = 1, auxiliary: int = 0) -> None:
        super().__init__()
        self.backbone = backbone.network
        self.stages = backbone.stages
        self._channels = input_channels(settings)
        self.held: FrozenPart | None = None  # the program of the frozen layers; another one makes other features
        self._held_layers = 0
        self._views = views
        self._with_max = settings.pooling == "avg_max"
        features = backbone.channels * (2 if self._with_max else 1) * (2 if views > 1 else 1)
        self.dropout = SharedDropout(settings.dropout)
        # Small weights: published backbones' features are large, and Xavier's start gave a first loss of 5 instead of
        # ln 2.
        small = paddle.nn.initializer.Normal(0.0, HEAD_DEVIATION)
        self.head = paddle.nn.Linear(features, 2, weight_attr=paddle.ParamAttr(initializer=small))
        self.auxiliary = paddle.nn.Linear(features, auxiliary) if auxiliary else None
        # paddle.nn.BatchNorm keeps its running statistics among the parameters, marked as not trainable.
        self.learnable = frozenset(name for name, parameter in self.named_parameters() if not parameter.stop_gradient)

    def forward(self, image: paddle.Tensor, present: paddle.Tensor) -> paddle.Tensor:
        """Classify cases.

        Args:
            image: float32 [N, V, C, H, W], or what `embed` made of it.
            present: bool [N, V], which views there are.

        Returns:
            Logits float32 [N, 2]; in training [N, 2 + A] with those of A auxiliary targets.
        """
        if len(image.shape) == EMBEDDED_AXES:
            pooled = image[:, 0] if self._views == 1 else fuse_views(image, present)
        elif self._views == 1:
            pooled = self.pool(self._features(image[:, 0]))
        else:
            pooled = self._fuse(image, present)
        features = self.dropout(pooled)
        if self.auxiliary is None or not self.training:
            return self.head(features)
        return paddle.concat([self.head(features), self.auxiliary(features)], axis=1)

    def hold(self, layers: int) -> None:
        """Run this number of the backbone's first layers, which are frozen, as a program from now on; 0 for none."""
        if layers == self._held_layers:
            return
        self.held, self._held_layers = None, layers
        if layers and not paddle.get_device().startswith("gpu"):  # there, leaving out gradients is all that is gained
            self.held = FrozenPart([layer for _, layer in pieces_of(self.backbone)[:layers]], self._channels)

    @property
    def is_held_whole(self) -> bool:
        """Whether only the head learns."""
        return self._held_layers == len(pieces_of(self.backbone))

    def embed(self, image: paddle.Tensor) -> paddle.Tensor:
        """Compute what `forward` takes instead of films: without gradients, of each film by itself, absent ones too.

        Args:
            image: float32 [N, V, C, H, W].

        Returns:
            Where the whole backbone is held, its pooled features float32 [N, V, F]; else what the held layers make,
            [N, V, F, h, w].
        """
        made = image.flatten(0, 1)
        with paddle.no_grad():
            if self.is_held_whole:
                made = self.pool(self._features(made))
            elif self.held:
                made = self.held(made)
        return made.reshape([*image.shape[:2], *made.shape[1:]])

    def _features(self, films: paddle.Tensor) -> paddle.Tensor:
        """Compute the feature map of films [N, C, H, W], or of what the frozen layers made of them."""
        if self.held is None:
            return self.backbone(films)
        features = self.held(films) if films.shape[1] == self._channels else films
        for _, layer in pieces_of(self.backbone)[self._held_layers :]:
            features = layer(features)
        return features

    def pool(self, feature_map: paddle.Tensor) -> paddle.Tensor:
        """Pool a feature map [N, C, H, W] to [N, C], or to [N, 2 C], mean and maximum."""
        mean = feature_map.mean(axis=[2, 3])
        return paddle.concat([mean, feature_map.max(axis=[2, 3])], axis=1) if self._with_max else mean

    def _fuse(self, image: paddle.Tensor, present: paddle.Tensor) -> paddle.Tensor:
        """Run the backbone on present films only, so that absent ones are no part of batch statistics."""
        cases, views = image.shape[:2]
        there = paddle.nonzero(present.reshape([-1]).astype("int64")).reshape([-1])
        films = paddle.gather(image.reshape([cases * views, *image.shape[2:]]), there)
        pooled = self.pool(self._features(films))
        slots = paddle.scatter(paddle.zeros([cases * views, pooled.shape[1]], pooled.dtype), there, pooled)
        return fuse_views(slots.reshape([cases, views, -1]), present)


class SharedDropout(paddle.nn.Layer):
    """Dropout of one process's part of a batch (`rank` of `ranks`): all drop together what one process would."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.rank, self.ranks = p, 0, 1

    def forward(self, features: paddle.Tensor) -> paddle.Tensor:
        """Drop features [N, C] of the cases rank, rank + ranks, … of N * ranks."""
        if self.ranks == 1 or not self.training:
            return paddle.nn.functional.dropout(features, self.p, training=self.training)
        everyone = paddle.ones([features.shape[0] * self.ranks, features.shape[1]], features.dtype)
        return features * paddle.nn.functional.dropout(everyone, self.p)[self.rank :: self.ranks]


def fuse_views(slots: paddle.Tensor, present: paddle.Tensor) -> paddle.Tensor:
    """Fuse features [N, V, C] of the views that are present, bool [N, V], to their mean and maximum [N, 2 C]."""
    mask = present.astype(slots.dtype).unsqueeze(-1)
    mean = (slots * mask).sum(axis=1) / mask.sum(axis=1)
    most = (slots - (1 - mask) * 1e4).max(axis=1)
    return paddle.concat([mean, most], axis=1)


def input_channels(settings: ModelSettings) -> int:
    """Return 1 where the stem's weights are summed over colours, 3 where the film is repeated."""
    return 1 if settings.gray_input == "sum" else 3


class DeployedNet(paddle.nn.Layer):
    """A `MammogramNet` in eval mode for export, by operations whose shapes follow from the input's.

    Training leaves out absent films, whose number differs from batch to batch. Here they go through the backbone too,
    and are masked where views are fused: in eval mode no film changes what is made of another.
    """

    def __init__(self, network: MammogramNet, *, views: int) -> None:
        super().__init__()
        self.network, self.views = network, views
        self.eval()

    def forward(self, image: paddle.Tensor, present: paddle.Tensor | None = None) -> paddle.Tensor:
        """Turn image float32 [N, V, C, H, W] and, for several views, present bool [N, V] into logits float32 [N, 2]."""
        network = self.network
        pooled = network.pool(network.backbone(image.flatten(0, 1)))
        if self.views > 1:
            pooled = fuse_views(pooled.reshape([-1, self.views, pooled.shape[1]]), present)
        return network.head(pooled)


def build_network(settings: ModelSettings, *, task: str, auxiliary: int = 0) -> tuple[MammogramNet, Backbone]:
    """Build the network of a task, with random weights.

    Args:
        settings: Backbone and head.
        task: `finding` and `breast` have two views, other tasks one.
        auxiliary: How many auxiliary targets it learns beside malignancy.

    Raises:
        SettingsError: The backbone is unknown or needs an extra.
    """
    backbone = build_features(settings.backbone, in_channels=input_channels(settings))
    return MammogramNet(backbone, settings, views=2 if task in PAIRED else 1, auxiliary=auxiliary), backbone


def start_from_pretrained(backbone: Backbone, settings: ModelSettings) -> LoadReport | None:
    """Fill a backbone with the weights of the settings, unless they say `none`; returns what was loaded.

    Raises:
        WeightsError: They are missing, or do not fit.
    """
    if settings.pretrained == "none":
        return None
    gray, sha256 = settings.gray_input, settings.pretrained_sha256
    return load_pretrained(backbone, settings.backbone, settings.pretrained, gray=gray, sha256=sha256)
