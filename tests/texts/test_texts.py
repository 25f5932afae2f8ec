"""Texts: what they hold, what they must never hold, and what the audit catches."""

import dataclasses

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import default
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import Interactions
from grasp_jax.texts import audit, describe, domains, prompts

WHOLE = 1_000_000


def make(sequences, item_attributes, user_attributes=None):
    lengths = [len(sequence) for sequence in sequences]
    interactions = Interactions(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([item for sequence in sequences for item in sequence], np.int32), len(item_attributes))
    return Dataset('toy', interactions, [f'u{u}' for u in range(len(sequences))],
                   [f'i{i + 1}' for i in range(len(item_attributes))], item_attributes,
                   user_attributes or [{} for _ in sequences], {})


@pytest.fixture
def random_dataset():
    rng = np.random.default_rng(0)
    sequences = [rng.permutation(60)[:length] + 1 for length in rng.integers(1, 20, 50)]
    return make(sequences, [{'title': f'Title{i:03d}'} for i in range(60)])


@pytest.mark.parametrize('domain', domains.NAMES)
@pytest.mark.parametrize('max_chars', [200, 300, WHOLE])
def test_user_text_names_exactly_the_newest_training_titles(random_dataset, domain, max_chars):
    texts = prompts.user_texts(random_dataset, domain, max_chars)
    for user, text in enumerate(texts):
        titles = [f'Title{i - 1:03d}' for i in random_dataset.interactions.sequence(user, 'train')][::-1]
        found = [word.strip(';.') for word in text.split() if word.startswith('Title')]
        assert found == titles[:len(found)] and found
        assert text.endswith('. Please conclude the preference of the user.')
        assert len(text) <= max_chars
        # Nothing is dropped that would have fitted.
        assert len(found) == len(titles) or len(text) + len('; Title000') > max_chars


def test_users_without_training_items_and_items_without_attributes_get_texts():
    dataset = make([[], [1]], [{}])
    texts = prompts.user_texts(dataset, 'beauty', WHOLE)
    assert 'newest first: none. Please' in texts[0]
    assert 'newest first: unknown. Please' in texts[1]
    assert prompts.item_texts(dataset, 'beauty', WHOLE) == [
        'The beauty item has the following attributes: name is unknown; brand is unknown; price is unknown. '
        'The item has the following features: unknown. The item has the following descriptions: unknown.']


def test_item_text_fills_every_field():
    item = {'title': 'Red\n Lipstick', 'brand': 'OPI', 'price': 3.5, 'features': ['long', None, 'matte'],
            'description': float('nan'), 'colour': 'red'}
    dataset = make([[1]], [item])
    assert prompts.item_texts(dataset, 'fashion', WHOLE) == [
        'The fashion item has the following attributes: name is Red Lipstick; brand is OPI; price is 3.5. '
        'The item has the following features: long; matte. The item has the following descriptions: unknown.']
    assert prompts.item_texts(dataset, 'shop', WHOLE) == [
        'The item has the following attributes: name is Red Lipstick; brand is OPI; colour is red; '
        'features is long; matte; price is 3.5.']


def test_profile_and_request_stay_whole_when_the_text_is_cut():
    dataset = make([[1, 2]], [{'title': 'a' * 50}, {'title': 'long title ' * 30}], [{'gender': 'female', 'age': 30}])
    text, = prompts.user_texts(dataset, 'shop', 200)
    assert text.startswith('The user has the following profile: age is 30; gender is female. ')
    assert text.endswith('long title. Please conclude the preference of the user.') and len(text) <= 200
    with pytest.raises(UserError, match="user 'u0'.*max_chars"):
        list(prompts.user_texts(dataset, 'shop', 150))


@pytest.mark.parametrize('call', [prompts.item_texts, prompts.user_texts])
@pytest.mark.parametrize('domain, max_chars', [('cars', 100), ('shop', 0)])
def test_wrong_settings_are_refused(call, domain, max_chars):
    with pytest.raises(UserError, match=r'text\.(domain|max_chars)='):
        call(make([[1]], [{}]), domain, max_chars)


@pytest.mark.parametrize('split', ['valid', 'test'])
def test_audit_catches_a_planted_leak(random_dataset, split):
    texts = list(prompts.user_texts(random_dataset, 'beauty', WHOLE))
    audit.training_only(random_dataset, texts)
    row = 7
    user = random_dataset.interactions.evaluated_users()[row]
    item = random_dataset.interactions.targets(split)[row]
    texts[user] += f' They will like title{item - 1:03d}!'
    with pytest.raises(UserError, match=f"'u{user}' names the {split} item 'i{item}'"):
        audit.training_only(random_dataset, texts)


@pytest.mark.parametrize('held_out, texts, leaks', [
    ('Red', 'shredded paper', False),  # part of a word
    ('Red', 'a RED thing', True),
    ('Nail', 'Nail Polish', False),  # part of a training title
    ('Nail Polish', 'another nail  polish', False),  # equal to a training title
    ('Polish; Cream', 'x Nail Polish; Cream', False),  # across two training titles
    ('female', 'gender is female', False),  # of the profile
    ('items', 'The user has visited the following items', False),  # the template's own word
    ('', 'anything', False),
])
def test_audit_looks_for_whole_titles(held_out, texts, leaks):
    dataset = make([[3, 2, 1, 4]], [{'title': held_out}, {'title': 'Nail Polish'}, {'title': 'Cream'}, {}],
                   [{'gender': 'female'}])
    def frame(user):
        return prompts.user_text(dataset.user_attributes[user], [], domains.load('shop'), WHOLE)

    if leaks:
        with pytest.raises(UserError, match='leak'):
            audit.training_only(dataset, [texts], frame)
    else:
        audit.training_only(dataset, [texts], frame)


