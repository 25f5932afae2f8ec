"""A bundle answers as its run does, bit for bit, and nothing half or wrong is taken for one."""

import json
import logging
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import grasp_jax
from grasp_jax.common.errors import UserError
from grasp_jax.serving import assets, bundle, opening, stablehlo
from grasp_jax.texts import domains
from tests.serving.bundled import edit, export, files, seal
from tests.tiny_runs import item_id

FORMS = (  # every method, backbone, gate and sight of users, each a few times
    {}, {'model__gate': 'none', 'model__backbone': 'bert4rec'},
    {'model__gate': 'paper', 'model__gate_space': 'hidden', 'model__backbone': 'gru4rec'},
    {'model__user_context': 'text', 'encode__dtype': 'float16'},
    {'model__user_context': 'both', 'model__method': 'grasp_id', 'model__backbone': 'bert4rec'},
    {'model__method': 'none', 'model__backbone': 'gru4rec'}, {'model__method': 'llm_init'},
    {'model__method': 'llm_esr', 'model__backbone': 'gru4rec'},
    {'model__method': 'rlmrec', 'model__alignment': 'contrastive'},
    {'model__method': 'rlmrec', 'model__alignment': 'generative', 'model__backbone': 'bert4rec'})
BY_TEXT, BY_RLMREC, BY_ID, TWO_VIEWS = FORMS[3], FORMS[8], FORMS[5], FORMS[7]
NEW = [{'item_id': 'fresh', 'title': 'thing 3 of shelf 1 and row 2', 'brand': 'brand 1'}]
SCRIPT = pathlib.Path(__file__).parents[2] / 'docs' / 'serve_bundle.py'
ALONE = """
import importlib.abc, runpy, sys
class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition('.')[0] in ('grasp_jax', 'safetensors', 'flax', 'orbax', 'pandas'):
            raise ImportError(name + ' is not to be had')
sys.meta_path.insert(0, Without())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture(scope='module')
def bundled(untrained, tmp_path_factory):
    """Makes (and keeps) the work folder of settings and its bundle."""
    base, made = tmp_path_factory.mktemp('bundled'), {}

    def make(**settings):
        name = '_'.join(f'{key}={value}' for key, value in settings.items()) or 'gated'
        if name not in made:
            workdir = untrained(**settings)
            made[name] = workdir, export(workdir, base / name)
        return made[name]

    return make


@pytest.fixture
def copy(bundled, tmp_path):
    return pathlib.Path(shutil.copytree(bundled()[1], tmp_path / 'copy'))


@pytest.mark.slow
@pytest.mark.parametrize('settings', FORMS, ids=lambda settings: '_'.join(settings.values()) or 'gated')
def test_a_bundle_answers_as_its_run_does_bit_for_bit(bundled, settings):
    of_run, of_bundle = (grasp_jax.Recommender.load(path) for path in bundled(**settings))
    users, some = of_run.user_ids, of_run.item_ids[:5]
    assert (of_bundle.user_ids, of_bundle.item_ids, of_bundle.epoch) == (users, of_run.item_ids, of_run.epoch)
    assert json.loads((bundled(**settings)[1] / 'bundle.json').read_text())['version'] == of_bundle.version
    if settings.get('model__method') != 'none':
        assert of_run.add_items(NEW) == of_bundle.add_items(NEW) == ['fresh']
    assert of_run.recommend(users=users, k=7).equals(of_bundle.recommend(users=users, k=7))
    assert of_run.explain(user=users[0], item=some[3]) == of_bundle.explain(user=users[0], item=some[3])


@pytest.mark.slow
@pytest.mark.parametrize('settings', FORMS, ids=lambda settings: '_'.join(settings.values()) or 'gated')
def test_the_program_gives_the_scores_of_the_model(bundled, settings):
    folder = bundled(**settings)[1]
    program = stablehlo.read(folder / opening.SCORER)
    difference, users = stablehlo.largest_difference(bundle.open_bundle(folder), program)
    assert users == 16 and difference < 1e-5
    assert 'composite' not in program.mlir_module()  # exports with an open size fail with such in some versions
    assert b'.py' not in (folder / opening.SCORER).read_bytes()  # names of files of the machine that made it


@pytest.mark.slow
def test_only_what_ranks_leaves_with_a_bundle(bundled):
    for settings, uses_user_vectors in (({}, False), (BY_TEXT, True), (BY_RLMREC, False)):
        folder = bundled(**settings)[1]
        assert ((folder / 'encode/users.npy').exists(), (folder / 'retrieve/users_similar.npy').exists()) == (
            uses_user_vectors, uses_user_vectors)
        assert not any(name.startswith('alignment') for name in safetensors.numpy.load_file(folder / opening.WEIGHTS))
    assert {path.name for path in bundled(**BY_ID)[1].iterdir()} == {
        'bundle.json', 'config.json', 'prepare', 'scorer.stablehlo', 'weights.safetensors'}


@pytest.mark.slow
def test_no_profile_of_a_user_and_no_folder_of_the_machine_leaves_with_a_bundle(untrained, tiny_table, tmp_path):
    workdir = untrained(data__kind='shop', data__source='', data__interactions_file='', data__items_file='',
                        data__shop__customers=60, data__shop__products=40, model__method='none')
    assert 'gender' in (workdir / 'prepare/users.jsonl').read_text()
    found = files(export(workdir, tmp_path / 'shop'))
    assert not any(word in content for content in found.values() for word in (b'gender', b'occupation'))
    assert not any(str(path).encode() in content for path in (workdir.parent, tiny_table.parent) for content in files(
        export(untrained(), tmp_path / 'table')).values())


@pytest.mark.slow
@pytest.mark.parametrize('settings', [{}, TWO_VIEWS], ids=('gated', 'two_views'))
def test_any_number_of_histories_goes_through_one_program(bundled, settings):
    folder = bundled(**settings)[1]
    known, program = bundle.open_bundle(folder), stablehlo.read(folder / opening.SCORER)
    given = [*stablehlo.flat(known.params).values(), known.vectors.items]
    given += [known.vectors.items_similar] * known.spec.gated
    history = np.zeros((7, known.spec.max_length), np.int32)
    for row in range(7):
        history[row, :row + 1] = known.interactions.full_sequence(row)[:row + 1][:known.spec.max_length]
    seven = np.asarray(program.call(*given, history))
    assert seven.shape == (7, known.spec.num_items)
    one = np.concatenate([np.asarray(program.call(*given, history[row:row + 1])) for row in range(7)])
    np.testing.assert_allclose(one, seven, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_manifest_says_what_the_program_takes(bundled):
    folder = bundled()[1]
    program, manifest = stablehlo.read(folder / opening.SCORER), opening.read_manifest(folder)
    said = [(tuple(map(str, argument['shape'])), argument['dtype']) for argument in manifest['scorer']['arguments']]
    assert said == [(tuple(map(str, aval.shape)), aval.dtype.name) for aval in program.in_avals]
    assert tuple(manifest['scorer']['platforms']) == program.platforms == ('cpu', 'cuda', 'tpu')
    assert tuple(map(str, program.out_avals[0].shape)) == tuple(map(str, manifest['scorer']['result']['shape']))


@pytest.mark.slow
def test_a_script_without_this_package_gives_the_same_list(bundled):
    workdir, folder = bundled()
    model = grasp_jax.Recommender.load(workdir)
    history = [item_id(7), item_id(3), item_id(11), item_id(7)]
    ended = subprocess.run([sys.executable, '-I', '-c', ALONE, SCRIPT, folder, *history], capture_output=True,
                           text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    wanted = model.recommend(histories=[history], k=10)
    found = [line.split('  ') for line in ended.stdout.splitlines()]
    assert [(identity, title) for _, _, identity, title in found] == [
        (item, model.titles[item]) for item in wanted.item_id]
    np.testing.assert_allclose([float(score) for _, score, _, _ in found], wanted.score, atol=1e-5)


def test_the_documented_script_is_the_one_that_is_tested():
    shown = (SCRIPT.parent / 'guides' / 'export.md').read_text(encoding='utf-8')
    script = SCRIPT.read_text(encoding='utf-8')
    assert f'```python\n{script}```' in shown and script.count('\n') <= 40


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_shape(folder):
    params = safetensors.numpy.load_file(folder / opening.WEIGHTS)
    params['encoder/output_bias'] = params['encoder/output_bias'][:-1]
    seal(folder, opening.WEIGHTS, safetensors.numpy.save(params))


def not_finite(folder):
    params = safetensors.numpy.load_file(folder / opening.WEIGHTS)
    params['encoder/output_bias'][1] = np.nan
    seal(folder, opening.WEIGHTS, safetensors.numpy.save(params))


def of_other_items(folder):
    items = np.load(folder / 'prepare/items.npy')
    items[3] = 99
    np.save(folder / 'other.npy', items)
    seal(folder, 'prepare/items.npy', (folder / 'other.npy').read_bytes())


DAMAGES = {
    'gone': (lambda folder: (folder / 'weights.safetensors').unlink(), 'weights.safetensors: is missing'),
    'cut': (lambda folder: (folder / 'encode/items.npy').write_bytes(b'short'), 'encode/items.npy: has 5 bytes, not'),
    'changed': (lambda folder: flip(folder / 'scorer.stablehlo'), 'scorer.stablehlo: is not as it was written'),
    'changed_ids': (lambda folder: flip(folder / 'prepare/items.jsonl'), 'items.jsonl: is not as it was written'),
    'more': (lambda folder: (folder / 'encode/users_mean.npy').write_bytes(b''), 'users_mean.npy: is not of this'),
    'no_json': (lambda folder: (folder / 'bundle.json').write_text('{'), 'bundle.json: cannot be read'),
    'later': (lambda folder: edit(folder, lambda found: found.update(format=2)), 'is of format 2, this version reads'),
    'no_seed': (lambda folder: edit(folder, lambda found: found.pop('seed')), 'its entry seed is not what'),
    'no_day': (lambda folder: edit(folder, lambda found: found['scorer'].update(expires='soon')), 'scorer.expires'),
    'outside': (lambda folder: edit(folder, lambda found: found['files'].update({'../a': {}})), r'files\.\.\./a'),
    'not_listed': (lambda folder: edit(folder, lambda found: found['files'].pop('config.json')), 'does not list'),
    'pickled': (lambda folder: seal(folder, 'weights.safetensors', b'\x80\x04N.' * 9), 'is no safetensors file'),
    'shape': (of_another_shape, r'encoder/output_bias is float32 \[7\], the model has float32 \[8\]'),
    'nan': (not_finite, 'output_bias.* not finite'),
    'numbers': (of_other_items, 'sequences or neighbours that do not fit its 36 items'),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', DAMAGES)
def test_a_damaged_bundle_is_refused_in_one_line(copy, name):
    damage, words = DAMAGES[name]
    damage(copy)
    with pytest.raises(UserError, match=words) as caught:
        bundle.open_bundle(copy)
    assert '\n' not in str(caught.value) and str(copy) in str(caught.value)


@pytest.mark.slow
def test_a_bundle_holds_one_seed(bundled):
    folder = bundled()[1]
    assert bundle.open_bundle(folder, 42).seed == 42
    with pytest.raises(UserError, match='holds seed 42 and not 43'):
        grasp_jax.Recommender.load(folder, seed=43)


@pytest.mark.slow
def test_the_same_contents_are_left_and_others_replaced_only_where_asked_for(bundled, copy):
    (workdir, folder), (other, _) = bundled(), bundled(**FORMS[1])
    before, place = files(copy), copy.stat().st_ino
    for replace in (False, True):
        assert bundle.write_bundle(assets.open_folder(workdir), copy, replace) == (opening.read_manifest(folder), False)
    assert (files(copy), copy.stat().st_ino) == (before, place)
    with pytest.raises(UserError, match='holds contents .*, these are .* --replace'):
        export(other, copy)
    assert files(copy) == before
    export(other, copy, replace=True)
    assert bundle.open_bundle(copy).config.model.gate == 'none'
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


@pytest.mark.slow
def test_what_is_no_bundle_is_never_replaced_and_a_damaged_one_only_where_asked_for(bundled, copy, tmp_path):
    workdir, _ = bundled()
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'letter.txt').write_text('dear')
    for target in (tmp_path / 'mine', tmp_path / 'mine' / 'letter.txt', workdir):
        with pytest.raises(UserError, match='is there and no bundle'):
            export(workdir, target, replace=True)
    assert (tmp_path / 'mine' / 'letter.txt').read_text() == 'dear'
    flip(copy / opening.WEIGHTS)
    with pytest.raises(UserError, match=r'weights\.safetensors: is not as it was written.*--replace'):
        export(workdir, copy)
    assert bundle.open_bundle(export(workdir, copy, replace=True)).seed == 42


@pytest.mark.slow
def test_when_its_program_is_too_old_a_bundle_serves_and_is_renewed_from_itself(copy, caplog):
    edit(copy, lambda found: found['scorer'].update(expires='2020-01-31'))
    with caplog.at_level(logging.WARNING):
        known = grasp_jax.Recommender.load(copy)
    assert 'promised to run until 2020-01-31 only' in caplog.text and len(known.recommend(users=['u01'])) == 10
    with pytest.raises(UserError, match='2020-01-31 only; replace it with --replace'):
        export(copy, copy)
    before = opening.read_manifest(copy)
    manifest, written = bundle.write_bundle(assets.open_folder(copy), copy, replace=True)
    assert written and not opening.expired(manifest)
    assert (manifest['version'], manifest['test']) == (before['version'], before['test'])
    caplog.clear()
    bundle.open_bundle(copy)
    assert not caplog.text


@pytest.mark.slow
def test_metrics_of_the_report_go_along(gated, tmp_path):
    report = json.loads((gated / 'report.json').read_text())
    test = opening.read_manifest(export(gated, tmp_path / 'bundle'))['test']
    assert test['sampled']['NDCG@5'] == report['runs'][0]['test']['sampled']['NDCG@5']
    assert test['full'] == report['runs'][0]['test']['full']


@pytest.mark.slow
def test_a_softmax_gate_is_refused(untrained, tmp_path):
    with pytest.raises(UserError, match='its gate is softmax'):
        export(untrained(model__gate='softmax'), tmp_path / 'bundle')
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_wording_of_ones_own_goes_along(untrained, tmp_path):
    own = tmp_path / 'own.toml'
    own.write_text(domains.path_of('shop').read_text())
    workdir = untrained(text__domain=str(own))
    wanted = grasp_jax.Recommender.load(workdir)
    folder = export(workdir, tmp_path / 'bundle')
    wanted.add_items(NEW)
    own.unlink()
    moved = folder.rename(tmp_path / 'elsewhere')
    found = grasp_jax.Recommender.load(moved)
    assert found.add_items(NEW) == ['fresh']
    assert found.recommend(users=['u03']).equals(wanted.recommend(users=['u03']))


def test_a_full_disk_is_seen_before_anything_is_written(bundled, tmp_path, monkeypatch):
    workdir = bundled()[0]  # made while there is room
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: type('Usage', (), {'free': 1e3}))
    with pytest.raises(UserError, match='the bundle needs .* name an --out on another disk'):
        export(workdir, tmp_path / 'bundle')
    assert not list(tmp_path.iterdir())
