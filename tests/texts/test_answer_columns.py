"""Columns that know the answer are found in any spelling, and no others are."""

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import default
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import Interactions
from grasp_jax.texts import answer_columns, describe, domains

USERS, ITEMS, LENGTH = 60, 80, 8
WORDS = [f'{a}{b}' for a in ('bel', 'cor', 'dul', 'fen', 'gar', 'hil', 'jov', 'kem', 'lor', 'mun')
         for b in ('ax', 'en', 'ip', 'ow', 'us')]
HAN = [chr(0x4e00 + 7 * number) for number in range(200)]


def titles_of(rng):
    return [' '.join(rng.choice(WORDS, 4)).title() for _ in range(ITEMS)]


def made(column, titles=None, attributes=None, rng=None):
    """A random data set whose users have the profile column(user, sequence of item numbers, title of a number)."""
    rng = rng or np.random.default_rng(0)
    titles = titles or titles_of(rng)
    sequences = [rng.permutation(ITEMS)[:LENGTH] + 1 for _ in range(USERS)]
    ids = [f'sku-{number:04d}' for number in range(1, ITEMS + 1)]
    profiles = [{'age': 20 + user % 50,
                 **({} if column is None else {'told': column(user, list(sequences[user]), titles)})}
                for user in range(USERS)]
    items = [{'title': title, **({} if attributes is None else {'more': attributes(number, sequences, titles, ids)})}
             for number, title in enumerate(titles, start=1)]
    interactions = Interactions(np.arange(USERS + 1, dtype=np.int64) * LENGTH,
                                np.concatenate(sequences).astype(np.int32), ITEMS)
    return Dataset('random', interactions, [f'u{user}' for user in range(USERS)], ids, items, profiles, {})


def run(dataset, folder, **settings):
    config = default()
    config.text.update({'domain': 'shop', **settings})
    return describe.describe(dataset, config, folder)


def id_of(item):
    return f'sku-{item:04d}'


@pytest.mark.parametrize('column', [
    lambda user, own, titles: titles[own[-1] - 1],
    lambda user, own, titles: titles[own[-1] - 1].upper() + '!',
    lambda user, own, titles: id_of(own[-1]),
    lambda user, own, titles: f'https://shop/p/{id_of(own[-1])}?ref=mail',
    lambda user, own, titles: [id_of(item) for item in own[-3:]],
    lambda user, own, titles: ', '.join(id_of(item) for item in own),
    lambda user, own, titles: [titles[item - 1] for item in own],
    lambda user, own, titles: '; '.join(titles[item - 1] for item in own[::-1]),
    lambda user, own, titles: f'Acme {titles[own[-1] - 1]} (new)',
    lambda user, own, titles: ' '.join(titles[own[-1] - 1].split()[::-1]),
    lambda user, own, titles: titles[own[-1] - 1][:14] + '...',
    lambda user, own, titles: {'last': {'name': titles[own[-1] - 1], 'price': 3}},
    lambda user, own, titles: f'<b>{titles[own[-1] - 1]}</b>',
], ids=range(13))
def test_a_profile_that_names_the_answer_ends_the_run(column, tmp_path, caplog):
    dataset = made(column)
    with pytest.raises(UserError, match=r"column 'told' of the users names the test item of (9\d|100)\.\d% "
                                        r'of the users, by chance [0-4]\.\d%.*text.leave_out=told'):
        run(dataset, tmp_path)
    facts = run(dataset, tmp_path, audit=False)
    assert "column 'told' of the users names the test item" in caplog.text
    told, = [one for one in facts['columns_that_name_held_out_items'] if one['column'] == 'told']
    assert told['share'] > 0.9 > 0.1 > told['chance'] and told['knows']
    caplog.clear()
    facts = run(dataset, tmp_path, leave_out='told')
    assert not caplog.text and not any(one['knows'] for one in facts['columns_that_name_held_out_items'])
    assert 'told is' not in (tmp_path / describe.USERS).read_text()


def test_the_validation_item_and_titles_without_spaces_count_as_well(tmp_path):
    rng = np.random.default_rng(3)
    titles = [''.join(rng.choice(HAN, 5)) for _ in range(ITEMS)]
    dataset = made(lambda user, own, titles: f'最近购买{titles[own[-2] - 1]}的用户', titles)
    with pytest.raises(UserError, match='the validation item of 100.0% of the users'):
        run(dataset, tmp_path)


def test_ids_are_found_as_a_spreadsheet_writes_them(tmp_path):
    dataset = made(lambda user, own, titles: f'{own[-1] + 10000}.0')
    dataset.item_ids[:] = [f'000{number + 10000}' for number in range(1, ITEMS + 1)]
    with pytest.raises(UserError, match='names the test item of 100.0%'):
        run(dataset, tmp_path)


def test_a_few_answers_are_warned_of(tmp_path, caplog):
    dataset = made(lambda user, own, titles: titles[own[-1] - 1] if user < 3 else 'none')
    facts = run(dataset, tmp_path, audit=False)
    assert "'told' of the users names the test item of 5.0% of the users, by chance 0.0%" in caplog.text
    assert facts['columns_that_name_held_out_items'][0]['share'] == 0.05


