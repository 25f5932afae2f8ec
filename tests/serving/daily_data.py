"""Yesterday's and today's Amazon Beauty, for the drill of the daily job: `python -m tests.serving.daily_data OUT`.

Yesterday lacks what arrives today: the last interaction of some users, so that 1% of all interactions are new, and
every interaction of 20 users and of 20 items.
"""

import gzip
import json
import os
import pathlib
import sys

import numpy as np

NEW_USERS = NEW_ITEMS = 20
SHARE = 0.01


def rows_of(path):
    with gzip.open(path, 'rt', encoding='utf-8') as file:
        return [json.loads(line) for line in file]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, 'wt', encoding='utf-8', compresslevel=1) as file:
        file.writelines(json.dumps(row) + '\n' for row in rows)


def yesterday(reviews, seed=0):
    """The reviews without today's, and the ids of today's new users and items."""
    rng = np.random.default_rng(seed)
    users, items = ({row[key] for row in reviews} for key in ('reviewerID', 'asin'))
    count = {}
    for row in reviews:
        count[row['asin']] = count.get(row['asin'], 0) + 1
    rare = sorted(item for item in items if count[item] <= 8)  # what is new has not sold much
    new_users = set(rng.choice(sorted(users), NEW_USERS, replace=False))
    new_items = set(rng.choice(rare, NEW_ITEMS, replace=False))
    left = [row for row in reviews if row['reviewerID'] not in new_users and row['asin'] not in new_items]
    newest = {}
    for number, row in enumerate(left):
        known = newest.get(row['reviewerID'])
        if known is None or row['unixReviewTime'] >= left[known]['unixReviewTime']:
            newest[row['reviewerID']] = number
    missing = round(SHARE * len(reviews)) - (len(reviews) - len(left))
    gone = set(rng.choice(sorted(newest.values()), max(missing, 0), replace=False).tolist())
    return [row for number, row in enumerate(left) if number not in gone], new_users, new_items


def make(source, out):
    reviews, items = rows_of(source / 'reviews.jsonl.gz'), rows_of(source / 'meta.jsonl.gz')
    before, new_users, new_items = yesterday(reviews)
    write(out / 'yesterday' / 'reviews.jsonl.gz', before)
    write(out / 'yesterday' / 'meta.jsonl.gz', [item for item in items if item['asin'] not in new_items])
    write(out / 'today' / 'reviews.jsonl.gz', reviews)
    write(out / 'today' / 'meta.jsonl.gz', items)
    (out / 'new.json').write_text(json.dumps({'users': sorted(map(str, new_users)),
                                              'items': sorted(map(str, new_items))}))
    print(f'{len(reviews):,} interactions today, {len(reviews) - len(before):,} of them new')


if __name__ == '__main__':
    make(pathlib.Path(os.environ['GRASP_JAX_DATA']) / 'amazon_beauty_5core', pathlib.Path(sys.argv[1]))
