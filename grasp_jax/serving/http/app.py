"""The routes."""

import dataclasses
import json
from typing import Any

import fastapi
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from grasp_jax.common.errors import UserError
from grasp_jax.serving.http import fields, page, problems, schemas
from grasp_jax.serving.http.limits import Limits
from grasp_jax.serving.http.metrics import CONTENT_TYPE, Metrics
from grasp_jax.serving.http.problems import Problem
from grasp_jax.serving.http.scorer import Scorer
from grasp_jax.serving.http.served import Served
from grasp_jax.serving.http.shelf import Shelf
from grasp_jax.serving.names import Unknown
from grasp_jax.serving.recommender import MODEL, POPULARITY

_RECOMMEND = tuple(schemas.RecommendRequest.model_fields)
_EXPLAIN = tuple(schemas.ExplainRequest.model_fields)
_RELOAD = tuple(schemas.ReloadRequest.model_fields)
_MOST_ROWS = 100  # new items of a request
_LONGEST_VALUE = 10_000  # characters of an attribute of a new item


class Service:
    """Answers requests."""

    def __init__(self, shelf: Shelf, scorer: Scorer, limits: Limits, metrics: Metrics, token_is_set: bool):
        """Takes what it asks."""
        self._shelf, self._scorer, self._limits, self._metrics = shelf, scorer, limits, metrics
        self._token_is_set = token_is_set

    async def recommend(self, request: Request) -> Response:
        """The k best items for a user of the data set, or for a history."""
        return _json(await self.recommended(await request.body()))

    async def recommended(self, body: bytes) -> bytes:
        """As `recommend`, from a body to a body.

        Raises:
          Problem: the body says something that cannot be, or too much is asked for.
        """
        asked, served = fields.read(body, _RECOMMEND), self._shelf.current
        k, exact = asked.number('k', 10, self._limits.max_k), asked.flag('exact', False)
        found = self._question(served, asked, filter_viewed=asked.flag('filter_viewed', served.model.filter_viewed),
                               items_to_recommend=asked.identities('items_to_recommend', None, self._limits.max_text),
                               items_to_exclude=asked.identities('items_to_exclude', None, self._limits.max_text))
        if not len(found.history):
            return served.answer(*served.model.questions.popular(found, k), POPULARITY)
        return served.answer(*await self._scorer.top(served.model, found, k, exact), MODEL)

    async def similar(self, item: str, request: Request) -> Response:
        """The k items most like an item (?k=10). Its id stands in the address as encodeURIComponent writes it."""
        served = self._shelf.current
        k = fields.whole('k', request.query_params.get('k', 10), self._limits.max_k)
        target = _number_of(served, item)
        return _json(await self._scorer.call(lambda: served.answer_similar(target, k)))

    async def explain(self, request: Request) -> Response:
        """Why an item stands where it does: the gates, what of the history is nearest to it, its own neighbours."""
        asked, served = fields.read(await request.body(), _EXPLAIN), self._shelf.current
        item = asked.identity('item', self._limits.max_text)
        if item is None:
            raise Problem(400, 'item: name one')
        found = self._question(served, asked)
        if not len(found.history):
            raise Problem(400, 'history: is empty; the list of somebody new is by popularity alone')
        target = _number_of(served, item)
        why = await self._scorer.call(lambda: served.explain(found, target))
        return _json(_bytes(dataclasses.asdict(why) | {'model': _name(served)}))

    async def search(self, request: Request) -> Response:
        """Items whose titles contain all words (?q=), at most 50."""
        served, words = self._shelf.current, request.query_params.get('q', '')
        if not words.strip() or len(words) > self._limits.max_text:
            raise Problem(400, f'q: give words to look for, at most {self._limits.max_text} characters')
        found = await fastapi.concurrency.run_in_threadpool(served.search, words)
        return _json(_bytes({'items': found}))

    async def items(self, request: Request) -> Response:
        """Adds items without a purchase yet, by their texts; they are gone with the next start."""
        rows = fields.read(await request.body(), ('items',)).rows('items', _MOST_ROWS)
        for number, row in enumerate(rows, 1):
            for name, value in row.items():
                _require_attribute(f'items, row {number}, {fields.shown(name)}', value)
        ready, served = await self._shelf.add(rows)
        return _json(_bytes({'added': [identity for identity, _ in ready.records], 'items': served.items,
                             'model': _name(served), 'warnings': list(ready.warnings)}))

    async def reload(self, request: Request) -> Response:
        """Lets another model answer; no request is lost. Only where a token is set. With `check` nothing is loaded: the
        answer says whether a folder at this place may be, and it need not be there yet."""
        if not self._token_is_set:
            raise Problem(403, 'models can be changed only where a token is set')
        asked = fields.read(await request.body(), _RELOAD, empty=True)
        path = asked.text('path', 4096)
        served = self._shelf.allowed(path) if asked.flag('check', False) else await self._shelf.reload(path)
        return _json(_bytes({'model': _name(served), 'items': served.items}))

    async def health(self) -> Response:
        """Whether the service is ready (200) or not yet, or no longer (503), and which model it has."""
        if not self._shelf.ready:
            body = _bytes({'ready': False, 'model': None, 'items': 0, 'users': 0})
            return _json(body, 503, {'retry-after': str(problems.RETRY_SECONDS)})
        served = self._shelf.current
        return _json(_bytes({'ready': True, 'model': _name(served), 'items': served.items,
                             'users': len(served.model.user_ids)}))

    async def metrics(self) -> Response:
        """Counters for Prometheus."""
        return Response(self._metrics.text(), headers={'content-type': CONTENT_TYPE})

    def _question(self, served: Served, asked: fields.Fields, **limits: Any) -> Any:
        """What the engine is asked."""
        history = asked.identities('history', self._limits.max_history, self._limits.max_text)
        try:
            return served.model.questions.one(asked.identity('user', self._limits.max_text), history, **limits)
        except Unknown as error:
            raise Problem(404, str(error)) from None
        except UserError as error:
            raise Problem(400, str(error)) from None


