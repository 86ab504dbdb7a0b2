"""Small architectures of every family, trained in minutes on data that ships in packages or is generated."""

from functools import partial

from trained import clips, digits, sentences, sounds
from trained.architecture import Architecture
from trained.cnn1d import WaveCnn
from trained.cnn_gru import CnnGru
from trained.lstm import Lstm
from trained.mixer import MlpMixer
from trained.mobilenet import MobileNetV2
from trained.resnet import ResNet
from trained.uneven import make_uneven, uneven_mobilenet
from trained.vit import VisionTransformer

ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture("resnet", partial(ResNet, digits.CLASSES), digits.digits, epochs=3),
        Architecture("mobilenet_v2", partial(MobileNetV2, digits.CLASSES), digits.digits, epochs=6),
        Architecture("vit", partial(VisionTransformer, digits.CLASSES), digits.digits, epochs=14, learning_rate=3e-3),
        Architecture("mlp_mixer", partial(MlpMixer, digits.CLASSES), digits.digits, epochs=8, learning_rate=3e-3),
        Architecture("cnn_gru", partial(CnnGru, clips.CLASSES), clips.clips, epochs=8),
        Architecture("lstm", partial(Lstm, sentences.LANGUAGES, sentences.WORDS), sentences.sentences, epochs=8),
        Architecture("cnn_1d", partial(WaveCnn, sounds.KINDS), sounds.sounds, epochs=8),
    )
}
"""Those that plain quantization must serve well."""

UNEVEN = Architecture(
    "uneven_depthwise", partial(uneven_mobilenet, digits.CLASSES), digits.digits, epochs=6, finish=make_uneven
)
"""The one that plain quantization breaks."""

__all__ = ["ARCHITECTURES", "UNEVEN", "Architecture"]
