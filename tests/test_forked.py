"""A command that is forked does what a new process does."""

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('command', [
    ('main', '--help'), ('main', '--config=configs/demo.py', '--mode=audit', '--n=7'), ('recommend', '--k=x'),
    ('serve', '--workdir=/nowhere', 'now'), ('export', '--check=a', '--out=b'), ('daily', '--previous=x'),
    ('tune', '--space=wide'), ('reproduce', '--table=2', '--seeds=a'), ('benchmark', 'fly'),
    ('compare', '/nowhere')], ids=' '.join)
def test_exit_code_and_words_are_the_same(module, new_process, command):
    forked, new = module(*command), new_process(*command)
    assert forked.returncode == new.returncode == (0 if '--help' in command else 2)
    assert forked.stdout == new.stdout and forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:]