def make_app(service: Service) -> FastAPI:
    """All routes of a service, with their documents."""
    app = FastAPI(title='grasp_jax', version='1', description='Recommendations of a trained model. Every error is '
                  '`{"error": "one sentence"}`.', redoc_url=None, swagger_ui_oauth2_redirect_url=None)
    for path, method, run, answer, body in (
            ('/recommend', 'POST', service.recommend, schemas.RecommendAnswer, schemas.RecommendRequest),
            ('/similar/{item:path}', 'GET', service.similar, schemas.SimilarAnswer, None),
            ('/items', 'POST', service.items, schemas.ItemsAnswer, schemas.ItemsRequest),
            ('/explain', 'POST', service.explain, schemas.ExplainAnswer, schemas.ExplainRequest),
            ('/search', 'GET', service.search, schemas.SearchAnswer, None),
            ('/reload', 'POST', service.reload, schemas.ReloadAnswer, schemas.ReloadRequest),
            ('/health', 'GET', service.health, schemas.HealthAnswer, None)):
        document = None if body is None else schemas.body_of(body, required=body is not schemas.ReloadRequest)
        app.add_api_route(path, run, methods=[method], response_model=None, openapi_extra=document,
                          responses={200: {'model': answer}, **schemas.ERRORS})
    app.add_api_route('/metrics', service.metrics, methods=['GET'], response_model=None)
    app.add_api_route('/', page.answer, methods=['GET'], response_model=None, include_in_schema=False)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_route)
    app.add_exception_handler(Exception, _on_mistake)
    return app


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return Response(error.body, error.status, {name.decode(): value.decode() for name, value in error.headers()})


async def _on_route(request: Request, error: Exception) -> Response:
    """No such route, or not with this method."""
    assert isinstance(error, HTTPException)
    sentence = ('this address takes another method; /docs says which' if error.status_code == 405
                else 'there is nothing at this address; /docs lists what there is')
    found = Problem(error.status_code, sentence)
    return Response(found.body, found.status, {'content-type': 'application/json', **(error.headers or {})})


async def _on_mistake(request: Request, error: Exception) -> Response:
    return await _on_problem(request, problems.unexpected())


def _number_of(served: Served, item: Any) -> int:
    try:
        return int(served.model.names.numbers([item], 'item')[0])
    except Unknown:
        raise Problem(404, f'item {fields.shown(item)} is not known') from None


def _require_attribute(name: str, value: Any) -> None:
    """Refuses attributes that are no text, number or list of such."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, (str, int, float, bool, type(None))) for each in values):
        raise Problem(400, f'{name}: give a text, a number, or a list of such')
    if any(isinstance(each, str) and len(each) > _LONGEST_VALUE for each in values):
        raise Problem(400, f'{name}: has more than {_LONGEST_VALUE} characters')


def _name(served: Served) -> dict[str, Any]:
    return {'version': served.version, 'seed': served.seed}


def _bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, 'application/json')
