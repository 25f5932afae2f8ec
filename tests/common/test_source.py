"""A manifest says which source made a run."""

import pathlib
import shutil
import subprocess
import sys

from grasp_jax.common import artefacts, source

HERE = pathlib.Path(source.__file__)
PROGRAM = 'import sys; sys.path.insert(0, sys.argv[1]); import source; print(source.commit())'


def git(folder, *arguments):
    names = ('-c', 'user.name=x', '-c', 'user.email=x@example.org')
    return subprocess.run(['git', '-C', str(folder), *names, *arguments], check=True, capture_output=True,
                          text=True).stdout.strip()


def of(folder):
    return subprocess.run([sys.executable, '-c', PROGRAM, str(folder)], check=True, capture_output=True,
                          text=True).stdout.strip()


def test_the_commit_and_whether_files_differ(tmp_path):
    package = tmp_path / 'grasp_jax' / 'common'
    package.mkdir(parents=True)
    shutil.copy(HERE, package / 'source.py')
    assert of(package) == ''
    git(tmp_path, 'init', '-q')
    assert of(package) == '', 'as where it is installed inside of another project'
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-qm', 'first')
    assert of(package) == git(tmp_path, 'rev-parse', 'HEAD')
    (package / 'source.py').write_text(HERE.read_text() + '\n# changed\n')
    assert of(package) == git(tmp_path, 'rev-parse', 'HEAD') + ' with changes'


def test_a_claimed_folder_notes_it(tmp_path):
    artefacts.claim(tmp_path / 'run', {'a': 1}, [])
    assert artefacts.read_json(tmp_path / 'run' / artefacts.MANIFEST)['commit'] == source.commit()
    artefacts.build(tmp_path / 'stage', {}, [], lambda folder: {})
    assert artefacts.read_json(tmp_path / 'stage' / artefacts.MANIFEST)['commit'] == source.commit()
