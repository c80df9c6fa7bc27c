"""The Classifier that the settings name."""

from lae_tasks.backends.protocols import Classifier
from lae_tasks.config import ClassifyConfig
from lae_tasks.naming.vocabulary import Vocabulary


def load_namer(config: ClassifyConfig, vocabulary: Vocabulary, threads: int) -> Classifier:
    """Loads the model that names crops; of a server nothing is asked yet.

    Raises:
        ConfigError: If it cannot be loaded.
    """
    if config.namer == "remote":
        from lae_tasks.backends.remote import RemoteClassifier

        return RemoteClassifier(config)
    if config.namer == "clip":
        from lae_tasks.backends.clip_namer import ClipNamer

        return ClipNamer(config, vocabulary, threads)
    from lae_tasks.backends.lvlm import LocalClassifier

    return LocalClassifier(config, threads)