@pytest.mark.parametrize('held_out', ('Unknown', 'Profile', 'Is', 'The user has the following profile'))
def test_audit_knows_the_templates_own_words(held_out):
    dataset = make([[2, 3, 2, 1]], [{'title': held_out}, {}, {'title': 'Cream'}], [{'gender': 'female'}])
    config = default()
    config.text.domain = 'shop'
    audit.texts_of(dataset, prompts.user_texts(dataset, 'shop', WHOLE), config)


def test_describe_writes_what_load_texts_reads(random_dataset, tmp_path):
    config = default()
    config.text.max_chars = 200
    items = [*random_dataset.item_attributes[:-1], {'brand': 'B'}]
    dataset = dataclasses.replace(random_dataset, item_attributes=items)
    facts = describe.describe(dataset, config, tmp_path)
    assert describe.load_texts(tmp_path) == (
        prompts.item_texts(dataset, 'beauty', 200), prompts.user_texts(dataset, 'beauty', 200))
    assert facts['share_unknown']['title'] == pytest.approx(1 / 60)
    assert facts['share_unknown']['brand'] == pytest.approx(59 / 60)
    assert facts['users_cut'] == sum(
        a != b for a, b in zip(prompts.user_texts(dataset, 'beauty', 200), prompts.user_texts(dataset, 'beauty', WHOLE),
                               strict=True)) > 0


@pytest.mark.parametrize(('named', 'said'), [(20, True), (40, False)])
def test_items_without_titles_are_said(tmp_path, caplog, named, said):
    dataset = make([[1, 2, 3, 4]], [{'title' if i < named else 'name': f'Thing {i}', 'brand': 'X'} for i in range(60)])
    facts = describe.describe(dataset, default(), tmp_path)
    assert facts['share_unknown']['title'] == pytest.approx(1 - named / 60)
    assert ('67% of the items have no title' in caplog.text) == said
    assert ('there are: brand, name, title' in caplog.text) == said


def test_describe_runs_the_audit(random_dataset, tmp_path, monkeypatch):
    """A template that reads beyond the training part fails the stage."""
    whole_history = lambda self, user, split: self.items[self.indptr[user]:self.indptr[user + 1]]  # noqa: E731
    real = prompts.user_texts

    def leaking(dataset, domain, max_chars, *what):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Interactions, 'sequence', whole_history)
            return list(real(dataset, domain, max_chars, *what))

    monkeypatch.setattr(prompts, 'user_texts', leaking)
    with pytest.raises(UserError, match='leak'):
        describe.describe(random_dataset, default(), tmp_path)


@pytest.mark.parametrize('line, complaint', [
    ('{"id": "i2", "text": "  "}', "line 2: the text of 'i2' is empty"),
    ('{"id": "i2"}', 'line 2: is not a record'),
    ('nonsense', 'line 2: is not a record'),
])
def test_bad_texts_are_refused(tmp_path, line, complaint):
    (tmp_path / describe.ITEMS).write_text('{"id": "i1", "text": "a"}\n' + line + '\n')
    (tmp_path / describe.USERS).write_text('{"id": "u1", "text": "a"}\n')
    with pytest.raises(UserError, match=complaint):
        describe.load_texts(tmp_path)
    with pytest.raises(UserError, match='cannot be read'):
        describe.load_texts(tmp_path / 'nowhere')


def test_texts_that_are_all_the_same_are_refused(tmp_path):
    """As after a join of items that found nothing; vectors made elsewhere need no texts."""
    dataset = make([[1, 2, 3]] * 3, [{}, {}, {}])
    config = default()
    with pytest.raises(UserError, match='all item texts are the same .*items_file'):
        describe.describe(dataset, config, tmp_path)
    assert describe.describe(dataset, config, tmp_path, encoded=False)['items'] == 3


def test_a_planted_leak_fails_the_stage_unless_it_is_asked_for(random_dataset, tmp_path):
    config = default()
    config.text.history = 'all'
    with pytest.raises(UserError, match='would leak the answer'):
        describe.describe(random_dataset, config, tmp_path)
    config.text.audit = False
    facts = describe.describe(random_dataset, config, tmp_path)
    _, users = describe.load_texts(tmp_path)
    assert not facts['audited']
    for user, text in enumerate(users):
        assert f'Title{random_dataset.interactions.full_sequence(user)[-1] - 1:03d}' in text


def test_the_newest_items_can_be_left_out_of_a_text(random_dataset):
    texts = prompts.user_texts(random_dataset, 'beauty', WHOLE, held_out=2)
    for user, text in enumerate(texts):
        named = random_dataset.interactions.sequence(user, 'train')
        assert all((f'Title{item - 1:03d}' in text) == (place < len(named) - 2) for place, item in enumerate(named))


@pytest.mark.parametrize(('settings', 'message'), [
    ({'history': 'some'}, 'choose train or all'), ({'held_out': -1}, 'must be 0 or more')])
def test_wrong_histories_are_refused(random_dataset, tmp_path, settings, message):
    config = default()
    config.text.update(settings)
    with pytest.raises(UserError, match=message):
        describe.describe(random_dataset, config, tmp_path)