@pytest.mark.parametrize('column', [
    None, lambda user, own, titles: titles[own[2] - 1], lambda user, own, titles: [id_of(item) for item in own[:-2]],
    lambda user, own, titles: titles[user], lambda user, own, titles: WORDS[user % 50],
    lambda user, own, titles: titles[own[0] - 1][:14], lambda user, own, titles: None,
    lambda user, own, titles: ' '.join(WORDS)])
def test_profiles_that_know_no_more_than_chance_are_let_through(column, tmp_path, caplog):
    facts = run(made(column), tmp_path)
    assert not caplog.text and not any(one['knows'] for one in facts['columns_that_name_held_out_items'])


def test_numbers_that_are_ids_by_chance_are_let_through(tmp_path, caplog):
    dataset = made(None)
    dataset.item_ids[:] = [str(number) for number in range(1, ITEMS + 1)]
    assert not run(dataset, tmp_path)['columns_that_name_held_out_items'] or not caplog.text


def together(number, sequences, titles, ids):
    """Items that stand beside it in a history, as shops list them."""
    found = set()
    for own in sequences:
        place = np.flatnonzero(own == number)
        if len(place):
            found |= set(map(int, own[max(place[0] - 2, 0):place[0] + 3])) - {number}
    return sorted(found)


@pytest.mark.parametrize('shape', [
    lambda items, titles, ids: [ids[item - 1] for item in items],
    lambda items, titles, ids: {'also_viewed': [], 'also_bought': [ids[item - 1] for item in items]},
    lambda items, titles, ids: ' '.join(ids[item - 1] for item in items),
    lambda items, titles, ids: '|'.join(ids[item - 1] for item in items),
    lambda items, titles, ids: str([ids[item - 1] for item in items]),
    lambda items, titles, ids: [titles[item - 1] for item in items],
    lambda items, titles, ids: '; '.join(titles[item - 1] for item in items),
    lambda items, titles, ids: [{'id': ids[item - 1], 'score': 0.5} for item in items]], ids=range(8))
def test_lists_of_what_was_bought_beside_an_item_are_said(shape, tmp_path, caplog):
    dataset = made(None, attributes=lambda number, sequences, titles, ids: shape(
        together(number, sequences, titles, ids), titles, ids))
    facts = run(dataset, tmp_path)
    assert "column 'more' of the items lists other items (for 100% of the items)" in caplog.text
    assert 'made from later purchases' in caplog.text and 'text.leave_out=more' in caplog.text
    told = facts['columns_that_name_held_out_items'][0]
    assert told['of'] == 'items' and told['share'] > 0.9 and told['share'] > 1.5 * told['chance']
    caplog.clear()
    run(dataset, tmp_path, leave_out='other, more')
    assert not caplog.text and 'more is' not in (tmp_path / describe.ITEMS).read_text()
    run(dataset, tmp_path, domain='fashion')  # whose texts have no such field
    assert not caplog.text


@pytest.mark.parametrize('attributes', [
    lambda number, sequences, titles, ids: float(number % 30),
    lambda number, sequences, titles, ids: titles[number - 1],
    lambda number, sequences, titles, ids: ids[number - 1], lambda number, sequences, titles, ids: WORDS[number % 5],
    lambda number, sequences, titles, ids: [ids[(7 * number + step) % ITEMS] for step in range(4)]])
def test_attributes_that_know_nothing_are_let_through(attributes, tmp_path, caplog):
    run(made(None, attributes=attributes), tmp_path)
    assert not caplog.text


@pytest.mark.slow
def test_real_profiles_that_were_written_from_whole_histories_are_said(real_data, tmp_path):
    """Interests that a language model wrote of some readers, held-out books included."""
    from grasp_jax.pipeline.stages import prepare_data
    config = default()
    config.data.update({'name': 'books', 'kind': 'table', 'source': str(real_data('goodreads_gpt')),
                        'interactions_file': 'interactions.csv.gz', 'items_file': 'items.jsonl.gz',
                        'users_file': 'users_leaky.jsonl.gz'})
    found = answer_columns.look(prepare_data(config, tmp_path), domains.load('shop'))
    assert [(one.column, one.knows, one.plain) for one in found] == [('interests', True, False)]


@pytest.mark.parametrize(('alike', 'said'), [(0.2, False), (0.5, True)])
def test_items_without_a_text_of_their_own_are_said(alike, said, tmp_path, caplog):
    dataset = made(None)
    for number in range(round(alike * ITEMS)):
        dataset.item_attributes[number].clear()
    facts = run(dataset, tmp_path)
    assert facts['equal_item_texts'] == alike * ITEMS
    assert (f'{round(alike * ITEMS)} of 80 items (50%) have the text of another one as well, of '
            f'{round(alike * ITEMS)} nothing is known' in caplog.text) == said
