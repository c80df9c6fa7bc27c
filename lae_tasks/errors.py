"""The engine's errors. Each message holds the value, the place and the remedy.

Unfit *data* is no error: it becomes a `Rejection` and the night goes on.
"""


class LaeError(Exception):
    """Base of every error that the engine raises on purpose."""


class ConfigError(LaeError):
    """A setting, a model file or a credential is wrong. Retrying cannot help."""


class UnlistableError(ConfigError):
    """A mirror does not tell which objects it has."""


class ContractError(LaeError):
    """Two stages disagree: a table, a manifest or a count is not what was promised.

    Retrying cannot help; the message says which object and what was expected.
    """


class TransientError(LaeError):
    """A service did not answer as it should; the same call may go through later."""


class UnfinishedNightError(TransientError):
    """A night ran again, but not to its end: what it decided does not fit what it has now."""


class ConflictError(LaeError):
    """A conditional write lost: the object was there already, or somebody else moved it."""


class BudgetSpentError(ConfigError):
    """The money that a shard may spend is spent. A larger budget continues where it ended."""
