"""What /docs says of requests and answers. The routes read requests by hand (`fields`), which is several times
quicker, so these are words and no code."""

from typing import Any

from pydantic import BaseModel, Field

Id = str | int


class RecommendRequest(BaseModel):
    """Who asks, and for what."""

    user: Id | None = Field(None, description='A user of the data set; or give a history.')
    history: list[Id] | None = Field(None, description='Ids of items, oldest first; empty for somebody new.')
    k: int = Field(10, ge=1, description='Items of the list.')
    filter_viewed: bool | None = Field(None, description='Whether items of the history are left out; without it as the '
                                                         'run was ranked: yes, unless with evaluate.repeats.')
    items_to_recommend: list[Id] | None = Field(None, description='Ids that may be recommended; without it all.')
    items_to_exclude: list[Id] | None = Field(None, description='Ids that may not.')
    exact: bool = Field(False, description='Whether every item is scored, also where candidates are quicker.')


class ExplainRequest(BaseModel):
    """A person and an item."""

    user: Id | None = None
    history: list[Id] | None = None
    item: Id


class ItemsRequest(BaseModel):
    """Items without a purchase yet."""

    items: list[dict[str, Any]] = Field(description='Each with an id (item_id), a title and what else items have; a '
                                                    'field `text` is taken as the whole text.')


class ReloadRequest(BaseModel):
    """Which model is to answer from now on."""

    path: str | None = Field(None, description='A folder below that of --models; without it the one of --workdir.')
    check: bool = Field(False, description='Whether nothing is loaded, and the answer says only that it may be; the '
                                           'folder need not be there yet.')


class ModelName(BaseModel):
    """Whose answer it is."""

    version: str
    seed: int


class ListedItem(BaseModel):
    """An item of a list."""

    item_id: str
    title: str
    score: float
    rank: int


class RecommendAnswer(BaseModel):
    """A list, best first."""

    items: list[ListedItem]
    source: str = Field(description='model, or popularity for an empty history; then scores are numbers of choices.')
    model: ModelName


class SimilarAnswer(BaseModel):
    """Items most like one, by the cosine."""

    items: list[ListedItem]
    model: ModelName


class NearItem(BaseModel):
    """An item that is near, by the cosine of the vectors that the model reads."""

    item_id: str
    title: str
    similarity: float


class ExplainAnswer(BaseModel):
    """Why an item stands where it does."""

    item_id: str
    title: str
    score: float
    rank: float = Field(description='Among all items that lists are made of where nothing is said.')
    gates: dict[str, float] | None = Field(description='How far each gate is open, 0 to 1.')
    nearest_in_history: list[NearItem]
    neighbours: list[NearItem]
    model: ModelName


class FoundItem(BaseModel):
    """An item whose title has the words."""

    item_id: str
    title: str


class SearchAnswer(BaseModel):
    """At most 50."""

    items: list[FoundItem]


class ItemsAnswer(BaseModel):
    """What can be recommended from now on."""

    added: list[str]
    items: int
    model: ModelName
    warnings: list[str] = Field(description='What the model does not read of them, a sentence each.')


class HealthAnswer(BaseModel):
    """Whether the service answers, and with what."""

    ready: bool
    model: ModelName | None
    items: int
    users: int


class ReloadAnswer(BaseModel):
    """The model that answers now."""

    model: ModelName
    items: int


class Error(BaseModel):
    """What was wrong, in one sentence."""

    error: str


def body_of(schema: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """The part of OpenAPI that documents a body."""
    return {'requestBody': {'required': required, 'content': {'application/json': {
        'schema': schema.model_json_schema()}}}}


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {'model': Error, 'description': 'The request says something that cannot be.'},
    404: {'model': Error, 'description': 'A user or an item is not known.'},
    503: {'model': Error, 'description': 'Too much to do, or not ready; ask again.'}}
