"""The config of the industry size, at a five-hundredth of it, through the whole pipeline."""

import json

import numpy as np
import pytest

from grasp_jax.data import dataset
from grasp_jax.pipeline.stages import run_pipeline
from tests.config.test_configs import load

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('industry')
    config = load('industry_100k')
    config.data.scale = 0.002
    config.encode.width = 64
    config.retrieve.update({'pca_dim': 24, 'sample': 500})
    config.model.update({'hidden_size': 8, 'max_length': 20})
    config.train.steps_per_epoch = 1
    config.evaluate.update({'max_users': 40})
    return workdir, run_pipeline(config, workdir)


def test_every_stage_leaves_what_it_says(done):
    workdir, report = done
    assert report['data']['users'] == 199 and report['data']['items'] == 2411
    assert 18 < report['data']['mean_length'] < 24
    assert report['counts']['users'] == 40 and '40 evenly spread users' in report['protocol']['split']
    facts = report['stages']['retrieve']['items']
    assert facts['groups'] == 36 and facts['recall'] > 0.9 and facts['recall_rows'] == 500 and facts['width'] == 24
    table = np.load(workdir / 'encode' / 'items.npy', mmap_mode='r')
    assert table.dtype == np.float16 and table.shape == (2412, 64)
    assert not list(workdir.glob('*.unfinished')) and not list(workdir.glob('*.partial'))
    (line,) = [json.loads(line) for line in (workdir / 'seed42' / 'metrics.jsonl').read_text().splitlines()]
    assert line['step'] == 1


def test_neighbours_share_a_category_and_items_that_nobody_bought_stay_in_the_catalogue(done):
    workdir, _ = done
    data = dataset.load(workdir / 'prepare')
    found = np.load(workdir / 'retrieve' / 'item_neighbours.npy')
    for row in (0, 1200, 2410):
        own = data.item_attributes[row]['categories']
        assert all(data.item_attributes[item - 1]['categories'] == own for item in found[row])
    assert len(np.unique(data.interactions.items)) < data.interactions.num_items == 2411
