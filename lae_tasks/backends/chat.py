"""OpenAI's chat protocol: what a server is sent for a crop, and what its answer says."""

import base64
import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
)

from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.config import ClassifyConfig, RemoteConfig
from lae_tasks.contracts import first_problem
from lae_tasks.naming.prompt_template import PromptTemplate
from lae_tasks.stages.tile import encode_png

#: How freely the model speaks where it is asked what else a crop might show.
_SAMPLING_TEMPERATURE = 1.0
#: Samples of one crop shall be the same again, from servers that know how.
_SEED = 0


class MalformedError(ValueError):
    """The body is no chat completion."""


#: Some servers write null for none.
_Tokens = Annotated[NonNegativeInt, BeforeValidator(lambda n: 0 if n is None else n)]


class Usage(BaseModel):
    """What a server bills: the tokens that were sent, and those that all choices took."""

    prompt_tokens: _Tokens
    completion_tokens: _Tokens = 0


def question(
    crop: Image, template: PromptTemplate, config: ClassifyConfig, remote: RemoteConfig
) -> dict[str, Any]:
    """The body of the request that asks about an RGB crop."""
    picture = "data:image/png;base64," + base64.b64encode(encode_png(crop)).decode("ascii")
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": picture}},
                    {"type": "text", "text": template.text},
                ],
            }
        ],
        "max_tokens": config.max_new_tokens,
        "temperature": remote.temperature,
    }
    if remote.temperature > 0:
        body["seed"] = _SEED
    if remote.logprobs:
        body["logprobs"] = True
    if remote.json_schema and template.schema is not None:
        form = {"name": "reply", "strict": True, "schema": template.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


def samples(body: dict[str, Any], n: int) -> dict[str, Any]:
    """The same question for `n` other answers."""
    temperature = max(body["temperature"], _SAMPLING_TEMPERATURE)
    return body | {"n": n, "temperature": temperature, "seed": _SEED}


def best_first(replies: Sequence[Reply]) -> tuple[Reply, ...]:
    """Different replies of several samples: what was said more often, then what is likelier."""
    said: dict[str, list[Reply]] = {}
    for reply in replies:
        if not reply.problem:
            said.setdefault(reply.text, []).append(reply)

    def merit(same: list[Reply]) -> tuple[int, float]:
        return len(same), math.prod(same[0].token_probabilities)

    ranked = [same[0] for same in sorted(said.values(), key=merit, reverse=True)]
    return tuple(Reply(r.text, r.token_ends, r.token_probabilities) for r in ranked)


class _Token(BaseModel):
    token: str
    #: Some servers write NaN or -Infinity, which is no JSON, and which no table would take.
    logprob: float = Field(allow_inf_nan=False)
    bytes: list[Annotated[int, Field(ge=0, le=255)]] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    #: Servers differ in its form; a reply is a reply without it.
    logprobs: Any = None


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]


class _Billed(BaseModel):
    usage: Usage | None = None


_TOKENS = TypeAdapter(list[_Token])


def read_usage(body: bytes) -> Usage | None:
    """What an answer with status 200 costs, be it a completion or not; None if it does not tell."""
    try:
        usage = _Billed.model_validate_json(body).usage
    except ValidationError:
        return None
    # No request is of no token: that tells nothing either.
    return usage if usage and (usage.prompt_tokens or usage.completion_tokens) else None


def read_completion(body: bytes) -> tuple[Reply, ...]:
    """The replies in an answer with status 200, one or more. Raises MalformedError."""
    try:
        found = _Completion.model_validate_json(body)
    except ValidationError as error:
        raise MalformedError(first_problem(error)) from None  # it would quote the body
    return tuple(_reply(choice) for choice in found.choices)


def _reply(choice: _Choice) -> Reply:
    text, finish = choice.message.content or "", choice.finish_reason
    if choice.message.refusal:
        return Reply("", problem=f"the model refuses: {choice.message.refusal[:300]}")
    if finish == "content_filter":
        return Reply("", problem="the server's content filter took the reply")
    cut_short = {"replies_cut_short": 1} if finish == "length" else {}
    if not text:
        what_to_do = "; raise classify.max_new_tokens" if cut_short else ""
        return Reply("", problem=f"an empty reply (finish_reason {finish}){what_to_do}")
    ends, probabilities = _places(text, choice.logprobs)
    return Reply(text, ends, probabilities, counts=cut_short)


def _places(text: str, logprobs: Any) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Where each token ends in the text, and its probability; empty if the tokens do not fit it.

    Before and after the text there may be more: what a server strips, and the end's own token.
    """
    try:
        tokens = _TOKENS.validate_python(logprobs["content"])
    except (ValidationError, KeyError, TypeError):
        return (), ()
    pieces = [t.token.encode() if t.bytes is None else bytes(t.bytes) for t in tokens]
    encoded = text.encode()
    start = b"".join(pieces).find(encoded)
    if start < 0:
        return (), ()
    ends: list[int] = []
    probabilities: list[float] = []
    position = -start
    for piece, token in zip(pieces, tokens, strict=True):
        position += len(piece)
        if position <= 0:
            continue
        # A token may end within a character, which is the next one's then.
        ends.append(len(encoded[:position].decode(errors="ignore")))
        probabilities.append(math.exp(min(token.logprob, 0.0)))
        if position >= len(encoded):
            break
    return tuple(ends), tuple(probabilities)
